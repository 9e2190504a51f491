"""Parses the `topics=` query parameter: exact event types, or all types with a prefix."""

import re
from dataclasses import dataclass

from app.eventlog.event_types import EVENT_TYPE_PATTERN, is_valid_type

MAX_TOPICS = 50
_PREFIX = re.compile(EVENT_TYPE_PATTERN.pattern + r"\.\*")


class InvalidTopics(ValueError):
    """A topic is invalid; the text says which one and what was expected."""


@dataclass(frozen=True, slots=True)
class Topics:
    """A filter on event types; an empty one matches all."""

    exact: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()

    def matches(self, event_type: str) -> bool:
        if not self.exact and not self.prefixes:
            return True
        return event_type in self.exact or event_type.startswith(self.prefixes)


def parse_topics(text: str | None) -> Topics:
    """Parse `a,b.*`. None matches everything, an empty text is an error. Raises `InvalidTopics`."""
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
