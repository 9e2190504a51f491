"""Query parameters that several lists have: pages, dates and cursors."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from app.infra.clock import parse_utc, utc_text

MAX_LIMIT = 500
MAX_PAGE = 1_000_000
Query = TypeVar("Query", bound=BaseModel)


def check_storable(text: str) -> str:
    """Refuse NUL and unpaired surrogates: no column contains them, and the database rejects them as parameters."""
    if "\0" in text or any("\ud800" <= sign <= "\udfff" for sign in text):
        raise ValueError("expected text without NUL and unpaired surrogates")
    return text


def parse_moment(text: object, days: int = 0) -> str | None:
    """Parse a date or a time. `days` are added to a date without a time: 1 for the exclusive end of a range."""
    if text in (None, ""):
        return None
    try:
        if len(str(text)) == len("2026-11-21"):
            return utc_text(datetime.combine(date.fromisoformat(str(text)), time(tzinfo=UTC)) + timedelta(days=days))
        # A plus sign that was not escaped arrives as a space.
        return utc_text(parse_utc(str(text).replace(" ", "+")))
    except (ValueError, OverflowError) as error:
        raise ValueError("expected a date or a time, like 2026-11-21 or 2026-11-21T12:00:00Z") from error


RangeStart = Annotated[str | None, BeforeValidator(parse_moment)]
RangeEnd = Annotated[str | None, BeforeValidator(lambda text: parse_moment(text, 1))]


class ListQuery(BaseModel):
    """A page of a list. Unknown query parameters are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    page: int = Field(1, ge=1, le=MAX_PAGE)
    limit: int = Field(50, ge=1, le=MAX_LIMIT)

    def page_meta(self, total: int) -> dict[str, Any]:
        """The `meta` of a response with one page of `total` rows."""
        return {"page": self.page, "limit": self.limit, "total": total, "totalPages": -(-total // self.limit)}


class RecordQuery(ListQuery):
    """A page of an append-only record, which can be sorted and limited to a range of time."""

    sort_order: Literal["asc", "desc"] = Field("desc", alias="sortOrder")
    start: RangeStart = Field(None, alias="startDate")
    end: RangeEnd = Field(None, alias="endDate")

    @property
    def is_descending(self) -> bool:
        return self.sort_order == "desc"


def parse_leniently(model: type[Query], given: Mapping[str, str]) -> tuple[Query, dict[str, str]]:
    """Build `model` from the valid parameters; the other ones are returned with what is wrong with them."""
    try:
        return model.model_validate(given), {}
    except ValidationError as error:
        wrong = {str(item["loc"][0]): item["msg"].removeprefix("Value error, ") for item in error.errors()}
    return model.model_validate({name: value for name, value in given.items() if name not in wrong}), wrong


def encode_cursor(place: Any) -> str:
    """Encode a position in a list as a parameter that clients pass back unchanged."""
    return urlsafe_b64encode(json.dumps(place, separators=(",", ":")).encode()).decode().rstrip("=")


def decode_cursor(text: str) -> Any:
    """The position, which a client may have made up: the caller checks it. Raises `ValueError`."""
    try:
        return json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except RecursionError as error:
        raise ValueError("nested too deep") from error
