"""`/api/events/frames`: what a stream would have sent, as a finite answer for pages that poll."""

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.db import db, write
from app.eventlog.append import NewEvent
from app.flags import embedded
from app.flags.evaluation import Flag
from tests.support.cast import ALICE, BOB, headers_of, logged_in, publish
from tests.support.sse_client import Frame, open_stream, parse
from tests.support.waiting import wait_for

FRAMES = "/api/events/frames"


@pytest.fixture
def client(live_app: Flask) -> FlaskClient:
    return live_app.test_client()


@pytest.fixture
def alice(live_app: Flask) -> dict[str, str]:
    return headers_of(live_app, ALICE)


def poll(client: FlaskClient, headers: dict[str, str], after: str | int | None) -> tuple[list[Frame], int]:
    """The frames and the cursor of one poll."""
    response = client.get(FRAMES, query_string={} if after is None else {"after": after}, headers=headers)
    assert response.status_code == 200, response.text
    assert response.content_type == "text/event-stream; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-cache, no-store, no-transform"
    return parse(response.data), int(response.headers["Beacon-Cursor"])


def test_it_is_finite_and_begins_with_hello(live_app: Flask, client: FlaskClient, alice: dict[str, str]) -> None:
    publish(live_app, NewEvent("a", {}), NewEvent("b", {}))
    frames, cursor = poll(client, alice, 0)
    assert [(frame.event, frame.id) for frame in frames] == [("hello", None), ("message", "1"), ("message", "2")]
    assert cursor == 2
    assert list(frames[0].json()) == ["heartbeatS", "head", "after", "session", "build", "stream", "generation"]
    assert frames[0].json()["stream"] == "on"


def test_without_a_cursor_it_begins_at_the_head(live_app: Flask, client: FlaskClient, alice: dict[str, str]) -> None:
    publish(live_app, NewEvent("a", {}))
    frames, cursor = poll(client, alice, None)
    assert ([frame.event for frame in frames], cursor) == (["hello"], 1)


def test_its_frames_are_the_bytes_that_the_html_stream_sends(
    live_app: Flask, client: FlaskClient, alice: dict[str, str]
) -> None:
    publish(
        live_app,
        NewEvent("job.failed", {"service": "mail", "jobId": "1"}),
        NewEvent("notification.changed", {}, "user:alice"),
        NewEvent("any.thing", {"text": "a\nb\r\n<b>"}),
    )
    polled = client.get(FRAMES + "?after=0", headers=alice).data
    with open_stream(client, "/api/stream/events?as=html&lastEventId=0", headers=alice) as reader:
        streamed = [frame for frame in reader.frames(4) if frame.event != "hello"]
    assert [frame for frame in parse(polled) if frame.event != "hello"] == streamed
    assert polled.partition(b"\n\n")[2] in reader.raw


def test_at_most_500_frames_then_the_cursor_goes_on(
    live_app: Flask, client: FlaskClient, alice: dict[str, str]
) -> None:
    publish(live_app, *(NewEvent("a", {}, "user:bob" if n % 2 else "everyone") for n in range(1_204)))
    seen: list[str | None] = []
    cursor, answers = 0, 0
    while True:
        frames, cursor = poll(client, alice, cursor)
        answers += 1
        assert len(frames) <= 501
        seen += [frame.id for frame in frames[1:]]
        if cursor >= frames[0].json()["head"]:
            break
    assert seen == [str(number) for number in range(1, 1_204, 2)]
    assert (answers, cursor) == (2, 1_204)


def test_the_cursor_passes_events_of_others(live_app: Flask, client: FlaskClient, alice: dict[str, str]) -> None:
    publish(live_app, NewEvent("a", {}, "user:bob"))
    frames, cursor = poll(client, alice, 0)
    assert ([frame.event for frame in frames], cursor) == (["hello"], 1)


@pytest.mark.parametrize(("cursor", "reason"), [("1", "pruned"), ("9", "future"), ("x", "malformed")])
def test_an_unusable_cursor_gets_one_reset(
    live_app: Flask, client: FlaskClient, alice: dict[str, str], cursor: str, reason: str
) -> None:
    publish(live_app, *(NewEvent("a", {}) for _ in range(3)))
    with live_app.app_context(), write() as session:
        session.execute(db.text("DELETE FROM event WHERE id = 2"))
    frames, following = poll(client, alice, cursor)
    assert [(frame.event, frame.id) for frame in frames] == [("hello", None), ("reset", "3")]
    assert frames[1].json() == {"reason": reason, "head": 3}
    assert following == 3
    assert [frame.event for frame in poll(client, alice, following)[0]] == ["hello"]


def test_it_is_never_gated_and_says_whether_a_stream_would_be(
    live_app: Flask, client: FlaskClient, alice: dict[str, str]
) -> None:
    with live_app.app_context(), write() as session:
        embedded.change_rollout(session, Flag.SSE_STREAMING, "pia", "test", 0)
    wait_for(lambda: poll(client, alice, 0)[0][0].json()["stream"] == "off")
    assert client.get("/api/stream/events", headers=alice).status_code == 403


def test_it_goes_on_while_the_worker_drains(live_app: Flask, client: FlaskClient, alice: dict[str, str]) -> None:
    live_app.extensions["beacon"].background.hub.drain()
    assert poll(client, alice, 0)[1] == 0


def test_a_change_from_stream_to_polling_and_back_loses_and_repeats_nothing(
    live_app: Flask, client: FlaskClient, alice: dict[str, str]
) -> None:
    seen: list[str | None] = []
    publish(live_app, NewEvent("a", {}), NewEvent("a", {}))
    with open_stream(client, "/api/stream/events?as=html&lastEventId=0", headers=alice) as reader:
        seen += [frame.id for frame in reader.frames(3)[1:]]
    publish(live_app, NewEvent("a", {}), NewEvent("a", {}, "user:bob"))
    frames, cursor = poll(client, alice, reader.parser.last_event_id)
    seen += [frame.id for frame in frames[1:]]
    publish(live_app, NewEvent("a", {}))
    with open_stream(client, f"/api/stream/events?as=html&lastEventId={cursor}", headers=alice) as reader:
        publish(live_app, NewEvent("a", {}))
        seen += [frame.id for frame in reader.frames(3)[1:]]
    assert seen == ["1", "2", "3", "5", "6"]


def test_credentials_are_those_of_the_stream_or_of_reading(live_app: Flask, client: FlaskClient) -> None:
    assert client.get(FRAMES).status_code == 401
    assert client.get(FRAMES, headers=headers_of(live_app, BOB, "read")).status_code == 200
    assert client.get(FRAMES, headers=headers_of(live_app, BOB, "stream")).status_code == 200
    assert client.get(FRAMES, headers=headers_of(live_app, BOB, "publish")).status_code == 403
    browser = logged_in(live_app, ALICE)
    assert browser.get(FRAMES).status_code == 200
    assert browser.get(FRAMES, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 401
