"""The tally: what a worker counts, and what of it is due to be written."""

import threading

import pytest

from app.stream.presence import Update
from app.stream.tally import Tally


@pytest.fixture
def tally() -> Tally:
    return Tally()


def write(tally: Tally, now: float) -> Update | None:
    update = tally.due(now)
    if update is not None:
        tally.kept(update, now)
    return update


def take(tally: Tally, *users: str) -> None:
    for user in users:
        assert tally.take(user, 1000, 1000) is None


def test_without_streams_nothing_is_ever_due(tally: Tally) -> None:
    assert [tally.due(now) for now in (0.0, 100.0, 1e9)] == [None] * 3


def test_the_two_bounds_are_told_apart(tally: Tally) -> None:
    take(tally, "alice", "alice")
    assert tally.take("alice", 3, 2) == "user-cap"
    assert tally.take("bob", 2, 2) == "full"
    assert (tally.total, tally.of("alice"), tally.of("bob")) == (2, 2, 0)


def test_only_what_changed_is_due_and_only_once(tally: Tally) -> None:
    take(tally, "alice", "bob")
    first = write(tally, 1.0)
    assert first == Update({"alice": 1, "bob": 1}, {"alice": 1, "bob": 1}, sweep=True)
    assert write(tally, 1.5) is None
    take(tally, "bob")
    assert write(tally, 1.6) == Update({"bob": 2})


def test_open_streams_are_renewed_once_a_second(tally: Tally) -> None:
    take(tally, "alice")
    due = [write(tally, now / 10) for now in range(100, 151)]
    renewals = [update for update in due if update is not None]
    assert len(renewals) == 6
    assert renewals[-1] == Update({}, {"alice": 1})


def test_a_stream_that_comes_and_goes_between_two_writes_is_never_written(tally: Tally) -> None:
    take(tally, "alice")
    tally.leave("alice")
    assert write(tally, 5.0) is None
    assert not tally.is_announced


def test_the_last_stream_takes_its_row_along_and_then_nothing_is_due(tally: Tally) -> None:
    take(tally, "alice")
    write(tally, 1.0)
    tally.leave("alice")
    assert write(tally, 1.1) == Update({"alice": 0})
    assert not tally.is_announced
    assert write(tally, 99.0) is None


def test_what_was_lost_is_due_again_even_where_it_was_committed_after_all(tally: Tally) -> None:
    take(tally, "alice")
    lost = tally.due(1.0)
    assert lost is not None
    tally.lost(lost)
    assert tally.is_announced
    tally.leave("alice")
    assert write(tally, 2.0) == Update({"alice": 0}, None, sweep=True)


def test_a_change_while_an_update_is_being_written_is_due_next(tally: Tally) -> None:
    take(tally, "alice")
    update = tally.due(1.0)
    assert update is not None
    take(tally, "alice")
    tally.kept(update, 1.0)
    assert write(tally, 1.1) == Update({"alice": 2})


def test_the_dead_are_swept_once_a_minute(tally: Tally) -> None:
    take(tally, "alice")
    updates = [write(tally, float(now)) for now in range(100, 230)]
    assert [n for n, update in enumerate(updates) if update and update.sweep] == [0, 60, 120]


def test_threads_at_once_take_exactly_what_there_is(tally: Tally) -> None:
    barrier, refused = threading.Barrier(8), []

    def many() -> None:
        barrier.wait(5)
        refused.extend(filter(None, (tally.take("alice", 1000, 100) for _ in range(50))))

    threads = [threading.Thread(target=many) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert (tally.of("alice"), len(refused)) == (100, 300)
