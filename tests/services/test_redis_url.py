"""`BEACON_REDIS_URL` on a real Valkey: it wakes all tails and holds the limits. Losing it loses nothing."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg
import pytest
from flask import Flask

from app.cli import doctor
from app.config import Settings
from app.db import write
from app.eventlog import redis_wakeups, tail
from app.eventlog.redis_wakeups import RedisWakeups
from app.flags import embedded
from app.flags.evaluation import Flag
from app.infra import rate_limits
from app.infra.rate_limits import SharedCounters, UserRateLimit
from tests.infra.test_rate_limits import hits
from tests.services.valkey import Valkey
from tests.support.cast import ALICE, headers_of, join
from tests.support.sse_client import open_stream
from tests.support.stalling_proxy import StallingProxy
from tests.support.waiting import wait_for

UNREACHABLE = "redis://127.0.0.1:1/0"


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with Valkey() as made:
        yield made


class Process:
    """What one process does with the server: it counts how often it was woken."""

    def __init__(self, url: str) -> None:
        self.woken = 0
        self.wakeups = RedisWakeups(url, self._wake)
        self.wakeups.start()

    def _wake(self) -> None:
        self.woken += 1


@pytest.fixture
def processes(valkey: Valkey) -> Iterator[list[Process]]:
    """Two that listen. Each is woken once when it has subscribed, for what it may have missed."""
    with ExitStack() as stack:
        made = [Process(valkey.url) for _ in range(2)]
        for process in made:
            stack.callback(process.wakeups.stop)
        wait_for(lambda: all(process.woken == 1 for process in made), "both to listen")
        yield made


def test_a_commit_of_one_process_wakes_the_others_and_not_itself(processes: list[Process]) -> None:
    one, other = processes
    one.wakeups.announce()
    wait_for(lambda: other.woken == 2, "the other to be woken")
    other.wakeups.announce()
    wait_for(lambda: one.woken == 2, "the first to be woken")
    assert other.woken == 2


def test_a_server_that_was_away_wakes_again(valkey: Valkey, processes: list[Process]) -> None:
    one, other = processes
    valkey.stop()
    one.wakeups.announce()
    valkey.start()
    wait_for(lambda: one.woken > 1 and other.woken > 1, "both to listen again", 20)
    before = other.woken

    def is_woken() -> bool:
        one.wakeups.announce()
        return other.woken > before

    wait_for(is_woken, "the other to be woken", 20)


def test_a_subscriber_whose_packets_are_lost_connects_again(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    """As behind a firewall that forgets connections: the kernel would wait for a quarter of an hour."""
    monkeypatch.setattr(redis_wakeups, "ASK_EVERY_S", 0.05)
    monkeypatch.setattr(redis_wakeups, "LISTEN_S", 0.05)
    with StallingProxy(valkey.port) as path:
        process = Process(f"redis://127.0.0.1:{path.port}/0")
        try:
            wait_for(lambda: process.woken == 1, "it to listen")
            path.stall()
            wait_for(lambda: path.connections > 1, "it to connect again", 20)
            path.go_on()
            wait_for(lambda: process.woken > 1, "it to listen again", 20)
        finally:
            process.wakeups.stop()


class TestOnPostgres:
    """A whole application whose tail reads by itself only once an hour, so that nothing but the server can wake it."""

    @pytest.fixture
    def settings(self, settings: Settings, valkey: Valkey) -> Settings:
        return settings.model_copy(update={"redis_url": valkey.url})

    @pytest.fixture
    def outsider(self, streaming: Flask, settings: Settings) -> Iterator[psycopg.Connection]:
        address = settings.database_url.replace("postgresql+psycopg://", "postgresql://")
        with psycopg.connect(address, autocommit=True) as connection:
            yield connection

    @pytest.fixture
    def idle_s(self) -> float:
        return 3600

    @pytest.fixture
    def streaming(self, app: Flask, idle_s: float, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
        monkeypatch.setattr(tail, "MAX_IDLE_S", idle_s)
        join(app, ALICE)
        with app.app_context(), write() as session:
            embedded.change_rollout(session, Flag.SSE_STREAMING, "test", "a test", 100)
        app.extensions["beacon"].background.start()
        yield app
        monkeypatch.undo()  # the end of the tail is waited for as long as it may be idle

    def test_another_process_wakes_the_tail_without_a_connection_that_listens(
        self, streaming: Flask, settings: Settings, outsider: psycopg.Connection
    ) -> None:
        other = Process(settings.redis_url)
        try:
            wait_for(lambda: other.woken, "the other process to listen")
            with open_stream(streaming.test_client(), headers=headers_of(streaming, ALICE)) as stream:
                stream.until("hello")
                outsider.execute("INSERT INTO event (type, data_json) VALUES ('from.elsewhere', '{}')")
                other.wakeups.announce()
                stream.until("from.elsewhere")
            listening = outsider.execute("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'").fetchone()
            assert listening == (0,)
        finally:
            other.wakeups.stop()

    class TestWithoutTheServer:
        @pytest.fixture
        def idle_s(self) -> float:
            return 1.0

        def test_events_come_by_themselves(
            self, streaming: Flask, valkey: Valkey, outsider: psycopg.Connection
        ) -> None:
            with open_stream(streaming.test_client(), headers=headers_of(streaming, ALICE)) as stream:
                stream.until("hello")
                valkey.stop()
                outsider.execute("INSERT INTO event (type, data_json) VALUES ('from.elsewhere', '{}')")
                stream.until("from.elsewhere")
            assert not streaming.extensions["beacon"].background.tail.degraded


@pytest.fixture
def workers(valkey: Valkey) -> Iterator[list[SharedCounters]]:
    with ExitStack() as stack:
        made = [SharedCounters(valkey.url) for _ in range(2)]
        for counters in made:
            stack.callback(counters.stop)
        yield made


def wait_for_a_second(holds: Callable[[str], bool], what: str) -> None:
    """Try with one new user after the other: on a slow machine, hits that belong together fall into two seconds."""
    users = (f"user{number}" for number in itertools.count())
    wait_for(lambda: holds(next(users)), what)


def test_all_workers_count_together_and_each_limit_by_itself(workers: list[SharedCounters]) -> None:
    one, other = (UserRateLimit(5, "requests that publish", shared=shared) for shared in workers)
    opening = UserRateLimit(5, "attempts to open a stream", shared=workers[0])
    wait_for_a_second(lambda user: hits(one, user, 4) + hits(other, user, 4) == 5, "both to count together")
    wait_for_a_second(lambda user: (hits(one, user, 6), hits(opening, user, 6)) == (5, 5), "two limits to be two")


def test_without_the_server_each_worker_counts_for_itself(valkey: Valkey, workers: list[SharedCounters]) -> None:
    one, other = (UserRateLimit(3, "requests that publish", shared=shared) for shared in workers)
    assert hits(one, "alice", 1) == 1
    valkey.stop()
    wait_for_a_second(lambda user: (hits(one, user, 5), hits(other, user, 5)) == (3, 3), "each to count for itself")


def test_a_server_that_is_back_counts_for_all_again(
    valkey: Valkey, workers: list[SharedCounters], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_limits, "RETRY_S", 0)
    one, other = (UserRateLimit(3, "requests that publish", shared=shared) for shared in workers)
    valkey.stop()
    assert hits(one, "alice", 1) == 1
    valkey.start()
    wait_for_a_second(lambda user: hits(one, user, 3) + hits(other, user, 3) == 3, "both to count together again")


def test_the_doctor_says_whether_the_server_answers(app: Flask, settings: Settings, valkey: Valkey) -> None:
    def ask(url: str) -> doctor.Finding:
        found = doctor.run_checks(app, settings.model_copy(update={"redis_url": url}))
        return next(one for one in found if one.subject == "redis")

    assert ask(valkey.url).ok
    away = ask(UNREACHABLE)
    assert not away.ok
    assert "BEACON_REDIS_URL does not answer" in away.text
    assert "redis" not in {one.subject for one in doctor.run_checks(app, settings)}
