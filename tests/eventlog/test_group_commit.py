"""`GroupCommit`: requests that publish together share a commit, and none of them shares another's fate."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from app.db import DatabaseUnavailable, committed, db, has_written, read, write
from app.eventlog import group_commit
from app.eventlog import reader as log
from app.eventlog.append import PreparedEvent
from app.eventlog.group_commit import GroupCommit
from tests.support.machine import scaled
from tests.support.waiting import wait_for

REFUSED_BY_THE_TABLE = PreparedEvent("a", None, "{}")  # type: ignore[arg-type] # as a fault of Beacon's would be


def events(name: str, count: int = 2) -> list[PreparedEvent]:
    return [PreparedEvent(name, "everyone", f'{{"n": {number}}}') for number in range(count)]


class Request(threading.Thread):
    """One request that publishes: what it was answered, and whether it may have changed something."""

    def __init__(self, app: Flask, group: GroupCommit, published: list[PreparedEvent]) -> None:
        super().__init__()
        self._app, self._group, self._published = app, group, published
        self.ids: list[int] = []
        self.error: BaseException | None = None
        self.may_have_written = False
        self.start()

    def run(self) -> None:
        with self._app.test_request_context():
            try:
                self.ids = self._group.append(self._published)
            except (Exception, SystemExit) as error:  # noqa: BLE001 -- looked at by the test
                self.error = error
            self.may_have_written = has_written()

    def finish(self) -> "Request":
        self.join(scaled(20))
        assert not self.is_alive()
        return self


def lock_log(holder: Session) -> None:
    """The log's lock, until the transaction ends; on SQLite every write has it."""
    if holder.get_bind().dialect.name == "postgresql":
        holder.execute(sa.text("SELECT pg_advisory_xact_lock(4207002)"))


Ask = Callable[..., list[Request]]


@pytest.fixture
def ask(app: Flask) -> Ask:
    """Publishes all of these at once: one leads, and the others come while it waits for the write lock."""

    def asked(*published: list[PreparedEvent]) -> list[Request]:
        group = GroupCommit()
        with app.app_context(), write() as holder:
            lock_log(holder)
            requests = [Request(app, group, events("first"))]
            wait_for(lambda: group._has_leader and not group._waiting, "the first to have taken its own group")
            for number, one in enumerate(published, 1):
                requests.append(Request(app, group, one))
                wait_for(lambda: len(group._waiting) == number, "the next one to wait")  # noqa: B023 -- asked at once
        return [request.finish() for request in requests]

    return asked


@contextmanager
def count_commits() -> Iterator[list[None]]:
    found: list[None] = []

    def note(_sender: object, **_details: object) -> None:
        found.append(None)

    with committed.connected_to(note):
        yield found


def stored(app: Flask) -> list[tuple[int, str]]:
    with app.app_context(), read() as session:
        return [(event.id, event.type) for event in log.read_after(session, 0).events]


def test_requests_that_come_while_one_commits_share_the_next_commit(app: Flask, ask: Ask) -> None:
    with count_commits() as commits:
        found = ask(*(events(f"request{number}") for number in range(10)))
    assert len(commits) == 3, "the lock's own, the first one's, and one for ten"
    assert [request.ids for request in found] == [[2 * place + 1, 2 * place + 2] for place in range(11)]
    assert stored(app)[2:4] == [(3, "request0"), (4, "request0")]
    assert all(request.may_have_written for request in found)


def test_a_single_request_commits_at_once(app: Flask) -> None:
    group = GroupCommit()
    with app.app_context(), count_commits() as commits:
        assert [group.append(events("a")), group.append(events("b", 1))] == [[1, 2], [3]]
    assert len(commits) == 2


def test_events_that_the_database_refuses_fail_their_own_request_only(app: Flask, ask: Ask) -> None:
    _, good, bad, also_good = ask(events("good"), [*events("bad"), REFUSED_BY_THE_TABLE], events("also"))
    assert isinstance(bad.error, IntegrityError)
    assert not bad.may_have_written
    assert (good.error, also_good.error) == (None, None)
    assert [name for _, name in stored(app)] == ["first", "first", "good", "good", "also", "also"]
    assert [row for row in stored(app) if row[1] == "also"] == [(place, "also") for place in also_good.ids]


def test_a_commit_that_fails_is_told_to_all_and_not_tried_again(app: Flask, ask: Ask) -> None:
    failures: list[None] = []

    def fail_group(connection: Connection) -> None:
        if connection.exec_driver_sql("SELECT count(*) FROM event").scalar_one() > 2:
            failures.append(None)
            raise OperationalError("COMMIT", None, Exception("the disk is gone"))

    with app.app_context():
        sa.event.listen(db.engine, "commit", fail_group)
    try:
        _, *found = ask(events("a"), events("b"))
    finally:
        with app.app_context():
            sa.event.remove(db.engine, "commit", fail_group)
    assert all(isinstance(request.error, DBAPIError) for request in found)
    assert all(request.may_have_written for request in found), "whether a commit that fails was done is unknown"
    assert len(failures) == 1


@pytest.mark.sqlite("PostgreSQL waits in the statement, by its own limit")
def test_a_database_that_gives_no_lock_is_told_to_all(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "WRITE_DEADLINE_S", 0.1)
    monkeypatch.setattr(group_commit, "write", lambda: write(0.2))
    group = GroupCommit()
    with app.app_context(), write():
        found = [Request(app, group, events("a")) for _ in range(4)]
        for request in found:
            request.finish()
    assert all(isinstance(request.error, DatabaseUnavailable) for request in found)
    assert not any(request.may_have_written for request in found)
    assert stored(app) == []
    with app.app_context():
        assert group.append(events("later", 1)) == [1], "the lead was handed back"


def test_an_interrupted_leader_leaves_nobody_waiting(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is ended kills its greenlets."""
    interrupted = threading.Event()

    def interrupt(_group: object) -> None:
        interrupted.set()
        raise SystemExit

    group, real = GroupCommit(), group_commit._commit
    monkeypatch.setattr(group_commit, "_commit", interrupt)
    with app.app_context(), pytest.raises(SystemExit):
        group.append(events("a"))
    monkeypatch.setattr(group_commit, "_commit", real)
    assert Request(app, group, events("b")).finish().ids == [1, 2]


@pytest.mark.parametrize("is_given_the_lead", [False, True])
def test_a_request_that_is_ended_while_it_waits_leaves_nobody_waiting(
    app: Flask, monkeypatch: pytest.MonkeyPatch, is_given_the_lead: bool
) -> None:
    """Nobody would hand on the lead that it was given, and no request of this worker could publish any more."""
    group, ended = GroupCommit(), threading.Event()
    real = group_commit.GroupCommit._wait_for_turn

    def end(self: GroupCommit, member: group_commit._Member) -> None:
        if member.events[0].type != "ended":
            return real(self, member)
        if is_given_the_lead:
            member.woken.wait(scaled(20))
        ended.set()
        raise SystemExit

    monkeypatch.setattr(group_commit.GroupCommit, "_wait_for_turn", end)
    with app.app_context(), write() as holder:
        lock_log(holder)
        first = Request(app, group, events("first"))
        wait_for(lambda: group._has_leader and not group._waiting, "the first to have taken its own group")
        second = Request(app, group, events("ended"))
        wait_for(
            lambda: ended.is_set() or (is_given_the_lead and group._waiting), "the second to wait or to have ended"
        )
    assert first.finish().ids == [1, 2]
    assert isinstance(second.finish().error, SystemExit)
    assert Request(app, group, events("later")).finish().ids == [3, 4]
    assert [name for _, name in stored(app)] == ["first", "first", "later", "later"]


@pytest.mark.parametrize("error", [OperationalError("INSERT", None, Exception("lock timeout")), PoolTimeout()])
def test_a_database_that_is_slow_is_not_asked_again_for_each_request(
    app: Flask, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Requests that wait for the same lock in turn are answered long before their events are appended."""
    tried: list[int] = []

    def fail(_session: object, published: list[PreparedEvent]) -> list[int]:
        tried.append(len(published))
        raise error

    monkeypatch.setattr(group_commit, "append", fail)
    members = [group_commit._Member(events(f"request{number}"), 0) for number in range(3)]
    with app.app_context():
        group_commit._commit(members)
    assert tried == [6]
    assert [member.error for member in members] == [error] * 3


def test_a_commit_that_nobody_waits_for_any_more_may_have_been_done(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its publisher must not be told that nothing was changed."""
    monkeypatch.setattr(group_commit, "WRITE_DEADLINE_S", 0.01)
    monkeypatch.setattr(group_commit, "COMMIT_DEADLINE_S", 0.01)
    group = GroupCommit()
    group._has_leader = True
    with app.test_request_context():
        group._waiting = deque(maxlen=0)  # as if a leader had taken it
        with pytest.raises(DatabaseUnavailable, match="took longer"):
            group.append(events("a"))
        assert has_written()


def test_a_group_is_bounded_in_events_and_in_size(app: Flask, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "MAX_EVENTS_PER_GROUP", 4)
    with count_commits() as commits:
        ask(events("a"), events("b"), events("c"), events("d", 7), events("e"))
    assert len(commits) == 2 + 4, "a and b, c, d alone although it is more, e"
    monkeypatch.setattr(group_commit, "MAX_CHARS_PER_GROUP", 3)
    with count_commits() as commits:
        ask(events("a", 1), events("b", 1))
    assert len(commits) == 2 + 2
