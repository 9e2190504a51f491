"""Many writers commit at once on PostgreSQL: a reader that resumes from its cursor gets every event, in order."""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from flask import Flask

from app import create_app
from app.config import Settings
from app.db import read
from app.eventlog import reader as log
from app.eventlog.append import NewEvent, prepare
from app.eventlog.group_commit import GroupCommit
from tests.support.application import stop
from tests.support.machine import scaled
from tests.support.waiting import wait_for

WRITERS, READERS = 20, 3
# What lies between an insert and its commit, at random: without the lock, the later id often comes first.
INSERT = b"""INSERT INTO event (type, data_json) VALUES ('by.hand', '{}')"""
DAWDLE = b"SELECT pg_sleep(random() * 0.003)"


class Readers:
    """Each follows the log by cursor, as every tail and every polling program does."""

    def __init__(self, app: Flask, count: int) -> None:
        self._app, self._stopping = app, threading.Event()
        self.seen: list[list[int]] = [[] for _ in range(count)]
        self._threads = [threading.Thread(target=self._follow, args=(mine,)) for mine in self.seen]

    def _follow(self, mine: list[int]) -> None:
        cursor = 0
        with self._app.app_context():
            while not self._stopping.is_set():
                with read() as session:
                    page = log.read_after(session, cursor)
                mine.extend(event.id for event in page.events)
                cursor = page.cursor

    def __enter__(self) -> "Readers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(scaled(20))


@contextmanager
def writing(write_one: Callable[[], None], writers: int) -> Iterator[None]:
    """Call `write_one` again and again, in this many threads, for the length of the block."""
    stopping = threading.Event()

    def write_on() -> None:
        while not stopping.is_set():
            write_one()

    threads = [threading.Thread(target=write_on) for _ in range(writers)]
    for thread in threads:
        thread.start()
    yield
    stopping.set()
    for thread in threads:
        thread.join(scaled(20))


@pytest.fixture
def outsiders(settings: Settings) -> Iterator[Callable[[], None]]:
    """Writes one event, as a program that knows nothing of Beacon does; each thread uses its own connection."""
    address = settings.database_url.replace("postgresql+psycopg://", "postgresql://")
    mine = threading.local()
    opened: list[psycopg.Connection] = []

    def write_one() -> None:
        if not hasattr(mine, "connection"):
            mine.connection = psycopg.connect(address)
            opened.append(mine.connection)
        mine.connection.execute(INSERT)
        mine.connection.execute(DAWDLE)
        mine.connection.commit()

    yield write_one
    for connection in opened:
        connection.close()


def stored(app: Flask) -> list[int]:
    with app.app_context(), read() as session:
        found: list[int] = []
        while (page := log.read_after(session, found[-1] if found else 0)).events:
            found.extend(event.id for event in page.events)
    return found


def skipped(app: Flask, readers: Readers) -> set[int]:
    """Events in the log that a reader passed without seeing them."""
    kept = stored(app)
    return {one for seen in readers.seen for one in set(kept) - set(seen) if seen and one < seen[-1]}


def test_no_readers_cursor_skips_an_event_of_twenty_writers(
    app: Flask, settings: Settings, outsiders: Callable[[], None]
) -> None:
    _write_and_read(app, settings, outsiders, events=300)


@pytest.mark.long
def test_no_readers_cursor_skips_an_event_of_very_many(
    app: Flask, settings: Settings, outsiders: Callable[[], None]
) -> None:
    _write_and_read(app, settings, outsiders, events=20_000)


def _write_and_read(app: Flask, settings: Settings, outsiders: Callable[[], None], events: int) -> None:
    """Half of the writers publish through Beacon on two hosts, in groups; the others insert rows themselves."""
    second = create_app(settings)
    groups = [(app, GroupCommit()), (second, GroupCommit())]
    published: list[int] = []

    def publish() -> None:
        host, group = random.choice(groups)
        with host.app_context():
            published.extend(group.append([prepare(NewEvent("by.beacon", {}))] * 2))

    with (
        Readers(app, READERS) as readers,
        writing(publish, WRITERS // 2),
        writing(outsiders, WRITERS // 2),
    ):
        enough = lambda: all(len(seen) >= events for seen in readers.seen)  # noqa: E731 -- said once
        wait_for(enough, f"{events} events to be read", 60)
    kept = stored(app)
    stop(second)
    assert skipped(app, readers) == set()
    assert all(seen == kept[: len(seen)] for seen in readers.seen), "in order, none twice"
    assert len(set(published)) == len(published)
    assert set(published) <= set(kept)


def test_without_the_lock_that_test_would_fail(app: Flask, settings: Settings, outsiders: Callable[[], None]) -> None:
    address = settings.database_url.replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(address) as connection:
        connection.execute(b"DROP TRIGGER event_serialise ON event")
    with Readers(app, 1) as readers, writing(outsiders, WRITERS):
        wait_for(lambda: skipped(app, readers), "a reader to skip an event", 60)
