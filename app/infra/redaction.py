"""Removes secrets from what is stored or shown: the audit, and the arguments of jobs."""

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "(hidden)"
MAX_DEPTH = 20
_SECRET = re.compile(
    r"password(?!_env)|passwd|passphrase|passcode|pass\d*$|(^|_)(pwd|jwt|t?otp|signature)s?\d*(_|$)"
    r"|secret|credential|authorization|cookie|api_?key|private_?key|access_?key|bearer"
    r"|(^|_)(token|auth|dsn)\d*$|token_?(value|text|hash)|session_?id$",
    re.IGNORECASE,
)
# A password in a URL. A port followed by a path is not one; an @ or a slash inside a password belongs to it.
_IN_ADDRESS = re.compile(r"(?<=://)([^/\s:@\[]*):(?!\d{1,5}(?:[/?#\s]|$))(?:[^/\s]+|\S{1,200})@")
# The longest value in quotes that is assigned to a name.
_MAX_QUOTED_CHARS = 200
# Beacon's own tokens anywhere, credentials in request headers, and values assigned to names that suggest a secret.
_OWN_TOKEN = re.compile(r"\bbc[nw]_[A-Za-z0-9_.-]{15,}[A-Za-z0-9_-]")
_HEADER = re.compile(r"\b(authorization:\s*(?:[a-z]+\s+)?|bearer\s+)(?!\(hidden\))\S+", re.IGNORECASE)
_ASSIGNED = re.compile(
    r"((?:token|passw(?:or)?d|pwd|passphrase|passcode|secret|signature|jwt|otp|(?:\b|_|-|api|access|private)key)=)"
    rf"(?:\"[^\"]{{0,{_MAX_QUOTED_CHARS}}}\"|'[^']{{0,{_MAX_QUOTED_CHARS}}}'|[^\s&]+)",
    re.IGNORECASE,
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

_PATTERNS = (
    (_IN_ADDRESS, rf"\1:{HIDDEN}@"),
    (_OWN_TOKEN, HIDDEN),
    (_HEADER, rf"\1{HIDDEN}"),
    (_ASSIGNED, rf"\1{HIDDEN}"),
)


class SecretDescription(str):
    """Text that describes a secret without revealing it; it is written as it is, also under a key for secrets."""

    __slots__ = ()


def redact(value: Any, depth: int = 0) -> Any:
    """`value` without secrets, found by the name of a key and by patterns within text."""
    if depth > MAX_DEPTH:
        return HIDDEN
    if isinstance(value, Mapping):
        return {redact_text(str(key)): _redact_member(str(key), one, depth + 1) for key, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [redact(one, depth + 1) for one in value]
    return redact_text(value) if isinstance(value, str) else value


def replace_unstorable(value: str) -> str:
    """The text without what a database rejects: unpaired surrogates and NUL."""
    return value.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def redact_text(value: str) -> str:
    """One text without secrets, and without what a database rejects."""
    sound = replace_unstorable(value)
    for pattern, instead in _PATTERNS:
        sound = pattern.sub(instead, sound)
    return sound


def redact_beginning(text: str) -> str:
    """Like `redact_text` for a text whose end was cut off, without what may be the beginning of a longer secret."""
    shown = redact_text(text)[:-_MAX_QUOTED_CHARS].rstrip()
    # A password in a URL is only found with the @ after it, which may come later. It contains no blanks.
    last_word = shown.rsplit(maxsplit=1)[-1] if shown else ""
    address = shown.find("://", len(shown) - len(last_word))
    return shown if address < 0 else shown[:address]


def is_secret_name(name: str) -> bool:
    """True if a value with this name is probably a secret."""
    return _SECRET.search(_CAMEL.sub("_", name).replace("-", "_")) is not None


def is_secret(key: str, value: Any) -> bool:
    """True if the value of this key is probably a secret. The id of a token, and what says nothing, are none."""
    if value is None or value == "" or isinstance(value, bool | SecretDescription):
        return False
    return is_secret_name(key) and not (isinstance(value, int) and key == "token")


def _redact_member(key: str, value: Any, depth: int) -> Any:
    if not is_secret_name(key):
        return redact(value, depth)
    return HIDDEN if is_secret(key, value) else value
