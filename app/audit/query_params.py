"""Query parameters of the audit: `?actor=bob&outcome=failure&startDate=2026-11-21&q=mail`."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Literal, Self
from urllib.parse import urlencode

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from app.infra.clock import parse_utc, utc_text

MAX_LIMIT = 500
MAX_PAGE = 1_000_000
Outcome = Literal["success", "failure", "timeout"]
SortBy = Literal["timestamp", "seq", "actor", "actionType", "target", "outcome"]
FILTERS = ("actionType", "target", "actor", "outcome", "commandId", "startDate", "endDate", "q")
_DEFAULTS = {"sortBy": "timestamp", "sortOrder": "desc", "limit": "50"}


def _parse_start(text: object) -> str | None:
    return _parse_moment(text, timedelta(0))


def _parse_end(text: object) -> str | None:
    """The exclusive end of the range. A date without a time includes the whole day."""
    return _parse_moment(text, timedelta(days=1))


def _parse_moment(text: object, day: timedelta) -> str | None:
    if text in (None, ""):
        return None
    try:
        if len(str(text)) == len("2026-11-21"):
            return utc_text(datetime.combine(date.fromisoformat(str(text)), time(tzinfo=UTC)) + day)
        # An unescaped plus sign arrives as a space.
        return utc_text(parse_utc(str(text).replace(" ", "+")))
    except (ValueError, OverflowError) as error:
        raise ValueError("expected a date or a time, like 2026-11-21 or 2026-11-21T12:00:00Z") from error


@dataclass(frozen=True, slots=True)
class AuditCursor:
    """A position in the results: after the entry with this key or, read backwards, before it."""

    key: tuple[str | int, ...]
    backwards: bool = False

    def encode(self) -> str:
        plain = json.dumps([self.backwards, *self.key], separators=(",", ":"))
        return urlsafe_b64encode(plain.encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, text: object) -> Self | None:
        if text in (None, ""):
            return None
        try:
            backwards, *key = json.loads(urlsafe_b64decode(str(text) + "=" * (-len(str(text)) % 4)))
            *words, seq = key
            sound = isinstance(backwards, bool) and type(seq) is int and abs(seq) < 2**62 and len(words) <= 1
            if not sound or not all(isinstance(word, str) for word in words):
                raise ValueError
            for word in words:
                _check_text(word)
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError("expected meta.next or meta.previous of an earlier response") from error
        return cls(tuple(key), backwards)


def _check_text(text: object) -> object:
    """Refuse NUL and unpaired surrogates: no column contains them, and the database rejects them as parameters."""
    if isinstance(text, str) and ("\0" in text or text != text.encode("utf-8", "replace").decode()):
        raise ValueError("expected text without control characters")
    return text or None


Text = Annotated[str | None, BeforeValidator(_check_text), Field(max_length=1_000)]


class AuditQuery(BaseModel):
    """The parsed query. Unknown query parameters are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, arbitrary_types_allowed=True)

    page: int = Field(1, ge=1, le=MAX_PAGE)
    limit: int = Field(50, ge=1, le=MAX_LIMIT)
    sort_by: SortBy = Field("timestamp", alias="sortBy")
    sort_order: Literal["asc", "desc"] = Field("desc", alias="sortOrder")
    action_type: Text = Field(None, alias="actionType")
    target: Text = None
    actor: Text = None
    command_id: Text = Field(None, alias="commandId")
    outcome: Outcome | None = None
    start: Annotated[str | None, BeforeValidator(_parse_start)] = Field(None, alias="startDate")
    end: Annotated[str | None, BeforeValidator(_parse_end)] = Field(None, alias="endDate")
    q: Annotated[str | None, BeforeValidator(_check_text), Field(max_length=200)] = None
    cursor: Annotated[AuditCursor | None, BeforeValidator(AuditCursor.parse)] = Field(None, alias="cursor")

    @property
    def is_sorted_by_time(self) -> bool:
        """A text search is always in the order of time, whatever `sortBy` says."""
        return self.sort_by in ("timestamp", "seq") or self.q is not None

    @property
    def is_descending(self) -> bool:
        return self.sort_order == "desc"


@dataclass(frozen=True, slots=True)
class AuditAddress:
    """The query of the page as it was typed: the valid part of it, and a sentence for each error."""

    given: Mapping[str, str]
    query: AuditQuery
    errors: tuple[str, ...] = ()

    @classmethod
    def parse(cls, typed: Mapping[str, str]) -> Self:
        given = {name: value.strip() for name, value in typed.items() if value.strip()}
        try:
            return cls(given, AuditQuery.model_validate(given))
        except ValidationError as error:
            wrong = {str(item["loc"][0]): item["msg"].removeprefix("Value error, ") for item in error.errors()}
        rest = {name: value for name, value in given.items() if name not in wrong}
        errors = tuple(f"“{name}”: {why}." for name, why in wrong.items())
        return cls(given, AuditQuery.model_validate(rest), errors)

    @property
    def is_filtered(self) -> bool:
        return any(name in self.given for name in FILTERS)

    def url(self, path: str = "/audit", **changed: str | None) -> str:
        """The URL of this view with the `changed` parameters; its first page unless a cursor is given."""
        kept = {name: value for name, value in self.given.items() if name in (*FILTERS, *_DEFAULTS, "refresh")}
        pairs = {**kept, **changed}
        query = urlencode({name: value for name, value in pairs.items() if value and _DEFAULTS.get(name) != value})
        return f"{path}?{query}" if query else path
