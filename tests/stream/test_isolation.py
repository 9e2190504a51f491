"""Who sees what, with the cast, by every road that leads from the log to a person."""

from collections.abc import Callable

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from app.accounts import users
from app.db import write
from app.eventlog.append import NewEvent
from tests.support.cast import ADA, ALICE, BOB, CHARLIE, PIA, Person, headers_of, publish
from tests.support.sse_client import StreamReader, open_stream, parse

AUDIENCES = ["everyone", "user:alice", "user:charlie", "role:viewer", "role:operator", "role:product", "role:admin"]
SEES: dict[Person, set[str]] = {
    ALICE: {"everyone", "user:alice", "role:viewer"},
    BOB: {"everyone", "role:operator"},
    CHARLIE: {"everyone", "user:charlie", "role:viewer"},
    PIA: {"everyone", "role:product"},
    ADA: {"everyone", "role:viewer", "role:operator", "role:product", "role:admin"},
}
Seen = dict[Person, set[int]]
"""Ids of events by who got them."""
Road = Callable[[Flask, Callable[[], None]], Seen]
"""Opens its readers for the whole cast, calls the function that publishes (some before), and tells what came."""


def publish_one_for_each(app: Flask) -> None:
    """Ids 1 to 7 in the order of `AUDIENCES`, then a control event, then the end for everyone."""
    publish(app, *(NewEvent("command.status", secret(name), name) for name in AUDIENCES))
    with app.app_context(), write() as session:
        users.add_token(session, "pia", ["read"], None, "test")
    publish(app, NewEvent("control.user_changed", {"user": "nobody"}, "control"))
    publish(app, NewEvent("command.status", secret("the end")))


def secret(audience: str) -> dict[str, object]:
    return {"commandId": audience, "service": "s", "phase": "queued", "logs": [f"for {audience} only"]}


END = len(AUDIENCES) + 2


def live(path: str) -> Road:
    def road(app: Flask, act: Callable[[], None]) -> Seen:
        readers = {person: open_reader(app, person, path) for person in SEES}
        act()
        return {person: read_to_the_end(reader) for person, reader in readers.items()}

    return road


def replayed(path: str) -> Road:
    def road(app: Flask, act: Callable[[], None]) -> Seen:
        act()
        return {person: read_to_the_end(open_reader(app, person, path)) for person in SEES}

    return road


def open_reader(app: Flask, person: Person, path: str) -> StreamReader:
    reader = open_stream(app.test_client(), path, headers=headers_of(app, person))
    assert reader.next_frame().event == "hello"
    return reader


def read_to_the_end(reader: StreamReader) -> set[int]:
    ids: list[int] = []
    with reader:
        while not ids or ids[-1] != END:
            ids += [int(frame.id or 0) for frame in reader.frames(1)]
    return set(ids)


def polled_frames(app: Flask, act: Callable[[], None]) -> Seen:
    act()
    answers = {person: get(app, person, "/api/events/frames?after=0") for person in SEES}
    return {person: {int(frame.id) for frame in parse(answer.data) if frame.id} for person, answer in answers.items()}


def listed(app: Flask, act: Callable[[], None]) -> Seen:
    act()
    answers = {person: get(app, person, "/api/events?after=0") for person in SEES}
    return {person: {event["id"] for event in answer.get_json()["data"]} for person, answer in answers.items()}


def get(app: Flask, person: Person, path: str) -> TestResponse:
    return app.test_client().get(path, headers=headers_of(app, person))


STREAMS = ["/api/stream/events", "/reconciliation/stream", "/api/events/stream", "/api/sse"]
ROADS: dict[str, Road] = {
    **{f"live {path}": live(path) for path in STREAMS},
    "live html": live("/api/stream/events?as=html"),
    **{f"replay {path}": replayed(f"{path}?lastEventId=0") for path in STREAMS},
    "replay html": replayed("/api/stream/events?as=html&lastEventId=0"),
    "polled frames": polled_frames,
    "listed": listed,
}


@pytest.mark.parametrize("road", ROADS)
def test_everyone_sees_what_is_for_them_and_nothing_else(live_app: Flask, road: str) -> None:
    seen = ROADS[road](live_app, lambda: publish_one_for_each(live_app))
    assert seen == {
        person: {AUDIENCES.index(name) + 1 for name in audiences} | {END} for person, audiences in SEES.items()
    }


def test_nobody_gets_a_control_event_by_asking_for_its_topic(live_app: Flask) -> None:
    publish_one_for_each(live_app)
    headers = headers_of(live_app, ADA)
    path = "/api/stream/events?topics=control.*&lastEventId=0"
    with open_stream(live_app.test_client(), path, headers=headers) as reader:
        assert [frame.event for frame in reader.until("heartbeat")] == ["hello", "heartbeat"]
