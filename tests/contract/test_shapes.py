"""The same events under the paths and in the shapes that other dashboards expect."""

import pytest

from tests.contract.conftest import Listen, Publisher, World
from tests.contract.frames import Frame
from tests.contract.holding import holds
from tests.contract.people import Person
from tests.contract.streams import EVENTS, MAIN, RECONCILIATION, SSE

ON_EVENTS = "An event on `/api/events/stream` is unnamed, its data is `id`, `type`, `timestamp` and `data`."
ON_SSE = "An event on `/api/sse` is unnamed, its data is `type`, `data` and `timestamp`."
CARRIED = "`/reconciliation/stream` carries reconciliation and command events by name with the bare payload."
NO_OTHERS = "`/reconciliation/stream` carries no other events."
TYPES = ("reconciliation.update", "reconciliation.verified", "command.status")
RECENT = 500


@pytest.fixture
def reconciled(world: World) -> tuple[int, dict[str, object]]:
    """A recent event that `/reconciliation/stream` carries, as `GET /api/events` lists it, and a cursor before it."""
    listed = world.admin.call("GET", f"/api/events?after={max(world.head() - RECENT, 0)}&limit={RECENT}")["data"]
    carried = [item for item in listed if item["type"] in TYPES and item["data"].get("phase") != "unknown"]
    if not carried:
        pytest.skip("nothing is watched here: no service's state is in the log")
    return carried[-1]["id"] - 1, carried[-1]


@holds(ON_EVENTS)
def test_the_events_stream_is_unnamed_with_the_id_inside(
    alice: Person, listen: Listen, publish: Publisher, kind: str
) -> None:
    stream = listen(alice, EVENTS)
    event_id = publish(kind, {"n": 1})
    frame = stream.event(event_id)
    told = frame.json()
    assert frame.names == ["id", "data"]
    assert set(told) == {"id", "type", "timestamp", "data"}
    assert (told["id"], told["type"], told["data"]) == (event_id, kind, {"n": 1})


@holds(ON_EVENTS)
def test_the_events_stream_names_its_control_frames(alice: Person, listen: Listen, beating: float) -> None:
    stream = listen(alice, EVENTS, {"Last-Event-ID": "abc"})
    stream.next_named("heartbeat", beating + 0.5)
    assert {"hello", "reset", "heartbeat"} <= {frame.event for frame in stream.frames}


@holds(ON_SSE)
def test_the_sse_path_is_unnamed_with_the_id_outside(
    alice: Person, listen: Listen, publish: Publisher, kind: str
) -> None:
    stream = listen(alice, SSE)
    frame = stream.event(publish(kind, {"n": 1}))
    told = frame.json()
    assert frame.names == ["id", "data"]
    assert set(told) == {"type", "data", "timestamp"}
    assert (told["type"], told["data"]) == (kind, {"n": 1})


@holds(ON_SSE)
def test_the_sse_path_names_its_control_frames(alice: Person, listen: Listen, beating: float) -> None:
    stream = listen(alice, SSE, {"Last-Event-ID": "abc"})
    stream.next_named("heartbeat", beating + 0.5)
    assert {"hello", "reset", "heartbeat"} <= {frame.event for frame in stream.frames}


@holds(ON_SSE)
def test_every_shape_says_the_same_of_an_event(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    streams = [listen(alice, path) for path in (MAIN, EVENTS, SSE)]
    event_id = publish(kind, {"same": [1, 2, 3]})
    told = [stream.event(event_id).json() for stream in streams]
    assert len({item["timestamp"] for item in told}) == 1
    assert all((item["type"], item["data"]) == (kind, {"same": [1, 2, 3]}) for item in told)


@holds(CARRIED)
def test_the_reconciliation_stream_is_named_with_the_bare_payload(
    alice: Person, listen: Listen, reconciled: tuple[int, dict[str, object]]
) -> None:
    cursor, listed = reconciled
    frame = listen(alice, RECONCILIATION, {"Last-Event-ID": str(cursor)}).event(int(str(listed["id"])))
    assert frame.names == ["id", "event", "data"]
    assert (frame.event, frame.json()) == (listed["type"], listed["data"])


@holds(CARRIED)
def test_the_reconciliation_stream_has_the_ids_of_the_others(
    alice: Person, listen: Listen, reconciled: tuple[int, dict[str, object]]
) -> None:
    cursor, listed = reconciled
    event_id = int(str(listed["id"]))
    streams = [listen(alice, path, {"Last-Event-ID": str(cursor)}) for path in (RECONCILIATION, MAIN)]
    assert len({stream.event(event_id).event for stream in streams}) == 1


@holds(NO_OTHERS)
def test_the_reconciliation_stream_leaves_other_types_out(
    alice: Person, listen: Listen, publish: Publisher, kind: str, beating: float
) -> None:
    stream = listen(alice, RECONCILIATION)
    event_id = publish.many(kind, 3)[-1]

    def passed() -> list[Frame]:
        return [frame for frame in stream.named("heartbeat") if frame.json()["head"] >= event_id]

    stream.wait(passed, "a heartbeat behind them", 3 * beating)
    assert {frame.event for frame in stream.frames} <= {"hello", "heartbeat", *TYPES}
    assert kind.encode() not in stream.body


@holds(NO_OTHERS)
def test_the_reconciliation_stream_leaves_other_types_out_of_a_replay(
    alice: Person, listen: Listen, publish: Publisher, kind: str, beating: float
) -> None:
    seen, *_, last = publish.many(kind, 5)
    stream = listen(alice, RECONCILIATION, {"Last-Event-ID": str(seen)})
    stream.wait(
        lambda: [frame for frame in stream.named("heartbeat") if frame.json()["head"] >= last],
        "a heartbeat behind them",
        3 * beating,
    )
    assert kind.encode() not in stream.body
