"""Turns a publisher's request body into events that are ready to insert, one by one in short time slices."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from app.eventlog import batch, event_types
from app.eventlog.append import InvalidEvent, NewEvent, PreparedEvent, prepare
from app.eventlog.audience import CONTROL, EVERYONE
from app.infra.concurrency import iterate_in_slices
from app.infra.problems import Problem, list_errors
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

    Raises `ValueError` or `RecursionError` for a body that is not JSON, and a `Problem` for everything else. Errors are
    reported after the whole body has been read, invalid fields before all other errors. So one response names all
    invalid fields, and it does not depend on the order of the events.
    """
    # Only the JSON text of each event is kept: a million parsed values would keep the garbage collector busy.
    events: list[PreparedEvent] = []
    errors: dict[str, str] = {}
    forbidden = ""
    invalid: InvalidEvent | None = None
    for place, value in enumerate(_read_values(body)):
        item = _validate(value, place, errors)
        if item is None or errors or forbidden:
            continue
        forbidden = _forbidden_reason(item, place)
        try:
            if not (forbidden or invalid):
                events.append(prepare(NewEvent(item.type, item.data, item.audience), place))
        except InvalidEvent as error:
            invalid = error
    if errors:
        field, expected = next(iter(errors.items()))
        raise Problem(400, "Bad input", f"{field}: {expected}", errors=errors)
    if forbidden:
        raise auth.forbidden_problem(auth.actor(), forbidden, "own-type")
    if invalid:
        raise _to_problem(invalid)
    return events


def _read_values(body: bytes) -> Iterator[Any]:
    place = -1
    try:
        for place, value in enumerate(iterate_in_slices(batch.iter_values(body))):
            if place == MAX_EVENTS_PER_BATCH:
                raise Problem(400, "Bad input", f"send 1 to {MAX_EVENTS_PER_BATCH} events, not more at once")
            yield value
    except batch.EventTooLarge as error:
        expected = f"at most {event_types.MAX_PAYLOAD_BYTES} bytes, this has many more"
        raise _to_problem(InvalidEvent(f"{error.place}.data", expected, too_large=True)) from error
    if place < 0:
        raise Problem(400, "Bad input", f"send 1 to {MAX_EVENTS_PER_BATCH} events, not 0")


def _validate(value: Any, place: int, errors: dict[str, str]) -> PublishedEvent | None:
    """The event, or None; what is wrong with it is added to `errors`."""
    unknown = len(value.keys() - PublishedEvent.model_fields.keys()) if isinstance(value, dict) else 0
    if unknown > MAX_REPORTED_ERRORS:  # the validator would keep an error for each of them
        errors[str(place)] = f"{unknown} of its fields are unknown"
        return None
    try:
        return PublishedEvent.model_validate(value)
    except ValidationError as error:
        if len(errors) < MAX_REPORTED_ERRORS:
            errors |= list_errors(error, str(place))
        return None


def _forbidden_reason(item: PublishedEvent, place: int) -> str:
    if event_types.is_reserved_type(item.type):
        return f"events[{place}]: {item.type[:100]} is one of Beacon's own types; publishers may not send it"
    if item.audience == CONTROL:
        return f"events[{place}]: the audience control is Beacon's own"
    return ""


def _to_problem(error: InvalidEvent) -> Problem:
    if error.too_large:
        return Problem(413, "Payload too large", str(error), errors={error.field: str(error)})
    return Problem(400, "Bad input", f"{error.field}: {error}", errors={error.field: str(error)})
