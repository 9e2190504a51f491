"""Query parameters of the audit: `?actor=bob&outcome=failure&startDate=2026-11-21&q=mail`."""

from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from app.infra.list_query import RecordQuery, check_storable, decode_cursor, encode_cursor

Outcome = Literal["success", "failure", "timeout"]
SortBy = Literal["timestamp", "seq", "actor", "actionType", "target", "outcome"]


@dataclass(frozen=True, slots=True)
class AuditCursor:
    """A position in the results: after the entry with this key or, read backwards, before it."""

    key: tuple[str | int, ...]
    backwards: bool = False

    def encode(self) -> str:
        return encode_cursor([self.backwards, *self.key])

    @classmethod
    def parse(cls, text: object) -> Self | None:
        if text in (None, ""):
            return None
        try:
            backwards, *words, seq = decode_cursor(str(text))
            sound = isinstance(backwards, bool) and type(seq) is int and abs(seq) < 2**62 and len(words) <= 1
            if not sound or not all(isinstance(word, str) and check_storable(word) is word for word in words):
                raise ValueError
        except (ValueError, TypeError) as error:
            raise ValueError("expected meta.next or meta.previous of an earlier response") from error
        return cls((*words, seq), backwards)


Text = Annotated[str, Field(max_length=1_000), AfterValidator(check_storable)]


class AuditQuery(RecordQuery):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    sort_by: SortBy = Field("timestamp", alias="sortBy")
    action_type: Text | None = Field(None, alias="actionType")
    target: Text | None = None
    actor: Text | None = None
    command_id: Text | None = Field(None, alias="commandId")
    outcome: Outcome | None = None
    q: Annotated[str, Field(max_length=200), AfterValidator(check_storable)] | None = None
    cursor: Annotated[AuditCursor | None, BeforeValidator(AuditCursor.parse)] = None

    @property
    def is_sorted_by_time(self) -> bool:
        """A text search is always in the order of time, whatever `sortBy` says."""
        return self.sort_by in ("timestamp", "seq") or self.q is not None
