"""The stream endpoints, and their finite counterpart for pages that poll."""

from typing import Any

from flask import Response, request

from app.accounts import tokens
from app.background import get_background
from app.components import components
from app.config import current_settings
from app.db import db
from app.eventlog import reader as log
from app.eventlog.event_types import drop_trailing_zero
from app.flags.evaluation import Flag, is_enabled
from app.infra.concurrency import iterate_in_slices
from app.infra.logs import log_stream_event
from app.infra.problems import Problem, build_retry_after
from app.rollout.online_users import online_users
from app.stream import control, formats, sse, topics
from app.stream.admission import StreamSlot
from app.stream.control import Opening
from app.stream.formats import EventFormat
from app.stream.handoff import PENDING_KEY, PendingStream, build_disconnect
from app.stream.subscriber import Reader
from app.web.assets import build_name
from app.web.path_prefix import current_prefix
from app.web.stream_api import bp, stream_auth
from app.web.stream_api.stream_auth import IdentifiedReader

MAX_POLLED_FRAMES = 500
MAX_POLLED_CHARS = 8 * 1024 * 1024
STREAM_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    # A proxy that compresses would hold frames back until it has enough of them.
    "Cache-Control": "no-cache, no-store, no-transform",
    "X-Accel-Buffering": "no",
}


@bp.get("/api/events/frames")
def frames() -> Response:
    """What a stream would have sent since `after`, as a finite response. The flag does not apply to it."""
    admitted = stream_auth.identify(request.args.get("after"), scope=("read", "stream"))
    online_users().note_poll(admitted.who.name, as_program=admitted.who.token_id is not None)
    html = _html_format()
    audiences = admitted.who.viewer.audiences
    found = log.fetch_rows(db.session(), admitted.start.after, audiences, MAX_POLLED_FRAMES, MAX_POLLED_CHARS)
    db.session.remove()  # rendering yields to the loop many times, and connections are scarce
    parts = [
        sse.json_frame(_build_hello(admitted, streams=is_enabled(Flag.SSE_STREAMING, admitted.who.name)), event="hello")
    ]
    if admitted.start.reset:
        parts.append(control.reset_frame(admitted.start))
    parts += [html(event) or b"" for event in iterate_in_slices(log.decode_rows(found.rows))]
    cursor_headers = {"Beacon-Cursor": str(found.cursor), "Beacon-Generation": admitted.start.generation}
    return Response(b"".join(parts), headers={**STREAM_HEADERS, **cursor_headers})


@bp.get("/api/stream/events")
@bp.get("/reconciliation/stream", defaults={"event_format": formats.RECONCILIATION_FORMAT})
@bp.get("/api/events/stream", defaults={"event_format": formats.EVENTS_FORMAT})
@bp.get("/api/sse", defaults={"event_format": formats.SSE_FORMAT})
def open_stream(event_format: EventFormat | None = None) -> Response:
    """Open a stream in this format, or in the requested one."""
    admitted = stream_auth.identify(request.args.get("lastEventId"))
    chosen, event_format = _parse_topics(), event_format or _parse_format()
    who, start = admitted.who, admitted.start
    db.session.remove()  # admission may wait, and a waiting request must not hold a connection
    flag_version = get_background().hub.flag_version
    slot = _admit(admitted)
    reader = Reader(who.viewer, event_format, chosen, start.head, who.login_id, who.token_id)
    opening = Opening(reader, start, _build_hello(admitted, streams=True), flag_version)
    pending = PendingStream(opening, slot.release)
    # For the wrapper outside Flask: where it can, it takes the socket and never starts the generator.
    request.environ[PENDING_KEY] = pending
    response = Response(
        iter(get_background().engine.open_generator(opening, build_disconnect(request.environ))), headers=STREAM_HEADERS
    )
    response.call_on_close(pending.abandon)
    return response


def _admit(admitted: IdentifiedReader) -> StreamSlot:
    """Return a slot for this reader. If it gets none, the refusal is counted, logged and raised."""
    try:
        stream_auth.check_flag(admitted.who)
        if get_background().hub.draining or not get_background().started:
            raise _not_ready_problem()
        slot = get_background().admission.admit(admitted.who.name)
        if get_background().hub.draining:  # it may have waited
            slot.release()
            raise _not_ready_problem()
        return slot
    except Problem as problem:
        reason = str(problem.members.get("reason", problem.status))
        get_background().hub.counters.refusals[reason] += 1
        log_stream_event("refused", user=admitted.who.name, status=problem.status, reason=reason)
        raise


def _build_hello(admitted: IdentifiedReader, *, streams: bool) -> dict[str, Any]:
    who, start = admitted.who, admitted.start
    return {
        "heartbeatS": drop_trailing_zero(current_settings().heartbeat_s),
        "head": start.head,
        "after": start.after,
        "session": tokens.public_session_id(who.login_id) if who.login_id else None,
        "build": build_name(),
        "stream": "on" if streams else "off",
        "generation": start.generation,
    }


def _parse_topics() -> topics.Topics:
    try:
        return topics.parse_topics(request.args.get("topics"))
    except topics.InvalidTopics as error:
        raise Problem(400, "Bad topics", str(error), errors={"topics": str(error)}) from error


def _parse_format() -> EventFormat:
    match request.args.get("as", "json"):
        case "json":
            return formats.JSON_FORMAT
        case "html":
            return _html_format()
        case other:
            raise Problem(400, "Bad format", f"as is json or html, not {other[:50]!r}", errors={"as": "json or html"})


def _html_format() -> EventFormat:
    """The HTML format with addresses as this reader's browser needs them."""
    return components().html_formats(current_prefix())


def _not_ready_problem() -> Problem:
    detail = "This worker does not accept streams now. Try again."
    return Problem(503, "Not ready", detail, headers=build_retry_after(1, 5), reason="draining")
