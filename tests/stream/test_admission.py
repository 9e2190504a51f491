"""Admission: who gets one more stream, on one worker and on several that share a database."""

import contextlib
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from app.config import Settings
from app.db import DatabaseUnavailable, read, write
from app.infra import file_descriptors
from app.infra.problems import Problem
from app.stream import admission as module
from app.stream import presence, stream_counts
from app.stream.admission import FLUSH_EVERY_S, Admission, StreamSlot
from app.stream.models import PresenceRow
from app.stream.presence import PresenceStore, PresenceUpdate
from tests.support.machine import ROOM_S, scaled
from tests.support.waiting import wait_for

CAP = 3
Hire = Callable[..., Admission]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"max_streams_per_user": CAP, "connect_rate_per_user": 1000})


@pytest.fixture
def hire(app: Flask, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hire]:
    """One more worker over the same database. Its thread does not run: a test flushes when it likes."""
    monkeypatch.setattr(module, "MAX_RECHECK_S", 0.0)
    monkeypatch.setattr(module, "RECHECK_INTERVAL_S", 0.01)
    monkeypatch.setattr(module, "OTHER_WORKERS_CACHE_S", 0.0)
    hired: list[Admission] = []

    def one(**changed: int) -> Admission:
        its_settings = settings.model_copy(update=changed)
        hired.append(Admission(its_settings, PresenceStore(app, its_settings)))
        hired[-1].worker = f"worker-{len(hired)}"
        return hired[-1]

    yield one
    for each in hired:
        each.stop()


def refusal(worker: Admission, user: str = "alice") -> Problem:
    with pytest.raises(Problem) as refused:
        worker.admit(user)
    return refused.value


def fill(worker: Admission, count: int = CAP, user: str = "alice") -> list[StreamSlot]:
    return [worker.admit(user) for _ in range(count)]


def rows(app: Flask) -> dict[tuple[str, str], int]:
    with app.app_context(), read() as session:
        found = session.execute(sa.select(PresenceRow.worker, PresenceRow.user, PresenceRow.count)).all()
    return {(worker, user): count for worker, user, count in found}


def age(app: Flask, worker: Admission, seconds: float) -> None:
    """As if the worker had said nothing for so long."""
    with app.app_context(), write() as session:
        session.execute(
            sa.update(PresenceRow).where(PresenceRow.worker == worker.worker).values(seen=PresenceRow.seen - seconds)
        )


@pytest.fixture
def saves(monkeypatch: pytest.MonkeyPatch) -> list[PresenceUpdate]:
    """Whatever is written."""
    seen: list[PresenceUpdate] = []
    save = PresenceStore.save

    def spy(store: PresenceStore, worker: str, update: PresenceUpdate) -> Mapping[str, int]:
        seen.append(update)
        return save(store, worker, update)

    monkeypatch.setattr(PresenceStore, "save", spy)
    return seen


class Gate:
    """Holds the first write up, before it is made, until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self._open = threading.Event(), threading.Event()
        save = PresenceStore.save

        def gated(store: PresenceStore, worker: str, update: PresenceUpdate) -> Mapping[str, int]:
            if not self.reached.is_set():
                self.reached.set()
                assert self._open.wait(scaled(10))
            return save(store, worker, update)

        monkeypatch.setattr(PresenceStore, "save", gated)

    def open(self) -> None:
        self._open.set()


@contextlib.contextmanager
def locked(database: Path) -> Iterator[None]:
    """Somebody else is writing, and goes on with it for the length of the block."""
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        yield
        holder.execute("ROLLBACK")


def at_once(*calls: Callable[[], object]) -> None:
    """All of them in threads that start together; whoever is refused is refused."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], object]) -> None:
        barrier.wait(scaled(5))
        with contextlib.suppress(Problem):
            call()

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(scaled(30))
    assert not any(thread.is_alive() for thread in threads)


class TestTheUsersCap:
    def test_it_holds_on_one_worker_and_is_one_users_alone(self, hire: Hire) -> None:
        worker = hire()
        fill(worker)
        assert refusal(worker).status == 429
        worker.admit("bob")

    def test_the_refusal_says_what_to_do_and_when_to_come_back(self, hire: Hire) -> None:
        worker = hire()
        fill(worker)
        problems = [refusal(worker) for _ in range(60)]
        assert problems[0].members == {"reason": "user-cap"}
        assert "3 streams" in problems[0].detail
        assert "Close a tab" in problems[0].detail
        assert {problem.headers["Retry-After"] for problem in problems} == {"3", "4", "5", "6"}

    def test_a_released_seat_is_free_at_once_and_counts_once(self, hire: Hire) -> None:
        worker = hire()
        first, *_ = fill(worker)
        first.release()
        first.release()
        worker.admit("alice")
        assert refusal(worker).status == 429
        assert worker.streams == CAP

    def test_workers_share_it(self, hire: Hire) -> None:
        one, two = hire(), hire()
        fill(one, 2)
        one.flush()
        fill(two, 1)
        assert refusal(two).members["reason"] == "user-cap"
        two.flush()
        assert refusal(one).status == 429

    def test_where_one_worker_serves_no_stream_costs_a_look_at_others(
        self, hire: Hire, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "OTHER_WORKERS_CACHE_S", 60.0)
        one, two = hire(), hire()
        fill(one, 1)
        fill(two)
        two.flush()
        assert one.admit("alice"), "it has looked: nobody else was there, and it looks again only after a while"
        monkeypatch.setattr(one, "_check_others_at", 0.0)
        assert refusal(one).members["reason"] == "user-cap"

    def test_nobody_is_evicted(self, app: Flask, hire: Hire) -> None:
        one, two = hire(), hire()
        fill(one)
        one.flush()
        for _ in range(5):
            assert refusal(two).status == 429
        assert (one.streams, two.streams) == (CAP, 0)
        assert rows(app) == {("worker-1", "alice"): CAP}

    def test_a_killed_workers_streams_count_three_seconds_longer(self, app: Flask, hire: Hire) -> None:
        killed, other = hire(), hire()
        fill(killed)
        killed.flush()
        age(app, killed, 0.5)
        assert refusal(other).status == 429
        age(app, killed, 2.6)
        fill(other)

    def test_threads_of_one_worker_do_not_pass_it(self, hire: Hire) -> None:
        worker, taken = hire(), []
        at_once(*[lambda: taken.append(worker.admit("alice"))] * 8)
        assert (len(taken), worker.streams) == (CAP, CAP)

    def test_single_workers_pass_it_only_until_they_know_of_each_other(self, hire: Hire) -> None:
        """Two of one worker each on one file: an overlapping restart."""
        workers = [hire(), hire()]
        for worker in workers:
            fill(worker)
        for worker in workers:
            worker.flush()
        assert [refusal(worker).status for worker in (*workers, hire())] == [429] * 3

    def test_running_workers_know_of_each_other_within_a_second(self, hire: Hire) -> None:
        one, two = hire(), hire()
        one.start()
        fill(one)
        opened = time.monotonic()
        elsewhere = two._store.count_elsewhere
        wait_for(lambda: elsewhere(two.worker, "alice") == CAP)
        assert time.monotonic() - opened < scaled(1.0)


class TestWhereSeveralWorkersServe:
    @pytest.fixture
    def workers(self, hire: Hire) -> list[Admission]:
        return [hire(workers=2), hire(workers=2)]

    def test_streams_opened_in_turn_on_all_of_them_stay_within_the_cap(self, workers: list[Admission]) -> None:
        """Nobody has flushed."""
        for n in range(CAP):
            workers[n % 2].admit("alice")
        assert [refusal(worker).members["reason"] for worker in workers] == ["user-cap"] * 2
        workers[0].admit("bob")

    @pytest.mark.parametrize("seed", range(5))
    def test_streams_opened_at_once_fill_the_cap_and_never_pass_it(self, workers: list[Admission], seed: int) -> None:
        chance = random.Random(seed)
        open_here: list[StreamSlot] = []
        for _ in range(10):
            calls = [lambda worker=worker: open_here.append(worker.admit("alice")) for worker in workers * 4]
            flushes = [worker.flush for worker in workers]
            at_once(*chance.sample(calls + flushes, 10))
            assert len(open_here) == sum(worker.streams for worker in workers) == CAP
            for seat in chance.sample(open_here, chance.randint(1, CAP)):
                open_here.remove(seat)
                seat.release()
            for worker in workers:
                worker.flush()

    @pytest.mark.parametrize("seed", range(5))
    def test_whatever_comes_and_goes_a_stream_is_let_in_exactly_where_the_rows_leave_room(
        self, app: Flask, workers: list[Admission], seed: int
    ) -> None:
        chance = random.Random(seed)
        seats: list[StreamSlot] = []
        for _ in range(150):
            worker = chance.choice(workers)
            match chance.choice(("admit", "admit", "release", "flush")):
                case "admit":
                    said = rows(app)
                    others = sum(count for (name, _), count in said.items() if name != worker.worker)
                    if others + worker.streams < CAP:
                        seats.append(worker.admit("alice"))
                    else:
                        refusal(worker)
                case "release" if seats:
                    seats.pop(chance.randrange(len(seats))).release()
                case "flush":
                    worker.flush()
            assert len(seats) == sum(each.streams for each in workers) <= sum(rows(app).values()) <= CAP

    def test_opening_one_costs_one_write_and_no_look(
        self, workers: list[Admission], saves: list[PresenceUpdate], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for look in ("count_elsewhere", "has_others"):
            monkeypatch.setattr(PresenceStore, look, lambda *_: pytest.fail("a query of its own"))
        for worker in workers:
            worker.admit("alice")
        assert len(saves) == 2

    def test_those_who_come_during_a_write_share_the_next(
        self, app: Flask, workers: list[Admission], saves: list[PresenceUpdate], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        worker, gate = workers[0], Gate(monkeypatch)
        first = threading.Thread(target=worker.admit, args=("first",))
        first.start()
        assert gate.reached.wait(scaled(5))
        more = [threading.Thread(target=worker.admit, args=(f"user-{n}",)) for n in range(10)]
        for thread in more:
            thread.start()
        wait_for(lambda: len(worker._counter._requested) == 10)
        gate.open()
        for thread in (first, *more):
            thread.join(scaled(10))
        assert (worker.streams, len(rows(app)), len(saves)) == (11, 11, 2)

    def test_a_flush_under_way_does_not_write_an_older_count_over_a_newer_one(
        self, app: Flask, workers: list[Admission], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        worker, other = workers
        seat = worker.admit("alice")
        worker.admit("alice")
        seat.release()
        gate = Gate(monkeypatch)
        flushing = threading.Thread(target=worker.flush)
        flushing.start()
        assert gate.reached.wait(scaled(5))
        admitting = threading.Thread(target=fill, args=(worker, 2))
        admitting.start()
        wait_for(lambda: len(worker._counter._requested) == 1)
        gate.open()
        flushing.join(scaled(10))
        admitting.join(scaled(10))
        assert rows(app) == {(worker.worker, "alice"): CAP}
        assert refusal(other).status == 429

    def test_a_stream_that_ends_during_another_ones_write_is_taken_off_by_the_next(
        self, app: Flask, workers: list[Admission], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        worker = workers[0]
        seat = worker.admit("alice")
        gate = Gate(monkeypatch)
        admitting = threading.Thread(target=worker.admit, args=("alice",))
        admitting.start()
        assert gate.reached.wait(scaled(5))
        seat.release()
        gate.open()
        admitting.join(scaled(10))
        assert rows(app) == {(worker.worker, "alice"): 2}
        worker.flush()
        assert rows(app) == {(worker.worker, "alice"): 1}

    def test_a_killed_workers_streams_count_three_seconds_longer(self, app: Flask, workers: list[Admission]) -> None:
        killed, other = workers
        fill(killed)
        age(app, killed, 0.5)
        assert refusal(other).status == 429
        age(app, killed, 2.6)
        fill(other)

    def test_a_frozen_worker_that_thaws_lets_nobody_in_beside_those_who_took_the_room(
        self, app: Flask, workers: list[Admission]
    ) -> None:
        frozen, other = workers
        frozen.admit("alice")
        age(app, frozen, 10)
        fill(other)
        assert refusal(frozen).status == 429
        assert other.streams == CAP

    def test_a_refused_stream_writes_nothing(self, workers: list[Admission], database: Path) -> None:
        """A commit would wake the tail of every worker."""
        fill(workers[0])
        with contextlib.closing(sqlite3.connect(database)) as outsider:
            before = outsider.execute("PRAGMA data_version").fetchone()
            refusal(workers[1])
            assert outsider.execute("PRAGMA data_version").fetchone() == before

    def test_those_who_wait_for_a_write_do_not_pass_the_workers_own_bound(self, hire: Hire) -> None:
        worker = hire(workers=2, max_streams=2)
        at_once(*[lambda n=n: worker.admit(f"user-{n}") for n in range(8)])
        assert worker.streams == 2

    def test_one_worker_on_sqlite_writes_at_once_only_while_another_is_there(self, app: Flask, hire: Hire) -> None:
        one, two = hire(), hire()
        one.admit("alice")
        assert rows(app) == {}
        one.flush()
        two.admit("alice")
        assert rows(app) == {(one.worker, "alice"): 1, (two.worker, "alice"): 1}


class TestWhereSeveralWorkersServeAndTheDatabaseTakesNoWrites:
    @pytest.fixture(autouse=True)
    def _impatient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(presence, "SQLITE_BUSY_MS", 300)

    def test_own_counts_and_what_can_be_read_of_the_others_decide(
        self, hire: Hire, database: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        one, two = hire(workers=2), hire(workers=2)
        one.admit("alice")
        with locked(database):
            fill(two, CAP - 1)
            assert refusal(two).status == 429
            fill(two, CAP, "bob")
            assert refusal(two, "bob").status == 429
        assert len([record for record in caplog.records if "does not answer" in record.message]) == 1

    def test_only_the_first_waits_for_it(self, hire: Hire, database: Path) -> None:
        worker = hire(workers=2)
        with locked(database):
            began = time.monotonic()
            for n in range(20):
                worker.admit(f"user-{n}")
            assert time.monotonic() - began < scaled(5 * 0.3)  # not twenty times

    def test_those_who_wait_together_fail_together(self, hire: Hire, database: Path) -> None:
        worker = hire(workers=2)
        with locked(database):
            began = time.monotonic()
            at_once(*[lambda n=n: worker.admit(f"user-{n}") for n in range(16)])
            assert time.monotonic() - began < scaled(5 * 0.3)
        assert worker.streams == 16

    def test_it_decides_again_once_it_takes_them(self, app: Flask, hire: Hire, database: Path) -> None:
        one, two = hire(workers=2), hire(workers=2)
        with locked(database):
            one.admit("alice")
        one.flush()
        assert rows(app) == {(one.worker, "alice"): 1}
        two.admit("alice")
        one.admit("alice")
        assert [refusal(worker).status for worker in (one, two)] == [429] * 2

    def test_a_running_worker_finds_out_by_itself(self, app: Flask, hire: Hire, database: Path) -> None:
        worker = hire(workers=2)
        worker.start()
        with locked(database):
            worker.admit("alice")
            assert worker._is_database_away
        wait_for(lambda: not worker._is_database_away and rows(app) == {(worker.worker, "alice"): 1})

    def test_a_stream_that_ended_before_its_row_was_written_leaves_none(
        self, app: Flask, hire: Hire, database: Path
    ) -> None:
        worker = hire(workers=2)
        with locked(database):
            worker.admit("alice").release()
        worker.flush()
        assert rows(app) == {}
        assert not worker._counter.has_written_rows

    def test_a_write_that_was_committed_although_it_failed_counts_its_stream_once(
        self, app: Flask, hire: Hire, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        worker, save = hire(workers=2), PresenceStore.save

        def answer_is_lost(store: PresenceStore, worker: str, update: PresenceUpdate) -> Mapping[str, int]:
            save(store, worker, update)
            raise DatabaseUnavailable("the connection broke after the commit")

        with monkeypatch.context() as broken:
            broken.setattr(PresenceStore, "save", answer_is_lost)
            seat = worker.admit("alice")
        worker.admit("alice")
        seat.release()
        worker.flush()
        assert (worker.streams, rows(app)) == (1, {(worker.worker, "alice"): 1})

    def test_without_the_file_each_worker_goes_by_its_own_counts(
        self, hire: Hire, move_database: Callable[[], Callable[[], None]]
    ) -> None:
        workers = [hire(workers=2), hire(workers=2)]
        workers[0].admit("alice")
        back = move_database()
        fill(workers[0], CAP - 1)
        fill(workers[1])
        assert [refusal(worker).status for worker in workers] == [429] * 2
        back()


class TestMovingBetweenWorkers:
    @pytest.fixture(autouse=True)
    def _patience(self, hire: Hire, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_RECHECK_S", 0.5)

    def test_a_stream_that_ended_elsewhere_just_now_refuses_nobody(self, hire: Hire) -> None:
        """Its worker has not said so yet; the reader is here already."""
        left, entered = hire(), hire()
        seat, *_ = fill(left)
        left.flush()
        seat.release()
        later = threading.Timer(0.1, left.flush)
        later.start()
        entered.admit("alice")
        later.join()

    def test_nor_does_one_that_ends_here_a_moment_later(self, hire: Hire) -> None:
        """The new connection came before the end of the old one was noticed."""
        worker = hire()
        seat, *_ = fill(worker)
        later = threading.Timer(0.1, seat.release)
        later.start()
        worker.admit("alice")
        later.join()
        assert worker.streams == CAP

    def test_back_and_forth_again_and_again(self, hire: Hire) -> None:
        workers = [hire(), hire()]
        for worker in workers:
            worker.start()
        fill(workers[0], CAP - 1)
        seat = workers[0].admit("alice")
        for n in range(10):
            seat.release()
            seat = workers[n % 2].admit("alice")
        assert sum(worker.streams for worker in workers) == CAP

    def test_a_refusal_takes_half_a_second_and_little_more(self, hire: Hire) -> None:
        worker = hire()
        fill(worker)
        began = time.monotonic()
        assert refusal(worker).status == 429
        assert 0.45 < time.monotonic() - began < scaled(0.9) + ROOM_S

    def test_a_worker_that_stops_keeps_nobody_waiting(self, hire: Hire) -> None:
        worker = hire()
        fill(worker)
        worker.stop()
        took = []
        for _ in range(3):
            began = time.monotonic()
            refusal(worker)
            took.append(time.monotonic() - began)
        assert min(took) < 0.45, "as long as a refusal of a worker that goes on"


class TestAFullWorker:
    def test_it_answers_503_with_a_jittered_wait(self, hire: Hire) -> None:
        worker = hire(max_streams=2)
        worker.admit("alice")
        seat = worker.admit("bob")
        problems = [refusal(worker, "charlie") for _ in range(100)]
        assert (problems[0].status, problems[0].members) == (503, {"reason": "full"})
        assert {int(problem.headers["Retry-After"]) for problem in problems} <= set(range(3, 11))
        assert len({problem.headers["Retry-After"] for problem in problems}) > 3
        seat.release()
        worker.admit("charlie")

    def test_another_worker_still_takes_streams(self, hire: Hire) -> None:
        full, other = hire(max_streams=1), hire(max_streams=1)
        full.admit("alice")
        full.flush()
        refusal(full, "bob")
        other.admit("bob")

    def test_its_descriptors_bound_it_too(self, hire: Hire, monkeypatch: pytest.MonkeyPatch) -> None:
        assert hire(max_streams=50).capacity == 50
        monkeypatch.setattr(file_descriptors, "soft_limit", lambda: 1024)
        assert hire().capacity == file_descriptors.stream_capacity(1024) < 1024 - 200
        assert hire(max_streams=50).capacity == 50


def test_connecting_too_often_is_refused_whatever_is_free(hire: Hire) -> None:
    worker = hire(connect_rate_per_user=5)
    problems = []
    for _ in range(20):
        try:
            worker.admit("alice").release()
        except Problem as problem:
            problems.append(problem)
    assert (problems[0].status, problems[0].members) == (429, {"reason": "rate"})
    assert int(problems[0].headers["Retry-After"]) >= 1
    worker.admit("bob")


class TestWriting:
    @pytest.fixture
    def _quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Everything that happens once a second happens fifty times."""
        for place in (module, stream_counts):
            monkeypatch.setattr(place, "RENEW_EVERY_S", 0.02)
        monkeypatch.setattr(module, "FLUSH_EVERY_S", 0.005)

    @pytest.mark.usefixtures("_quick")
    def test_without_streams_nothing_is_written(self, hire: Hire, database: Path) -> None:
        """A commit would wake the tail of every worker."""
        worker = hire()
        worker.start()
        seat = worker.admit("alice")
        with contextlib.closing(sqlite3.connect(database)) as outsider:

            def version() -> int:
                return int(outsider.execute("PRAGMA data_version").fetchone()[0])

            wait_for(lambda: worker._counter.has_written_rows)
            seat.release()
            wait_for(lambda: not worker._counter.has_written_rows)
            before = version()
            time.sleep(0.2)
            assert version() == before
            worker.stop()
            assert version() == before

    @pytest.mark.usefixtures("_quick")
    def test_while_streams_are_open_their_rows_stay_young(self, app: Flask, hire: Hire) -> None:
        worker, other = hire(), hire()
        worker.start()
        worker.admit("alice")
        wait_for(lambda: bool(rows(app)))
        age(app, worker, 30)
        wait_for(lambda: other._store.count_elsewhere("other", "alice") == 1)

    @pytest.mark.usefixtures("_quick")
    def test_rows_that_were_swept_under_a_frozen_worker_come_back(self, app: Flask, hire: Hire) -> None:
        worker = hire()
        worker.start()
        fill(worker, 2)
        wait_for(lambda: bool(rows(app)))
        with app.app_context(), write() as session:
            session.execute(sa.delete(PresenceRow))
        wait_for(lambda: rows(app) == {(worker.worker, "alice"): 2})

    def test_many_changes_are_written_together(self, app: Flask, hire: Hire, saves: list[PresenceUpdate]) -> None:
        worker = hire()
        worker.start()
        began = time.monotonic()
        for n in range(200):
            worker.admit(f"user-{n}").release()
            worker.admit(f"user-{n}")
        wait_for(lambda: len(rows(app)) == 200)
        assert len(saves) <= (time.monotonic() - began) / FLUSH_EVERY_S + 2

    def test_the_long_dead_are_swept_by_whoever_writes_next(self, app: Flask, hire: Hire) -> None:
        dead, other = hire(), hire()
        fill(dead)
        dead.flush()
        age(app, dead, 61)
        other.admit("bob")
        other.flush()
        assert rows(app) == {("worker-2", "bob"): 1}

    def test_stopping_takes_this_workers_rows_away_and_no_others(self, app: Flask, hire: Hire) -> None:
        one, two = hire(), hire()
        for worker in (one, two):
            worker.admit("alice")
            worker.flush()
        one.stop()
        one.flush()
        assert rows(app) == {("worker-2", "alice"): 1}


class TestWithoutTheDatabase:
    def test_each_worker_goes_by_its_own_counts_and_says_so_once(
        self, app: Flask, hire: Hire, move_database: Callable[[], Callable[[], None]], caplog: pytest.LogCaptureFixture
    ) -> None:
        worker = hire()
        back = move_database()
        first, *_ = fill(worker)
        for _ in range(3):
            worker.flush()
        assert refusal(worker).status == 429
        assert len([record for record in caplog.records if "does not answer" in record.message]) == 1
        first.release()
        back()
        worker.flush()
        assert rows(app) == {("worker-1", "alice"): CAP - 1}
        assert caplog.records[-1].message.startswith("stream limits are shared between workers again")

    def test_a_running_worker_tells_the_others_when_it_is_back(
        self, app: Flask, hire: Hire, move_database: Callable[[], Callable[[], None]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "RENEW_EVERY_S", 0.02)
        worker = hire()
        worker.start()
        back = move_database()
        fill(worker, 2)
        wait_for(lambda: worker._is_database_away)
        back()
        wait_for(lambda: rows(app) == {(worker.worker, "alice"): 2})

    def test_stopping_without_it_is_no_error(self, hire: Hire, move_database: Callable[[], Callable[[], None]]) -> None:
        worker = hire()
        worker.admit("alice")
        worker.flush()
        back = move_database()
        worker.stop()
        back()

    def test_a_flaw_in_writing_does_not_end_the_telling(
        self, app: Flask, hire: Hire, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        worker = hire()
        with monkeypatch.context() as broken:
            broken.setattr(PresenceStore, "save", lambda *_: 1 // 0)
            worker.admit("alice")
            worker.flush()
        worker.flush()
        assert rows(app) == {("worker-1", "alice"): 1}


def test_building_starts_nothing_and_a_worker_is_named_when_it_starts(hire: Hire) -> None:
    before = threading.active_count()
    workers = [hire(), hire()]
    assert threading.active_count() == before
    for worker in workers:
        worker.start()
    assert len({worker.worker for worker in workers} - {"worker-1", "worker-2"}) == 2
