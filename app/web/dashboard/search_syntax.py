"""Parses and applies a search for changes: `state:failed service:mail "connection refused" -noise`. Pure."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from app.web import display_text
from app.web.dashboard.change_rows import ChangeRow

MAX_CHARS = 200
KEYS = ("state", "service", "type", "id")

_TERM = re.compile(r'(-?)(?:([A-Za-z]+):)?(?:"([^"]*)"|(\S+))')


@dataclass(frozen=True, slots=True)
class Term:
    """One condition; `key` is empty for plain text."""

    key: str
    value: str
    is_negated: bool = False

    def matches(self, row: ChangeRow) -> bool:
        return _MATCHERS[self.key](row, self.value) is not self.is_negated


@dataclass(frozen=True, slots=True)
class ChangeSearch:
    """The typed text, the terms in it, and an error text for each part that is not understood."""

    text: str = ""
    terms: tuple[Term, ...] = ()
    errors: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        text = " ".join(text.split())
        if len(text) > MAX_CHARS:
            return cls(text[:MAX_CHARS], (), (f"A search has at most {MAX_CHARS} characters.",))
        errors = ['A quotation mark is not closed: add ".'] if text.count('"') % 2 else []
        parsed = [_parse_term(match) for match in _TERM.finditer(text.replace('"', " ") if errors else text)]
        errors += [each for each in parsed if isinstance(each, str)]
        return cls(text, tuple(each for each in parsed if isinstance(each, Term)), tuple(errors))

    def matches(self, row: ChangeRow) -> bool:
        return all(term.matches(row) for term in self.terms)


def _parse_term(match: re.Match[str]) -> Term | str:
    """The term, or an error text."""
    sign, key, quoted, plain = match.groups()
    key, value = (key or "").lower(), (quoted if quoted is not None else plain).casefold()
    if key and key not in KEYS:
        return f"Unknown filter “{key}:”. Use {', '.join(f'{name}:' for name in KEYS)} or put the text in quotes."
    if not value or value.endswith(":"):
        return f"“{value or (key and f'{key}:') or '-'}” needs a value."
    if key == "state" and value not in _STATES:
        return f"Unknown state “{value}”. Use one of: {', '.join(sorted(_STATES))}."
    return Term(key, value, sign == "-")


def _matches_state(row: ChangeRow, value: str) -> bool:
    return value in (row.state, row.word.casefold())


def _matches_service(row: ChangeRow, value: str) -> bool:
    """The whole id, or a part of the name."""
    return bool(row.service) and (value == row.service.casefold() or value in row.subject.casefold())


def _matches_type(row: ChangeRow, value: str) -> bool:
    """`job` also finds `job.failed`."""
    return row.type == value or row.type.startswith(f"{value}.")


def _matches_id(row: ChangeRow, value: str) -> bool:
    return any(value in one.casefold() for one in row.ids.shown)


def _matches_text(row: ChangeRow, value: str) -> bool:
    return any(value in text.casefold() for text in (row.subject, row.word, row.words, row.type, *row.ids.shown))


_STATES = {
    word.casefold() for word in display_text.STATE_WORDS.values() if " " not in word
} | display_text.STATE_WORDS.keys()
_MATCHERS: dict[str, Callable[[ChangeRow, str], bool]] = {
    "": _matches_text,
    "state": _matches_state,
    "service": _matches_service,
    "type": _matches_type,
    "id": _matches_id,
}
