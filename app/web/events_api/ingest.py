"""Turns a publisher's request body into events that are ready to insert, one by one in short time slices."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from app.eventlog import batch, event_types
from app.eventlog.append import InvalidEvent, NewEvent, PreparedEvent, prepare
from app.eventlog.audience import CONTROL, EVERYONE
from app.infra.concurrency import iterate_in_slices
from app.infra.problems import Problem
from app.web import auth

MAX_EVENTS_PER_BATCH = 1_000
# Invalid fields that one response names; a client with more of them fixes these first.
MAX_REPORTED_ERRORS = 1_000


class PublishedEvent(BaseModel):
    """One event as a publisher sends it."""

    model_config = ConfigDict(extra="forbid")

    type: str
    data: dict[str, Any]
    audience: str = EVERYONE


def prepare_events(body: bytes) -> list[PreparedEvent]:
    """Parse a body with one event, or an array of at most `MAX_EVENTS_PER_BATCH`.

    Raises `ValueError` or `RecursionError` for a body that is not JSON, and a `Problem` for everything else.
    """
    reader = _BatchReader()
    try:
        for place, value in enumerate(iterate_in_slices(batch.iter_values(body))):
            if place == MAX_EVENTS_PER_BATCH:
                raise Problem(400, "Bad input", f"send 1 to {MAX_EVENTS_PER_BATCH} events, not more at once")
            reader.add(place, value)
    except batch.EventTooLarge as error:
        expected = f"at most {event_types.MAX_PAYLOAD_BYTES} bytes, this has many more"
        raise _to_problem(InvalidEvent(f"{error.place}.data", expected, too_large=True)) from error
    return reader.finish()


class _BatchReader:
    """Keeps only the JSON text of each event: a million parsed values at once would keep the garbage collector busy.

    Errors are reported after the whole body has been read, invalid fields before all other errors. So one response
    names all invalid fields, and it does not depend on the order of the events.
    """

    def __init__(self) -> None:
        self._events: list[PreparedEvent] = []
        self._errors: dict[str, str] = {}
        self._forbidden: str | None = None
        self._bad: Problem | None = None

    def add(self, place: int, value: Any) -> None:
        item = self._validate(place, value)
        if item is None or self._errors or self._forbidden:
            return
        self._forbidden = _forbidden_reason(item, place)
        if self._forbidden is None and self._bad is None:
            self._prepare(item, place)

    def finish(self) -> list[PreparedEvent]:
        """Return all events, or raise the `Problem` with them."""
        if self._errors:
            field, expected = next(iter(self._errors.items()))
            raise Problem(400, "Bad input", f"{field}: {expected}", errors=self._errors)
        if self._forbidden:
            raise auth.forbidden_problem(auth.actor(), self._forbidden, "own-type")
        if self._bad is not None:
            raise self._bad
        if not self._events:
            raise Problem(400, "Bad input", f"send 1 to {MAX_EVENTS_PER_BATCH} events, not 0")
        return self._events

    def _validate(self, place: int, value: Any) -> PublishedEvent | None:
        unknown = len(value.keys() - PublishedEvent.model_fields.keys()) if isinstance(value, dict) else 0
        if unknown > MAX_REPORTED_ERRORS:  # the validator would keep an error for each of them
            self._errors[str(place)] = f"{unknown} of its fields are unknown"
            return None
        try:
            return PublishedEvent.model_validate(value)
        except ValidationError as error:
            if len(self._errors) < MAX_REPORTED_ERRORS:
                self._errors.update(_errors_by_field(error, place))
            return None

    def _prepare(self, item: PublishedEvent, place: int) -> None:
        try:
            self._events.append(prepare(NewEvent(item.type, item.data, item.audience), place))
        except InvalidEvent as error:
            self._bad = _to_problem(error)


def _errors_by_field(error: ValidationError, place: int) -> dict[str, str]:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return {".".join(map(str, (place, *item["loc"]))): item["msg"] for item in found}


def _forbidden_reason(item: PublishedEvent, place: int) -> str | None:
    if event_types.is_reserved_type(item.type):
        return f"events[{place}]: {item.type[:100]} is one of Beacon's own types; publishers may not send it"
    if item.audience == CONTROL:
        return f"events[{place}]: the audience control is Beacon's own"
    return None


def _to_problem(error: InvalidEvent) -> Problem:
    if error.too_large:
        return Problem(413, "Payload too large", str(error), errors={error.field: str(error)})
    return Problem(400, "Bad input", f"{error.field}: {error}", errors={error.field: str(error)})
