"""RQ's workers by what their keys tell: late is said by the server's clock alone, and how long it may take before."""

from dataclasses import replace

import pytest

from app.sources.protocol import UnservedQueue
from app.sources.rq.job_places import list_places
from app.sources.rq.rq_snapshot import RqSnapshot
from app.sources.rq.rq_workers import describe_health, find_silent_workers, find_unserved_queues, list_workers

NOW = 1_763_726_400.0  # 2025-11-21T12:00:00Z
BORN = "2025-11-21T11:00:00.000000Z"


def snapshot(
    left_s: float | None, state: str = "busy", heard: str | None = "2025-11-21T11:59:50.000000Z"
) -> RqSnapshot:
    fields = [state, "mail,sms", "j1" if state == "busy" else None, heard, BORN, None]
    return RqSnapshot(NOW, {}, {}, {}, [], {"anna": fields}, left_s={} if left_s is None else {"anna": left_s})


@pytest.mark.parametrize(
    ("left_s", "is_late"),
    [(90.0, False), (60.0, False), (45.0, False), (44.9, True), (0.0, True), (None, False)],
    ids=["just heard", "due", "a little late", "late", "over", "for ever"],
)
def test_a_worker_is_silent_once_its_next_sign_of_life_is_late(left_s: float | None, is_late: bool) -> None:
    assert find_silent_workers(snapshot(left_s)) == (frozenset({"anna"}) if is_late else frozenset())
    [worker] = list_workers(snapshot(left_s))
    assert (worker.state, worker.queues, worker.job_id) == ("silent" if is_late else "busy", ("mail", "sms"), "j1")


@pytest.mark.parametrize(
    ("state", "left_s", "note"),
    [
        ("busy", 80.0, "heartbeat every 30 s; its death would be detected within 45 s"),
        ("idle", 470.0, "heartbeat every 420 s; its death would be detected within 435 s"),
        ("busy", 20.4, "its heartbeat is late; RQ itself waits 20 s more"),
        ("busy", None, ""),
    ],
)
def test_its_row_says_how_long_its_end_may_go_unnoticed(state: str, left_s: float | None, note: str) -> None:
    [worker] = list_workers(snapshot(left_s, state))
    assert worker.note == note


@pytest.mark.parametrize("heard", [None, "garbage", "2025-11-21T13:00:00.000000Z"])
def test_a_clock_that_makes_no_sense_is_not_reckoned_with(heard: str | None) -> None:
    [worker] = list_workers(snapshot(80.0, heard=heard))
    assert (worker.state, worker.note) == ("busy", "")


def test_those_that_died_are_dead_and_not_silent() -> None:
    gone = RqSnapshot(NOW, {}, {}, {}, [], {"anna": [None] * 6, "bert": ["busy", "", None, None, BORN, BORN]})
    assert [worker.state for worker in list_workers(gone)] == ["dead", "dead"]
    assert (find_silent_workers(gone), describe_health(gone)) == (frozenset(), "no workers")


def unserved(seen: RqSnapshot, **waiting: int) -> tuple[UnservedQueue, ...]:
    """Where so many jobs wait, and others have been taken, failed or are for later."""
    counts = {place: 9 for queue in waiting for place in list_places(queue)}
    counts |= {place: waiting[place.queue] for place in counts if place.state == "queued" and not place.taken}
    seen = replace(seen, counts=counts)
    return find_unserved_queues(seen, list_workers(seen))


@pytest.mark.parametrize(
    ("state", "left_s", "names"),
    [("busy", 80.0, ["web"]), ("idle", 470.0, ["web"]), ("busy", 20.0, ["mail", "web"])],
    ids=["busy", "idle", "silent"],
)
def test_a_queue_is_served_by_workers_that_are_heard_of(state: str, left_s: float, names: list[str]) -> None:
    found = unserved(snapshot(left_s, state), mail=3, web=2, empty=0)
    assert [queue.name for queue in found] == names
    assert found[-1] == UnservedQueue("web", 2)


def test_workers_that_died_or_ended_serve_nothing() -> None:
    dead = RqSnapshot(NOW, {}, {}, {}, [], {"anna": ["busy", "mail", None, None, BORN, BORN], "bert": [None] * 6})
    assert unserved(dead, mail=3) == (UnservedQueue("mail", 3),)
    assert unserved(RqSnapshot(NOW, {}, {}, {}, []), mail=3) == (UnservedQueue("mail", 3),)


def test_suspended_workers_serve_nothing_and_that_is_why() -> None:
    found = unserved(replace(snapshot(80.0), suspended=True), mail=3, web=2)
    assert found == (UnservedQueue("mail", 3, "its workers are suspended"), UnservedQueue("web", 2))
