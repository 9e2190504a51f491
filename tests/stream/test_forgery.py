"""No payload can forge a frame, in any format, whatever bytes it holds."""

from typing import Any

import pytest
from flask import Flask

from app.eventlog.append import NewEvent
from tests.support.cast import ALICE, headers_of, publish
from tests.support.sse_client import open_stream, parse

HOSTILE = [
    'x\n\nid: 999\nevent: bye\ndata: {"reason":"flag-off","poll":true}\n\n',
    'x\r\rid: 999\revent: reset\rdata: {"head":0}\r\r',
    "x\r\n\r\nid: 999\r\ndata: forged\r\n\r\n",
    "x\u2028\u2028id: 999\u2029data: forged",
    "x\x85id: 999\x0b\x0cdata: forged\x1c\x1d\x1e",
    "x\0id: 999\0",
    "\ufeffid: 999",
    "data: forged",
    "\u240a\u240d\u2424\uff1a",  # symbols for line ends and a full-width colon
    "</hx-partial><script>alert(1)</script><hx-partial hx-target='#main'>",
    "{{ 7*7 }}{% raw %}",
    "&#10;&#13;",
]
NAMES = ["any.thing", "job.failed", "command.status", "flash.message"]
PATHS = [
    "/api/stream/events?lastEventId=0",
    "/api/stream/events?as=html&lastEventId=0",
    "/reconciliation/stream?lastEventId=0",
    "/api/events/stream?lastEventId=0",
    "/api/sse?lastEventId=0",
]


def hostile_events(text: str) -> list[NewEvent]:
    """The text in every place where a payload can hold it, each in a known and an unknown type."""
    return [
        NewEvent("any.thing", {text: text, "nested": [{text: text}], "service": text}),
        NewEvent("job.failed", {"service": text, "jobId": text, "queue": text}),
        NewEvent("command.status", {"commandId": text, "service": text, "phase": "unknown", "logs": [text, text]}),
        NewEvent(
            "flash.message",
            {"id": text, "severity": "info", "text": text, "actor": text, "expiresAt": "2026-11-21T12:00:00Z"},
        ),
    ]


def strings(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set().union(*(strings(part) for pair in value.items() for part in pair), set())
    if isinstance(value, list):
        return set().union(*(strings(part) for part in value), set())
    return {value} if isinstance(value, str) else set()


def publish_all(app: Flask) -> dict[str, str]:
    """Every hostile text in every event; which text each event's id has."""
    events = [(event, text) for text in HOSTILE for event in hostile_events(text)]
    ids = publish(app, *(event for event, _ in events))
    return {str(event_id): text for event_id, (_, text) in zip(ids, events, strict=True)}


@pytest.mark.parametrize("path", PATHS)
def test_a_stream_has_exactly_the_frames_that_were_appended(live_app: Flask, path: str) -> None:
    texts = publish_all(live_app)
    expected = [key for key in texts if not path.startswith("/reconciliation") or int(key) % 4 == 3]
    with open_stream(live_app.test_client(), path, headers=headers_of(live_app, ALICE)) as reader:
        frames = [frame for frame in reader.frames(len(expected) + 1) if frame.event != "hello"]
    assert [frame.id for frame in frames] == expected
    assert {frame.event for frame in frames} <= {"message", *NAMES}
    if "as=html" not in path:
        assert all(texts[frame.id or ""] in strings(frame.json()) for frame in frames)


def test_the_polled_frames_neither(live_app: Flask) -> None:
    texts = publish_all(live_app)
    response = live_app.test_client().get("/api/events/frames?after=0", headers=headers_of(live_app, ALICE))
    # What follows from an event in the log (a notification, say) comes behind it, and is not looked at here.
    frames = [frame for frame in parse(response.data) if frame.id is None or frame.id in texts]
    assert [frame.id for frame in frames] == [None, *texts]
    assert {frame.event for frame in frames} == {"hello", "message"}
    assert "<script>alert" not in response.text


@pytest.mark.parametrize("header", ["1\n2", "999\r\nid: 1", "\u2028"])
def test_a_client_cannot_forge_its_own_reset(live_app: Flask, header: str) -> None:
    path = "/api/stream/events"
    headers = headers_of(live_app, ALICE)
    client = live_app.test_client()
    with open_stream(client, path, query_string={"lastEventId": header}, headers=headers) as reader:
        hello, reset, *_ = reader.until("heartbeat")
    assert (hello.event, reset.event, reset.json()) == ("hello", "reset", {"reason": "malformed", "head": 0})
