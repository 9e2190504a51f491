"""`POST /api/events` for publishers, `GET /api/events` for readers that poll, and the test broadcast."""

import json

from flask import Response, jsonify, request
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from app.components import components
from app.db import db, write
from app.eventlog import cursor
from app.eventlog import reader as log
from app.eventlog.append import NewEvent, PreparedEvent, append
from app.eventlog.cursor import StartPosition, resolve_start_position
from app.eventlog.reader import Event
from app.infra import rate_limits
from app.infra.clock import utc_text
from app.infra.concurrency import iterate_in_slices
from app.infra.problems import Problem
from app.rollout.online_users import online_users
from app.web import auth
from app.web.auth import actor, require
from app.web.events_api import bp, ingest

MAX_PAGE_EVENTS = 1_000
MAX_PAGE_CHARS = 8 * 1024 * 1024


@bp.post("/api/events")
def publish() -> ResponseReturnValue:
    """Append all events and return `201 {"ids": […]}`, or append nothing."""
    who = actor()
    auth.check_access(who, "operator", "publish")
    rate_limits.get_publish_limit().hit(who.name)
    db.session.remove()  # reading a large body yields to the loop many times, and connections are scarce
    events = _parse_body()
    return jsonify(ids=components().group_commit.append(events)), 201


@bp.post("/api/sse/test")
@require("operator", scope="publish")
def broadcast() -> ResponseReturnValue:
    """Publish a `test.broadcast` event to everyone, so that a person can check delivery from end to end."""
    rate_limits.get_publish_limit().hit(actor().name)
    data = {"actor": actor().name, "sentAt": utc_text()}
    with write() as session:
        ids = append(session, [NewEvent("test.broadcast", data)])
    return jsonify(id=ids[0]), 201


@bp.get("/api/events")
@require("viewer", scope="read")
def events() -> Response:
    """Return one page after a cursor: `{data, meta: {head, next, reset}}`. It ends early at `MAX_PAGE_CHARS`."""
    limit = _parse_limit()
    online_users().note_poll(actor().name, as_program=True)
    session = db.session()
    start = _parse_start(session)
    found = log.fetch_rows(session, start.after, actor().viewer.audiences, limit, MAX_PAGE_CHARS)
    db.session.remove()  # encoding a page of large events yields to the loop often, and connections are scarce
    data = ",".join([_encode_event(event) for event in iterate_in_slices(log.decode_rows(found.rows))])
    following = found.cursor if found.full else None
    head = max(start.head, found.cursor)
    meta = {"head": head, "next": following, "reset": start.reset, "generation": start.generation}
    return Response(f'{{"data":[{data}],"meta":{json.dumps(meta)}}}\n', mimetype="application/json")


def _encode_event(event: Event) -> str:
    shown = {"id": event.id, "type": event.type, "timestamp": event.timestamp, "data": event.data}
    return json.dumps(shown, separators=(",", ":"))


def _parse_body() -> list[PreparedEvent]:
    """Parse the events of the request's body. Invalid JSON gets the same error as everywhere else."""
    if not request.is_json:
        request.on_json_loading_failed(None)
    try:
        return ingest.prepare_events(request.get_data())
    except RecursionError:
        request.on_json_loading_failed(ValueError("nested too deep"))
    except ValueError as error:
        request.on_json_loading_failed(error)
    raise AssertionError("unreachable: each of these raises")


def _parse_start(session: Session) -> StartPosition:
    """Parse `after`. Without it, a page begins at the oldest event, unlike a stream."""
    text = request.args.get("after")
    if text is None:
        bounds = log.bounds(session)
        return StartPosition(bounds.floor, bounds.head, generation=bounds.generation)
    found = resolve_start_position(session, text, request.args.get("generation"))
    if not text or found.reset == "malformed":
        raise _invalid_number("after", text, 0, 10**cursor.MAX_DIGITS)
    return found


def _parse_limit() -> int:
    text = request.args.get("limit", "100")
    is_number = text.isascii() and text.isdecimal() and len(text) <= cursor.MAX_DIGITS
    if not (is_number and 1 <= int(text) <= MAX_PAGE_EVENTS):
        raise _invalid_number("limit", text, 1, MAX_PAGE_EVENTS)
    return int(text)


def _invalid_number(name: str, text: str, least: int, most: int) -> Problem:
    expected = f"a whole number from {least} to {most}"
    return Problem(400, "Bad input", f"{name} is {text[:50]!r}, expected {expected}", errors={name: expected})
