"""`POST /api/events` for publishers, `GET /api/events` for readers that poll, and the test broadcast."""

from typing import Any

from flask import Blueprint, Response, jsonify, request
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from app.accounts import access
from app.accounts.access import actor, require
from app.clock import utc_text
from app.db import db, write
from app.errors import Problem, bad_input
from app.eventlog import cursor, payloads
from app.eventlog import read as log
from app.eventlog.append import BadEvent, NewEvent, append
from app.eventlog.audience import CONTROL, EVERYONE
from app.eventlog.cursor import Start

bp = Blueprint("eventlog", __name__)

MAX_BATCH = 1_000
MAX_PAGE = 1_000


class Published(BaseModel):
    """What a publisher sends."""

    model_config = ConfigDict(extra="forbid")

    type: str
    data: dict[str, Any]
    audience: str = EVERYONE


_BATCH = TypeAdapter(list[Published])


@bp.post("/api/events")
def publish() -> ResponseReturnValue:
    """`201 {"ids": […]}`, or nothing is appended at all."""
    who = actor()
    # A token was given its scope by an administrator; a person publishes as an operator.
    access.check(who, "viewer" if who.scopes is not None else "operator", "publish")
    events = [_new_event(item, place) for place, item in enumerate(_batch())]
    with write() as session:
        try:
            ids = append(session, events)
        except BadEvent as error:
            raise _refusal(error) from error
    return jsonify(ids=ids), 201


@bp.post("/api/sse/test")
@require("operator", scope="publish")
def broadcast() -> ResponseReturnValue:
    """A `test.broadcast` event to everyone, so that a person can see the whole road work."""
    data = {"actor": actor().name, "sentAt": utc_text()}
    with write() as session:
        ids = append(session, [NewEvent("test.broadcast", data)])
    return jsonify(id=ids[0]), 201


@bp.get("/api/events")
@require("viewer", scope="read")
def events() -> Response:
    """One page after a cursor: `{data, meta: {head, next, reset}}`."""
    limit = _limit()
    session = db.session()
    start = _start(log.head(session), log.floor(session))
    page = log.seen_by(session, start.after, actor().viewer.audiences, limit)
    data = [{"id": e.id, "type": e.type, "timestamp": e.timestamp, "data": e.data} for e in page.events]
    following = page.cursor if page.full else None
    return jsonify(data=data, meta={"head": max(start.head, page.cursor), "next": following, "reset": start.reset})


def _batch() -> list[Published]:
    body = request.get_json()
    items = body if isinstance(body, list) else [body]
    if not 1 <= len(items) <= MAX_BATCH:
        raise Problem(400, "Bad input", f"send 1 to {MAX_BATCH} events, not {len(items)}")
    try:
        return _BATCH.validate_python(items)
    except ValidationError as error:
        raise bad_input(error) from error


def _new_event(item: Published, place: int) -> NewEvent:
    if payloads.is_own(item.type):
        detail = f"events[{place}]: {item.type[:100]} is one of Beacon's own types; publishers may not send it"
        raise Problem(403, "Not allowed", detail, reason="own-type")
    if item.audience == CONTROL:
        raise Problem(403, "Not allowed", f"events[{place}]: the audience control is Beacon's own", reason="own-type")
    return NewEvent(item.type, item.data, item.audience)


def _refusal(error: BadEvent) -> Problem:
    if error.too_large:
        return Problem(413, "Payload too large", str(error), errors={error.field: str(error)})
    return Problem(400, "Bad input", f"{error.field}: {error}", errors={error.field: str(error)})


def _start(head: int, floor: int) -> Start:
    """Where `after` says; without it, unlike a stream, at the oldest there is: a page of the log is asked for."""
    text = request.args.get("after")
    if text is None:
        return Start(floor, head)
    found = cursor.start(text, head, floor)
    if not text or found.reset == "malformed":
        raise _not_a_number("after", text, 0, 10**cursor.MAX_DIGITS)
    return found


def _limit() -> int:
    text = request.args.get("limit", "100")
    is_number = text.isascii() and text.isdecimal() and len(text) <= cursor.MAX_DIGITS
    if not (is_number and 1 <= int(text) <= MAX_PAGE):
        raise _not_a_number("limit", text, 1, MAX_PAGE)
    return int(text)


def _not_a_number(name: str, text: str, least: int, most: int) -> Problem:
    expected = f"a whole number from {least} to {most}"
    return Problem(400, "Bad input", f"{name} is {text[:50]!r}, expected {expected}", errors={name: expected})
