"""What browsers and programs post, and the query of the page: checked before anything else sees it."""

from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from flask import request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from app.eventlog.event_types import Severity
from app.infra.clock import Moment, utc_now, utc_text
from app.notifications.broadcasts import MAX_CHARS

MAX_IDS = 1_000
MAX_PAGE = 100_000
USUAL_LIMIT = 50
MAX_MUTE = timedelta(days=30)
MAX_ID = 2**53
# What the forms offer, in minutes; programs name any moment.
MUTE_CHOICES = ((60, "1 hour"), (480, "8 hours"), (1_440, "1 day"), (10_080, "1 week"))
FLASH_CHOICES = ((15, "15 minutes"), (60, "1 hour"), (480, "8 hours"), (1_440, "1 day"))


def _storable(text: str) -> str:
    """Neither half a surrogate pair nor NUL, which no database takes."""
    if "\0" in text or any("\ud800" <= sign <= "\udfff" for sign in text):
        raise ValueError("expected text without NUL and unpaired surrogates")
    return text


# The length before the rest: after a function of ours, pydantic would count "items".
_Text = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_CHARS), AfterValidator(_storable)
]
NumberId = Annotated[int, Field(ge=1, le=MAX_ID)]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Read(_Asked):
    """`ids`, or `all`."""

    ids: list[NumberId] | None = Field(None, max_length=MAX_IDS)
    all: bool = False

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.ids is None) == (not self.all):
            raise ValueError("expected either ids, or all")
        return self


class Quiet(_Asked):
    """A service, and until when it is muted; null lets it speak again."""

    service: Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_storable)]
    until: Moment | None

    @model_validator(mode="after")
    def _not_for_ever(self) -> Self:
        if self.until is not None and self.until > utc_now() + MAX_MUTE:
            raise ValueError(f"expected a moment within {MAX_MUTE.days} days")
        return self


class Message(_Asked):
    """An operator's message."""

    severity: Severity
    text: _Text
    expires_at: Moment = Field(alias="expiresAt")


class PageQuery(BaseModel):
    """The query of `/notifications`. Unknown parameters are nobody's mistake here, and ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    q: Annotated[str, StringConstraints(strip_whitespace=True, max_length=200), AfterValidator(_storable)] = ""
    severity: Severity | Literal[""] = ""
    service: Annotated[str, StringConstraints(max_length=200), AfterValidator(_storable)] = ""
    show: Literal["", "unread"] = ""
    page: int = Field(1, ge=1, le=MAX_PAGE)
    limit: int = Field(USUAL_LIMIT, ge=1, le=500)


def posted(**minutes: str) -> dict[str, Any]:
    """The body as JSON, or as a page's form: there `minutes` are fields that say how long from now."""
    if request.is_json:
        given = request.get_json()
        return given if isinstance(given, dict) else {"body": given}
    form: dict[str, Any] = {name: value for name, value in request.form.items() if name not in ("csrf_token", "next")}
    if "ids" in form:
        form["ids"] = request.form.getlist("ids")
    for name, moment in minutes.items():
        if name in form:
            form[moment] = _from_now(form.pop(name))
    return form


def _from_now(minutes: str) -> str | None:
    """`0` means now; what is no number is left for the model to refuse."""
    if not minutes.isdecimal() or len(minutes) > 6:
        return minutes
    return utc_text(utc_now() + timedelta(minutes=int(minutes))) if int(minutes) else None
