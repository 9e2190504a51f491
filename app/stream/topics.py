"""The `topics=` query: exact types, or every type below a prefix."""

import re
from dataclasses import dataclass

from app.eventlog.event_types import EVENT_TYPE_PATTERN, is_valid_type

MAX_TOPICS = 50
_PREFIX = re.compile(EVENT_TYPE_PATTERN.pattern + r"\.\*")


class InvalidTopics(ValueError):
    """The text says which topic is wrong and what was expected."""


@dataclass(frozen=True, slots=True)
class Topics:
    """Empty means all."""

    exact: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()

    def matches(self, event_type: str) -> bool:
        if not self.exact and not self.prefixes:
            return True
        return event_type in self.exact or event_type.startswith(self.prefixes)


def parse_topics(text: str | None) -> Topics:
    """From `a,b.*`; raises `BadTopics`. No query at all means everything, an empty one is a mistake."""
    if text is None:
        return Topics()
    names = text.split(",")
    if len(names) > MAX_TOPICS:
        raise InvalidTopics(f"at most {MAX_TOPICS} topics, not {len(names)}")
    for name in names:
        if not is_valid_type(name) and not _PREFIX.fullmatch(name):
            raise InvalidTopics(f"{name[:100]!r} is neither a type like job.failed nor a prefix like job.*")
    prefixes = tuple(name.removesuffix("*") for name in names if name.endswith("*"))
    return Topics(frozenset(name for name in names if not name.endswith("*")), prefixes)
