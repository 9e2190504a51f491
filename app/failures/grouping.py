"""Which failures have the same cause: the same function, type of error, and place in the code or normalized message.

Pure. A group's id is the same in every process and after every restart, so links and mutes keep working.
"""

import hashlib
import re
from typing import NamedTuple

from app.sources.tracebacks import JobError

# Length of a group's id: with 80 bits, a million groups share one with a probability below 1e-12.
ID_CHARS = 20
MAX_NORMALIZED_CHARS = 200
MAX_TITLE_CHARS = 200
# What differs between two failures with the same cause, from the most to the least specific.
_VARIABLE = (
    (re.compile(r"0x[0-9a-f]+", re.IGNORECASE | re.ASCII), "0x…"),
    (re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s'\"<>)\]]+", re.IGNORECASE | re.ASCII), "<url>"),
    (re.compile(r"\b[\w.+-]{1,100}@[\w-]{1,100}\.[\w.-]{1,100}"), "<email>"),
    (re.compile(r"\b[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\b", re.IGNORECASE | re.ASCII), "<id>"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?"), "<time>"),
    (re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{12,}\b", re.IGNORECASE | re.ASCII), "<id>"),
    # A quoted name, such as a missing key, belongs to the cause; a quoted value with digits or blanks does not.
    (re.compile(r"'[^'\d\s/]*[\d\s/][^'\n]*'|\"[^\"\d\s/]*[\d\s/][^\"\n]*\""), "'…'"),
    (re.compile(r"\d+(?:[.,]\d+)*"), "0"),
)
_BLANKS = re.compile(r"\s+")


class GroupKey(NamedTuple):
    """`place` is the frame's file and function, or the normalized message if no frame is known."""

    service_id: str
    function: str
    error_type: str
    place: str

    @property
    def id(self) -> str:
        # Lengths, because each part may contain any character.
        text = "".join(f"{len(part)}:{part}" for part in self)
        return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:ID_CHARS]


def describe_cause(function: str | None, error_type: str | None) -> str:
    """`SMTPServerDisconnected in mail.send`, in one line: an event or an entry of the audit has room for it."""
    kind = (error_type or "").rpartition(".")[2] or "Error"
    words = _show_signs(f"{kind} in {function}" if function else kind)
    return words if len(words) <= MAX_TITLE_CHARS else f"{words[: MAX_TITLE_CHARS - 1]}…"


def _show_signs(text: str) -> str:
    """Turn white space into blanks, and replace characters that cannot be seen, such as marks of direction."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in " ".join(text.split()))


def find_group(service_id: str, function: str | None, error: JobError | None) -> GroupKey:
    """The group of a failed job; jobs whose error the service does not tell are one group for each function."""
    if error is None:
        return GroupKey(service_id, function or "", "", "")
    place = error.frame.place if error.frame else normalize(error.message)
    return GroupKey(service_id, function or "", error.type, place)


def normalize(message: str) -> str:
    """The message without what differs from job to job: numbers, ids, addresses, quoted values."""
    text = _BLANKS.sub(" ", message[: 4 * MAX_NORMALIZED_CHARS]).strip()
    for pattern, stand_in in _VARIABLE:
        text = pattern.sub(stand_in, text)
    return text[:MAX_NORMALIZED_CHARS]
