"""Heartbeats, lifetimes, readers that stand still: with times of the test's own."""

from collections.abc import Iterator

import pytest

from app.stream import control
from app.stream.heartbeat import SLOW_READER_TIMEOUT_S, WHEEL_TICK_S, Heartbeats
from app.stream.hub import Hub
from app.stream.socket_transport import SocketSubscriber
from tests.stream import readers
from tests.stream.readers import FakeOwner, FakeSocket, add, chunk
from tests.support.clock import own_time
from tests.support.sse_client import parse
from tests.support.waiting import wait_for

BEATS = 20


@pytest.fixture
def hub() -> Hub:
    return Hub(lambda _user: True)


@pytest.fixture
def pulse(hub: Hub) -> Heartbeats:
    return Heartbeats(hub, BEATS * WHEEL_TICK_S, lambda: False)


@pytest.fixture
def owner() -> FakeOwner:
    return FakeOwner()


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The wires' clock."""
    clock = [1_000.0]
    own_time(monkeypatch, "app.stream.socket_transport", monotonic=lambda: clock[0])
    return clock


def beating(pulse: Heartbeats, connection: FakeSocket, owner: FakeOwner, ends_at: float = 1e12) -> SocketSubscriber:
    made = readers.wire(connection, owner, ends_at=ends_at)
    pulse.add(made)
    return made


def stalled(pulse: Heartbeats, owner: FakeOwner) -> tuple[SocketSubscriber, FakeSocket]:
    """A wire whose client takes nothing any more."""
    connection = FakeSocket(room=5)
    made = beating(pulse, connection, owner)
    made.live = True
    made.push(chunk(0, 1, b"id: 1\ndata: 1\n\n"))
    return made, connection


def test_every_wire_gets_one_beat_an_interval(pulse: Heartbeats, owner: FakeOwner) -> None:
    connections = [FakeSocket() for _ in range(50)]
    for connection in connections:
        beating(pulse, connection, owner)
    for _ in range(3 * BEATS):
        pulse._send_heartbeats()
    assert {len(parse(connection.taken)) for connection in connections} == {3}


def test_beats_are_spread_over_the_interval(pulse: Heartbeats, owner: FakeOwner) -> None:
    connections = [FakeSocket() for _ in range(400)]
    for connection in connections:
        beating(pulse, connection, owner)
    at_once = []
    for _ in range(BEATS):
        before = sum(bool(connection.taken) for connection in connections)
        pulse._send_heartbeats()
        at_once.append(sum(bool(connection.taken) for connection in connections) - before)
    assert sum(at_once) == 400
    assert max(at_once) < 100  # 20 are to be expected


def test_a_beat_tells_the_head_and_whether_the_log_can_be_read(hub: Hub, owner: FakeOwner) -> None:
    degraded = Heartbeats(hub, WHEEL_TICK_S, lambda: True)
    hub.deliver((), 7)
    connection = FakeSocket()
    beating(degraded, connection, owner)
    degraded._send_heartbeats()
    (beat,) = parse(connection.taken)
    assert (beat.event, beat.id, beat.json()["head"], beat.json()["degraded"]) == ("heartbeat", None, 7, True)


def test_a_wire_that_is_gone_gets_no_beat(pulse: Heartbeats, owner: FakeOwner) -> None:
    connection = FakeSocket()
    made = beating(pulse, connection, owner)
    pulse.remove(made)
    pulse.remove(made)
    for _ in range(BEATS):
        pulse._send_heartbeats()
    assert connection.taken == b""


def test_a_wire_that_was_told_goodbye_gets_no_beat(pulse: Heartbeats, owner: FakeOwner) -> None:
    made, connection = stalled(pulse, owner)
    made.close("drain")
    connection.room = None
    for _ in range(BEATS):
        pulse._send_heartbeats()
    assert control.bye_frame("drain") not in connection.taken
    assert b"heartbeat" not in connection.taken


@pytest.mark.parametrize(("age_s", "ended"), [(-0.1, []), (0.0, ["lifetime"]), (9.0, ["lifetime"])])
def test_a_wire_ends_when_it_has_lived_long_enough(
    pulse: Heartbeats, owner: FakeOwner, age_s: float, ended: list[str]
) -> None:
    beating(pulse, FakeSocket(), owner, ends_at=500.0)
    pulse._check_all_timeouts(500.0 + age_s)
    assert owner.forgotten == ended


@pytest.mark.parametrize(("still_s", "ended"), [(SLOW_READER_TIMEOUT_S - 0.1, []), (SLOW_READER_TIMEOUT_S, ["slow"])])
def test_thirty_seconds_without_progress_end_a_wire(
    pulse: Heartbeats, owner: FakeOwner, now: list[float], still_s: float, ended: list[str]
) -> None:
    stalled(pulse, owner)
    pulse._check_all_timeouts(now[0] + still_s)
    assert owner.forgotten == ended


def test_a_byte_now_and_then_is_progress(pulse: Heartbeats, owner: FakeOwner, now: list[float]) -> None:
    made, connection = stalled(pulse, owner)
    for _ in range(5):
        now[0] += SLOW_READER_TIMEOUT_S - 1
        connection.room = 1
        made.on_writable()
        pulse._check_all_timeouts(now[0])
    assert owner.forgotten == []
    pulse._check_all_timeouts(now[0] + SLOW_READER_TIMEOUT_S)
    assert owner.forgotten == ["slow"]


@pytest.mark.parametrize(
    "told_after_s", [1.0, SLOW_READER_TIMEOUT_S - 1, SLOW_READER_TIMEOUT_S, SLOW_READER_TIMEOUT_S + 1]
)
def test_a_wire_that_stands_still_is_closed_soon_after_its_goodbye_whenever_that_was(
    pulse: Heartbeats, owner: FakeOwner, now: list[float], told_after_s: float
) -> None:
    made, _ = stalled(pulse, owner)
    now[0] += told_after_s
    made.close("drain")
    pulse._check_all_timeouts(now[0] + 1.9)
    assert owner.forgotten == []
    pulse._check_all_timeouts(now[0] + 2.0)
    assert owner.forgotten == ["drain"]


def test_flags_that_changed_are_asked_about_by_the_sweep(owner: FakeOwner) -> None:
    allowed = {"alice"}
    hub = Hub(allowed.__contains__)
    pulse = Heartbeats(hub, 1.0, lambda: False)
    connection = FakeSocket()
    add(hub, beating(pulse, connection, owner))
    allowed.clear()
    pulse._check_all_timeouts(1.0)
    assert owner.forgotten == []
    hub.request_flag_check()
    pulse._check_all_timeouts(1.0)
    assert owner.forgotten == ["flag-off"]


def test_the_worst_lag_of_the_last_second_is_counted(hub: Hub, pulse: Heartbeats) -> None:
    began = pulse._lag_since
    for after_s, lag_s in [(0.1, 0.02), (0.2, 0.3), (0.9, 0.01)]:
        pulse._note_lag(began + after_s, lag_s)
    assert hub.counters.loop_lag_s == 0.0
    pulse._note_lag(began + 1.0, 0.04)
    assert hub.counters.loop_lag_s == 0.3
    pulse._note_lag(began + 2.0, 0.05)
    assert hub.counters.loop_lag_s == 0.05


def test_a_beat_that_fails_is_logged_and_the_next_ones_come(
    hub: Hub, owner: FakeOwner, caplog: pytest.LogCaptureFixture
) -> None:
    answers = iter([RuntimeError("mine")])

    def is_degraded() -> bool:
        error = next(answers, None)
        if error:
            raise error
        return False

    pulse, connection = Heartbeats(hub, 0.01, is_degraded), FakeSocket()
    beating(pulse, connection, owner)
    pulse.start()
    wait_for(lambda: b"heartbeat" in connection.taken)
    pulse.stop()
    assert "heartbeat round failed" in caplog.text
