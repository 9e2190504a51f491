"""The tail: everything after its cursor, in order, to its listeners; and the wake-up that hints at it."""

import logging
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from flask import Flask

from app.background import BackgroundServices
from app.config import Settings
from app.eventlog import reader as log
from app.eventlog.append import NewEvent
from app.eventlog.continuity import TailPosition
from app.eventlog.reader import Event, EventPage
from app.eventlog.tail import Tail
from app.eventlog.wakeup import SqliteNotifier, build_notifier
from tests.stream.readers import event
from tests.support.cast import publish
from tests.support.machine import scaled
from tests.support.waiting import wait_for

INSERT = "INSERT INTO event (type, data_json) VALUES ('by.hand', '{}')"
# As a web worker does each time it has lost its database.
RECONNECTING = """
from gevent import monkey
monkey.patch_all()
import os, sys
from app.eventlog.wakeup import SqliteNotifier

for _ in range(5):
    notifier = SqliteNotifier(sys.argv[1])
    notifier.wait(0.01, lambda: False)
    notifier.wait(0.01, lambda: False)
    notifier.close()
print(len(os.listdir("/proc/self/task")))
"""
OUTSIDER = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit()"


class FakeWake:
    """Hints when `hint` is called, and at the latest after a moment."""

    def __init__(self) -> None:
        self._hinted = threading.Event()
        self.closed = self.expecting = False

    def hint(self) -> None:
        self._hinted.set()

    def wait(self, timeout_s: float, stopping: Callable[[], bool]) -> None:
        self._hinted.wait(0.01)
        self._hinted.clear()

    def wake(self) -> None:
        self.hint()

    def expect_more(self) -> None:
        self.expecting = True

    def close(self) -> None:
        self.closed = True


class FakeLog:
    def __init__(self, *events: Event, page: int = 3) -> None:
        self.events, self.page = list(events), page
        self.down = False

    def after(self, cursor: int) -> EventPage:
        if self.down:
            raise OSError("the database is away")
        found = [one for one in self.events if one.id > cursor][: self.page]
        return EventPage(found, found[-1].id if found else cursor, len(found) == self.page)

    def resume(self, cursor: int | None) -> TailPosition:
        head = max((one.id for one in self.events), default=0)
        return (
            TailPosition(head)
            if cursor is None
            else TailPosition(head, head)
            if head < cursor
            else TailPosition(cursor)
        )


class Ears:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.cursors: list[int] = []

    def __call__(self, events: Sequence[Event], cursor: int) -> None:
        self.ids += [one.id for one in events]
        self.cursors.append(cursor)


@pytest.fixture
def fake() -> FakeLog:
    return FakeLog(event(1), event(2))


@pytest.fixture
def tail(fake: FakeLog, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tail]:
    monkeypatch.setattr("app.eventlog.tail.RETRY_S", 0.01)
    made = Tail(FakeWake, fake.after, fake.resume, lambda: None)
    yield made
    made.stop()


def test_it_begins_at_the_head_and_tells_its_listeners_so(tail: Tail) -> None:
    ears = Ears()
    tail.add_listener(ears)
    tail.start()
    assert (ears.ids, ears.cursors) == ([], [2])


def test_it_reads_page_after_page_in_order_and_tells_listeners_in_order(tail: Tail, fake: FakeLog) -> None:
    ears, calls = Ears(), []
    tail.add_listener(lambda _events, cursor: calls.append(("first", cursor)))
    tail.add_listener(lambda _events, cursor: calls.append(("second", cursor)))
    tail.add_listener(ears)
    tail.start()
    fake.events += [event(number) for number in range(3, 13)]
    wait_for(lambda: ears.ids == list(range(3, 13)))
    assert calls[::2] == [("first", cursor) for cursor in ears.cursors]
    assert calls[1::2] == [("second", cursor) for cursor in ears.cursors]
    assert ears.cursors == sorted(ears.cursors)


def test_a_listener_that_fails_stops_neither_the_tail_nor_the_other_listeners(
    tail: Tail, fake: FakeLog, caplog: pytest.LogCaptureFixture
) -> None:
    ears = Ears()

    def broken(events: Sequence[Event], _cursor: int) -> None:
        if events:
            raise KeyError("mine")

    tail.add_listener(broken)
    tail.add_listener(ears)
    tail.start()
    fake.events += [event(3)]
    wait_for(lambda: ears.ids == [3])
    fake.events += [event(4)]
    wait_for(lambda: ears.ids == [3, 4])
    assert "a listener of the log failed at id 3" in caplog.text


def test_it_is_degraded_while_the_log_cannot_be_read_says_so_once_and_goes_on(
    tail: Tail, fake: FakeLog, caplog: pytest.LogCaptureFixture
) -> None:
    ears = Ears()
    tail.add_listener(ears)
    tail.start()
    with caplog.at_level(logging.WARNING, "app.eventlog.tail"):
        fake.down = True
        wait_for(lambda: tail.degraded)
        fake.events += [event(3)]
        time.sleep(0.1)  # ten tries
        fake.down = False
        wait_for(lambda: ears.ids == [3])
        wait_for(lambda: not tail.degraded)
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


def test_an_older_database_that_was_put_back_is_followed_from_its_own_head(tail: Tail, fake: FakeLog) -> None:
    ears = Ears()
    tail.add_listener(ears)
    fake.events += [event(number) for number in range(3, 9)]
    tail.start()
    fake.down = True
    wait_for(lambda: tail.degraded)
    fake.events = [event(1), event(2), event(3)]
    fake.down = False
    wait_for(lambda: ears.cursors[-1] == 3)
    fake.events += [event(4)]
    wait_for(lambda: ears.ids == [4])


def test_a_look_that_does_not_come_back_is_a_loss_and_its_end_is_none(
    tail: Tail, fake: FakeLog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A database that is frozen raises nothing."""
    monkeypatch.setattr("app.eventlog.tail.STALLED_AFTER_S", 0.5)  # the looks before and after it take less
    monkeypatch.setattr("app.eventlog.tail.STALL_CHECK_INTERVAL_S", 0.01)
    answers, ears = threading.Event(), Ears()
    answers.set()

    def slowly(cursor: int) -> EventPage:
        assert answers.wait(scaled(30))
        return fake.after(cursor)

    tail._read_after = slowly
    tail.add_listener(ears)
    tail.start()
    answers.clear()
    wait_for(lambda: tail.degraded, "the tail to know that it is deaf")
    fake.events += [event(3)]
    answers.set()
    wait_for(lambda: ears.ids == [3] and not tail.degraded, "the look to come back")
    said = [record.getMessage().partition(",")[0] for record in caplog.records if record.levelno >= logging.WARNING]
    assert said == ["database is unavailable", "database is back"]


def test_it_cannot_start_without_its_database(fake: FakeLog) -> None:
    def resume(_cursor: int | None) -> TailPosition:
        raise OSError("away")

    with pytest.raises(OSError, match="away"):
        Tail(FakeWake, fake.after, resume, lambda: None).start()


def test_stopping_ends_its_thread_and_closes_the_wake(fake: FakeLog) -> None:
    wakes: list[FakeWake] = []

    def make() -> FakeWake:
        wakes.append(FakeWake())
        return wakes[-1]

    tail = Tail(make, fake.after, fake.resume, lambda: None)
    tail.start()
    wait_for(lambda: bool(wakes))
    tail.stop()
    assert wakes[0].closed
    assert "tail" not in [thread.name for thread in threading.enumerate()]


def test_stopping_what_was_never_started_is_fine(fake: FakeLog) -> None:
    Tail(FakeWake, fake.after, fake.resume, lambda: None).stop()


def test_poked_it_looks_at_once(fake: FakeLog) -> None:
    class Deaf(FakeWake):
        """Would wait for ever."""

        def wait(self, timeout_s: float, stopping: Callable[[], bool]) -> None:
            self._hinted.wait(scaled(30))
            self._hinted.clear()

    wakes: list[Deaf] = []

    def make() -> Deaf:
        wakes.append(Deaf())
        return wakes[-1]

    ears, tail = Ears(), Tail(make, fake.after, fake.resume, lambda: None)
    tail.add_listener(ears)
    tail.start()
    wait_for(lambda: bool(wakes))
    fake.events += [event(3)]
    tail.wake()
    wait_for(lambda: ears.ids == [3])
    tail._stopping.set()
    tail.wake()
    tail.stop()


def test_more_is_expected_once_events_have_come_and_not_before(fake: FakeLog) -> None:
    wakes: list[FakeWake] = []

    def make() -> FakeWake:
        wakes.append(FakeWake())
        return wakes[-1]

    ears, tail = Ears(), Tail(make, fake.after, fake.resume, lambda: None)
    tail.add_listener(ears)
    tail.start()
    wait_for(lambda: bool(wakes))
    tail.wake()
    assert not wakes[0].expecting, "other writes than events are none of the log's business"
    fake.events += [event(3)]
    wait_for(lambda: ears.ids == [3] and wakes[0].expecting)
    tail.stop()


def test_poking_a_tail_that_is_not_running_or_has_lost_its_database_does_nothing(fake: FakeLog) -> None:
    tail = Tail(FakeWake, fake.after, fake.resume, lambda: None)
    tail.wake()
    tail.start()
    tail.stop()
    tail.wake()


class TestSqliteWake:
    @pytest.fixture
    def wake(self, database: Path) -> Iterator[SqliteNotifier]:
        made = SqliteNotifier(str(database))
        made.wait(0.1, lambda: False)
        yield made
        made.close()

    def test_it_returns_soon_after_another_connection_has_written(self, wake: SqliteNotifier, database: Path) -> None:
        with closing(sqlite3.connect(database)) as outsider:
            outsider.execute(INSERT)
            outsider.commit()
        began = time.monotonic()
        wake.wait(10, lambda: False)
        assert time.monotonic() - began < scaled(5)

    def test_one_that_is_closed_leaves_no_native_thread_behind(self, database: Path) -> None:
        done = subprocess.run(
            [sys.executable, "-c", RECONNECTING, str(database)], check=True, capture_output=True, text=True
        )
        assert done.stdout == "1\n"

    def test_without_news_it_returns_after_its_time(self, wake: SqliteNotifier) -> None:
        began = time.monotonic()
        wake.wait(0.1, lambda: False)
        assert 0.1 <= time.monotonic() - began < scaled(5)

    def test_poked_it_returns_soon_and_only_once(self, wake: SqliteNotifier) -> None:
        wake.wake()
        began = time.monotonic()
        wake.wait(10, lambda: False)
        assert time.monotonic() - began < scaled(5)
        began = time.monotonic()
        wake.wait(0.1, lambda: False)
        assert time.monotonic() - began >= 0.1

    def test_a_poke_from_another_thread_ends_the_wait(self, wake: SqliteNotifier) -> None:
        threading.Timer(0.05, wake.wake).start()
        began = time.monotonic()
        wake.wait(10, lambda: False)
        assert time.monotonic() - began < scaled(5)

    def test_it_returns_at_once_when_stopping(self, wake: SqliteNotifier) -> None:
        began = time.monotonic()
        wake.wait(10, lambda: True)
        assert time.monotonic() - began < scaled(5)

    def test_a_file_moved_away_or_replaced_is_an_error(self, wake: SqliteNotifier, database: Path) -> None:
        database.rename(database.with_name("moved.db"))
        with pytest.raises(sqlite3.OperationalError, match="gone"):
            wake.wait(0.1, lambda: False)
        database.write_bytes(b"")
        with pytest.raises(sqlite3.OperationalError, match="replaced"):
            wake.wait(0.1, lambda: False)

    def test_it_cannot_write(self, wake: SqliteNotifier) -> None:
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            wake._connection.execute(INSERT)

    def test_the_database_address_chooses_the_kind(self, settings: Settings, database: Path) -> None:
        made = build_notifier(settings.database_url)
        assert isinstance(made, SqliteNotifier)
        made.close()


class TestWithTheApplication:
    """The tail as `create_app` wires it, on a real file."""

    @pytest.fixture
    def live(self, live_app: Flask) -> BackgroundServices:
        found: BackgroundServices = live_app.extensions["beacon"].background
        return found

    @pytest.fixture
    def ears(self, live: BackgroundServices) -> Ears:
        made = Ears()
        live.tail.add_listener(made)
        return made

    def test_an_event_of_another_process_is_heard(self, ears: Ears, live: BackgroundServices, database: Path) -> None:
        subprocess.run([sys.executable, "-c", OUTSIDER, str(database), INSERT], check=True, timeout=scaled(30))
        wait_for(lambda: ears.ids == [1])

    def test_unreadable_rows_do_not_stop_it(
        self, live_app: Flask, ears: Ears, live: BackgroundServices, database: Path
    ) -> None:
        with closing(sqlite3.connect(database)) as outsider:
            for data in ("'{'", "x'ff'", "CAST(x'ff' AS TEXT)", "'[]'", "'" + "[" * 20_000 + "'"):
                outsider.execute(f"INSERT INTO event (type, data_json) VALUES ('bad', {data})")
            outsider.commit()
        publish(live_app, NewEvent("good", {}))
        wait_for(lambda: ears.ids == [6])
        assert log.unreadable_rows.count == 5
        assert not live.is_degraded()

    def test_it_survives_the_database_being_moved_away_and_back(
        self, live_app: Flask, ears: Ears, live: BackgroundServices, move_database: Callable[[], Callable[[], None]]
    ) -> None:
        bring_back = move_database()
        wait_for(live.is_degraded, within_s=10)
        assert live_app.test_client().get("/readyz").status_code == 503
        bring_back()
        wait_for(lambda: not live.is_degraded(), within_s=10)
        publish(live_app, NewEvent("a", {}))
        wait_for(lambda: ears.ids == [1])
        wait_for(lambda: live_app.test_client().get("/readyz").status_code == 200)
