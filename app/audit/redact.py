"""Secrets never enter the audit: whatever a caller hands over goes through here."""

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "(hidden)"
MAX_DEPTH = 20
_SECRET = re.compile(
    r"pass(word|wd|phrase)?$|secret|credential|authorization|cookie|api_?key|private_?key|access_?key|bearer"
    r"|(^|_)(token|csrf_token|access_token|auth|dsn)$|session_?id$",
    re.IGNORECASE,
)
# A password within an address, and a token of Beacon's own wherever it stands.
_IN_ADDRESS = re.compile(r"(?<=://)([^/\s:@]*):([^/\s]+)@")
_OWN_TOKEN = re.compile(r"\bbcn_[A-Za-z0-9_-]{16,}")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# What is said of a secret without telling it.
_SAID = (None, True, False, "", "kept", HIDDEN)


def redact(value: Any, depth: int = 0) -> Any:
    """`value` without secrets: by the name of a key, and by their looks within any text."""
    if depth > MAX_DEPTH:
        return HIDDEN
    if isinstance(value, Mapping):
        return {text(str(key)): _member(str(key), one, depth + 1) for key, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [redact(one, depth + 1) for one in value]
    return text(value) if isinstance(value, str) else value


def text(value: str) -> str:
    """One text; also without what a database does not take: half a surrogate pair, and NUL."""
    sound = value.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
    return _OWN_TOKEN.sub(HIDDEN, _IN_ADDRESS.sub(rf"\1:{HIDDEN}@", sound))


def _member(key: str, value: Any, depth: int) -> Any:
    if not _SECRET.search(_CAMEL.sub("_", key).replace("-", "_")):
        return redact(value, depth)
    # The id of a token, or where a password comes from, is no secret.
    if isinstance(value, int) or value in _SAID or str(value).startswith("from the environment variable "):
        return value
    return HIDDEN
