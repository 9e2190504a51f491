"""`state:failed service:mail "connection refused" -noise`: what a person types to find changes. Pure."""

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
    """One condition; `key` is empty for plain words."""

    key: str
    value: str
    negated: bool = False

    def matches(self, row: ChangeRow) -> bool:
        return _TESTS[self.key](row, self.value) is not self.negated


@dataclass(frozen=True, slots=True)
class Search:
    """What was typed, what of it is understood, and in sentences what is not."""

    text: str = ""
    terms: tuple[Term, ...] = ()
    errors: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        text = " ".join(text.split())
        if len(text) > MAX_CHARS:
            return cls(text[:MAX_CHARS], (), (f"A search has at most {MAX_CHARS} characters.",))
        errors = ['A quotation mark has no partner: close it with ".'] if text.count('"') % 2 else []
        found = [_term(match) for match in _TERM.finditer(text.replace('"', " ") if errors else text)]
        errors += [each for each in found if isinstance(each, str)]
        return cls(text, tuple(each for each in found if isinstance(each, Term)), tuple(errors))

    def matches(self, row: ChangeRow) -> bool:
        return all(term.matches(row) for term in self.terms)


def _term(match: re.Match[str]) -> Term | str:
    """The term, or why it is none."""
    sign, key, quoted, plain = match.groups()
    key, value = (key or "").lower(), (quoted if quoted is not None else plain).casefold()
    if key and key not in KEYS:
        return f"There is no filter “{key}:”. Use {', '.join(f'{name}:' for name in KEYS)} or put the words in quotes."
    if not value or value.endswith(":"):
        return f"“{value or (key and f'{key}:') or '-'}” needs something to look for."
    if key == "state" and value not in _STATES:
        return f"There is no state “{value}”. Use one of: {', '.join(sorted(_STATES))}."
    return Term(key, value, sign == "-")


def _state(row: ChangeRow, value: str) -> bool:
    return value in (row.state, row.word.casefold())


def _service(row: ChangeRow, value: str) -> bool:
    """The id in full, or a part of the name."""
    return bool(row.service) and (value == row.service.casefold() or value in row.subject.casefold())


def _type(row: ChangeRow, value: str) -> bool:
    """`job` finds `job.failed` as well."""
    return row.type == value or row.type.startswith(f"{value}.")


def _id(row: ChangeRow, value: str) -> bool:
    return any(value in one.casefold() for one in row.ids.shown)


def _words(row: ChangeRow, value: str) -> bool:
    return any(value in text.casefold() for text in (row.subject, row.word, row.words, row.type, *row.ids.shown))


_STATES = {
    word.casefold() for word in display_text.STATE_WORDS.values() if " " not in word
} | display_text.STATE_WORDS.keys()
_TESTS: dict[str, Callable[[ChangeRow, str], bool]] = {
    "": _words,
    "state": _state,
    "service": _service,
    "type": _type,
    "id": _id,
}
