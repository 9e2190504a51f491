"""Models of what browsers and programs post to `/notifications`, and of the page's query."""

from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from flask import request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from app.eventlog.event_types import Severity
from app.infra.clock import Moment, utc_now, utc_text
from app.infra.list_query import ListQuery, check_storable
from app.notifications.broadcasts import MAX_MESSAGE_CHARS

MAX_IDS = 1_000
MAX_MUTE = timedelta(days=30)
MAX_NOTIFICATION_ID = 2**53
# The choices of the forms, in minutes; programs may give any moment.
MUTE_CHOICES = ((60, "1 hour"), (480, "8 hours"), (1_440, "1 day"), (10_080, "1 week"))
MESSAGE_CHOICES = ((15, "15 minutes"), (60, "1 hour"), (480, "8 hours"), (1_440, "1 day"))


# The length is checked first: after a validator function, pydantic would count "items" instead of characters.
_Text = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_MESSAGE_CHARS),
    AfterValidator(check_storable),
]
NotificationId = Annotated[int, Field(ge=1, le=MAX_NOTIFICATION_ID)]


class _RequestModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class MarkReadRequest(_RequestModel):
    """`ids`, or `all`."""

    ids: list[NotificationId] | None = Field(None, max_length=MAX_IDS)
    all: bool = False

    @model_validator(mode="after")
    def _check_ids_or_all(self) -> Self:
        if (self.ids is None) == (not self.all):
            raise ValueError("expected either ids, or all")
        return self


class MuteRequest(_RequestModel):
    """A service, and until when it is muted; null unmutes it."""

    service: Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(check_storable)]
    until: Moment | None

    @model_validator(mode="after")
    def _check_end(self) -> Self:
        if self.until is not None and self.until > utc_now() + MAX_MUTE:
            raise ValueError(f"expected a moment within {MAX_MUTE.days} days")
        return self


class MessageRequest(_RequestModel):
    """An operator's message to everybody."""

    severity: Severity
    text: _Text
    expires_at: Moment = Field(alias="expiresAt")


class NotificationQuery(ListQuery):
    """The query of `/notifications`."""

    q: Annotated[str, StringConstraints(strip_whitespace=True, max_length=200), AfterValidator(check_storable)] = ""
    severity: Severity | Literal[""] = ""
    service: Annotated[str, StringConstraints(max_length=200), AfterValidator(check_storable)] = ""
    show: Literal["", "unread"] = ""


def parse_body(**minutes: str) -> dict[str, Any]:
    """The body as a dict, from JSON or from a form.

    `minutes` maps form fields that hold minutes from now to the names of the moments they stand for.
    """
    if request.is_json:
        given = request.get_json()
        return given if isinstance(given, dict) else {"body": given}
    form: dict[str, Any] = {name: value for name, value in request.form.items() if name not in ("csrf_token", "next")}
    if "ids" in form:
        form["ids"] = request.form.getlist("ids")
    for name, moment in minutes.items():
        if name in form:
            form[moment] = _minutes_to_moment(form.pop(name))
    return form


def _minutes_to_moment(minutes: str) -> str | None:
    """None for `0`, which means now. A value that is no number is returned for the model to reject."""
    if not minutes.isdecimal() or len(minutes) > 6:
        return minutes
    return utc_text(utc_now() + timedelta(minutes=int(minutes))) if int(minutes) else None
