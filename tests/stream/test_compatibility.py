"""The same stream under the paths and in the shapes that other dashboards expect."""

from typing import Any

import pytest
from flask import Flask

from app.eventlog.append import NewEvent
from tests.support.cast import ALICE, headers_of, publish
from tests.support.sse_client import Frame, StreamReader, open_stream

WHEN = "2026-11-21T12:00:00Z"
COMMAND: dict[str, Any] = {"commandId": "c1", "service": "mail", "phase": "unknown", "logs": ["no answer"]}
VERIFIED: dict[str, Any] = {"services": {"mail": {"checkedAt": WHEN, "latencyMs": 4}}}
JOB: dict[str, Any] = {"service": "mail", "jobId": "j1"}


@pytest.fixture
def events(live_app: Flask) -> Flask:
    publish(
        live_app,
        NewEvent("job.failed", JOB),
        NewEvent("command.status", COMMAND),
        NewEvent("reconciliation.verified", VERIFIED),
        NewEvent("private", {}, "user:bob"),
    )
    return live_app


def opened(app: Flask, path: str) -> StreamReader:
    return open_stream(app.test_client(), f"{path}?lastEventId=0", headers=headers_of(app, ALICE))


def read(app: Flask, path: str, count: int) -> list[Frame]:
    with opened(app, path) as reader:
        hello, *frames = reader.frames(count + 1)
    assert (hello.event, hello.json()["head"], hello.json()["after"]) == ("hello", 4, 0)
    return frames


def test_reconciliation_stream_names_its_events_and_sends_the_bare_payload(events: Flask) -> None:
    command, verified = read(events, "/reconciliation/stream", 2)
    assert (command.id, command.event) == ("2", "command.status")
    assert command.json() == {**COMMAND, "phase": "timeout"}
    assert (verified.id, verified.event, verified.json()) == ("3", "reconciliation.verified", VERIFIED)


def test_events_stream_is_unnamed_with_the_id_inside(events: Flask) -> None:
    job, command, _verified = read(events, "/api/events/stream", 3)
    assert (job.id, job.event) == ("1", "message")
    assert set(job.json()) == {"id", "type", "timestamp", "data"}
    assert (job.json()["id"], job.json()["type"], job.json()["data"]) == (1, "job.failed", JOB)
    assert command.json()["data"]["phase"] == "unknown"


def test_sse_is_unnamed(events: Flask) -> None:
    job, command, _verified = read(events, "/api/sse", 3)
    assert (job.id, job.event) == ("1", "message")
    assert list(job.json()) == ["type", "data", "timestamp"]
    assert (job.json()["type"], job.json()["data"]) == ("job.failed", JOB)
    assert command.json()["data"]["phase"] == "unknown"


@pytest.mark.parametrize("path", ["/reconciliation/stream", "/api/events/stream", "/api/sse"])
def test_control_frames_are_named_on_every_path(events: Flask, path: str) -> None:
    client, headers = events.test_client(), headers_of(events, ALICE)
    with open_stream(client, path, headers={**headers, "Last-Event-ID": "99"}) as reader:
        names = [frame.event for frame in reader.until("heartbeat")]
        events.extensions["beacon"].background.hub.drain()
        names.append(reader.rest()[-1].event)
    assert names == ["hello", "reset", "heartbeat", "bye"]


@pytest.mark.parametrize("path", ["/reconciliation/stream", "/api/events/stream", "/api/sse"])
def test_topics_work_on_every_path(events: Flask, path: str) -> None:
    client, headers = events.test_client(), headers_of(events, ALICE)
    with open_stream(client, f"{path}?topics=reconciliation.*&lastEventId=0", headers=headers) as reader:
        frames = reader.until("heartbeat")
    assert [frame.id for frame in frames if frame.id] == ["3"]
