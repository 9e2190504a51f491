"""The tally: what a worker counts, and what of it is due to be written."""

import threading

import pytest

from app.stream.presence import PresenceUpdate, SlotClaim
from app.stream.stream_counts import StreamCounter
from tests.support.machine import scaled


@pytest.fixture
def tally() -> StreamCounter:
    return StreamCounter()


def write(tally: StreamCounter, now: float) -> PresenceUpdate | None:
    update = tally.next_update(now)
    if update is not None:
        tally.confirm(update, now)
    return update


def take(tally: StreamCounter, *users: str) -> None:
    for user in users:
        assert tally.acquire(user, 1000, 1000) is None


def test_without_streams_nothing_is_ever_due(tally: StreamCounter) -> None:
    assert [tally.next_update(now) for now in (0.0, 100.0, 1e9)] == [None] * 3


def test_the_two_bounds_are_told_apart(tally: StreamCounter) -> None:
    take(tally, "alice", "alice")
    assert tally.acquire("alice", 3, 2) == "user-cap"
    assert tally.acquire("bob", 2, 2) == "full"
    assert (tally.total, tally.count_for("alice"), tally.count_for("bob")) == (2, 2, 0)


def test_only_what_changed_is_due_and_only_once(tally: StreamCounter) -> None:
    take(tally, "alice", "bob")
    first = write(tally, 1.0)
    assert first == PresenceUpdate({"alice": 1, "bob": 1}, {"alice": 1, "bob": 1}, sweep=True)
    assert write(tally, 1.5) is None
    take(tally, "bob")
    assert write(tally, 1.6) == PresenceUpdate({"bob": 2})


def test_open_streams_are_renewed_once_a_second(tally: StreamCounter) -> None:
    take(tally, "alice")
    due = [write(tally, now / 10) for now in range(100, 151)]
    renewals = [update for update in due if update is not None]
    assert len(renewals) == 6
    assert renewals[-1] == PresenceUpdate({}, {"alice": 1})


def test_a_stream_that_comes_and_goes_between_two_writes_is_never_written(tally: StreamCounter) -> None:
    take(tally, "alice")
    tally.release("alice")
    assert write(tally, 5.0) is None
    assert not tally.has_written_rows


def test_the_last_stream_takes_its_row_along_and_then_nothing_is_due(tally: StreamCounter) -> None:
    take(tally, "alice")
    write(tally, 1.0)
    tally.release("alice")
    assert write(tally, 1.1) == PresenceUpdate({"alice": 0})
    assert not tally.has_written_rows
    assert write(tally, 99.0) is None


def test_what_was_lost_is_due_again_even_where_it_was_committed_after_all(tally: StreamCounter) -> None:
    take(tally, "alice")
    lost = tally.next_update(1.0)
    assert lost is not None
    tally.roll_back(lost)
    assert tally.has_written_rows
    tally.release("alice")
    assert write(tally, 2.0) == PresenceUpdate({"alice": 0}, None, sweep=True)


def test_a_change_while_an_update_is_being_written_is_due_next(tally: StreamCounter) -> None:
    take(tally, "alice")
    update = tally.next_update(1.0)
    assert update is not None
    take(tally, "alice")
    tally.confirm(update, 1.0)
    assert write(tally, 1.1) == PresenceUpdate({"alice": 2})


def test_the_dead_are_swept_once_a_minute(tally: StreamCounter) -> None:
    take(tally, "alice")
    updates = [write(tally, float(now)) for now in range(100, 230)]
    assert [n for n, update in enumerate(updates) if update and update.sweep] == [0, 60, 120]


def test_threads_at_once_take_exactly_what_there_is(tally: StreamCounter) -> None:
    barrier, refused = threading.Barrier(8), []

    def many() -> None:
        barrier.wait(scaled(5))
        refused.extend(filter(None, (tally.acquire("alice", 1000, 100) for _ in range(50))))

    threads = [threading.Thread(target=many) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(scaled(10))
    assert (tally.count_for("alice"), len(refused)) == (100, 300)


def test_a_stream_that_is_asked_for_counts_once_it_is_granted_and_is_then_written(tally: StreamCounter) -> None:
    take(tally, "alice")
    asks = [tally.request(user, 1000, 1000) for user in ("alice", "alice", "bob")]
    update = tally.next_update(1.0)
    assert update is not None
    assert update.claims == {"alice": SlotClaim(1, 2), "bob": SlotClaim(0, 1)}
    assert (update.changes, update.renew) == ({"alice": 1}, {"alice": 1})
    assert (tally.total, {ask.answer for ask in asks}) == (1, {None})
    tally.confirm(update, 1.0, {"alice": 1, "bob": 0})
    assert [ask.answer for ask in asks] == ["granted", "user-cap", "user-cap"]
    assert (tally.count_for("alice"), tally.count_for("bob"), tally.total) == (2, 0, 2)
    assert write(tally, 1.1) is None


def test_what_a_bound_forbids_is_not_asked(tally: StreamCounter) -> None:
    take(tally, "alice")
    assert tally.request("alice", 1000, 1).answer == "user-cap"
    assert tally.request("bob", 2, 8).answer is None
    assert tally.request("charlie", 2, 8).answer == "full", "the one that is being decided may take the last place"
    assert tally.acquire("charlie", 2, 8) == "full"


def test_a_stream_that_ends_while_another_is_decided_is_due_next(tally: StreamCounter) -> None:
    take(tally, "alice")
    write(tally, 1.0)
    ask = tally.request("alice", 1000, 1000)
    update = tally.next_update(1.1)
    assert update is not None
    tally.release("alice")
    tally.confirm(update, 1.1, {"alice": 1})
    assert (ask.answer, tally.count_for("alice")) == ("granted", 1)
    assert write(tally, 1.2) == PresenceUpdate({"alice": 1})


def test_one_that_was_taken_meanwhile_uses_up_what_is_granted(tally: StreamCounter) -> None:
    """Else both would pass the cap together."""
    ask = tally.request("alice", 1000, 1000)
    update = tally.next_update(1.0)
    assert update is not None
    take(tally, "alice")
    tally.confirm(update, 1.0, {"alice": 1})
    assert (ask.answer, tally.count_for("alice")) == ("user-cap", 1)
    assert write(tally, 1.5) == PresenceUpdate({}, {"alice": 1})


def test_when_an_update_is_lost_all_who_ask_learn_that_nobody_knows(tally: StreamCounter) -> None:
    early = tally.request("alice", 1000, 1000)
    update = tally.next_update(1.0)
    assert update is not None
    late = tally.request("bob", 1000, 1000)
    tally.roll_back(update)
    assert (early.answer, late.answer, tally.total) == ("unknown", "unknown", 0)
    assert write(tally, 2.0) == PresenceUpdate({"alice": 0}, None, sweep=True)
    assert tally.acquire("alice", 1, 1) is None
