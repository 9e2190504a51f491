"""What somebody typed, as words to look for, and as queries for the full-text indexes. Pure.

The text is anything at all. A full-text query is built only from its letters and digits, so it cannot contain syntax.
"""

import re
from dataclasses import dataclass
from functools import cached_property

from app.infra.redaction import replace_unstorable
from app.sources.protocol import MAX_JOB_ID_CHARS

MAX_WORDS = 10
# Shorter beginnings match too much to be of use.
MIN_PREFIX_CHARS = 3
# As both full-text indexes split messages: at every character of ASCII that is no letter and no digit.
_TOKEN = re.compile(r"[0-9A-Za-z\u0080-\U0010ffff]+")


@dataclass(frozen=True)
class SearchTerms:
    """`text` is what was typed, without blanks around it."""

    text: str

    @classmethod
    def parse(cls, typed: str) -> "SearchTerms":
        return cls(replace_unstorable(typed).strip())

    @cached_property
    def words(self) -> tuple[str, ...]:
        return tuple(self.text.split()[:MAX_WORDS])

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """The words as the full-text indexes know them, each once."""
        return tuple(dict.fromkeys(token for word in self.words for token in _TOKEN.findall(word)))[:MAX_WORDS]

    @property
    def may_be_whole_id(self) -> bool:
        """Ids may contain blanks, which is rare: words are taken for one id only where that costs nothing."""
        return bool(self.words) and len(self.text) <= MAX_JOB_ID_CHARS and self.text.isprintable()

    @property
    def may_be_id(self) -> bool:
        return len(self.words) == 1 and self.may_be_whole_id

    @property
    def looks_like_id(self) -> bool:
        """Rather an id than a word: nearly all ids contain a digit."""
        return self.may_be_id and any(sign.isdigit() for sign in self.text)

    @property
    def may_be_prefix(self) -> bool:
        return self.may_be_id and len(self.text) >= MIN_PREFIX_CHARS

    def is_in(self, *texts: str | None) -> bool:
        """True if each word occurs in one of the texts, in whatever case."""
        folded = [text.casefold() for text in texts if text]
        return bool(self.words) and all(any(word.casefold() in text for text in folded) for word in self.words)

    def to_fts5(self, *, prefixes: bool) -> str:
        """For SQLite: `"connection" AND "refus"*`"""
        return " AND ".join(f'"{token}"{"*" if prefixes and _is_prefix(token) else ""}' for token in self.tokens)

    def to_tsquery(self, *, prefixes: bool) -> str:
        """For PostgreSQL: `'connection' & 'refus':*`"""
        return " & ".join(f"'{token}'{':*' if prefixes and _is_prefix(token) else ''}" for token in self.tokens)


def _is_prefix(token: str) -> bool:
    return len(token) >= MIN_PREFIX_CHARS
