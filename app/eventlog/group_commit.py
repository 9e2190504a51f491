"""Commits the events of requests that publish at the same time in one transaction.

A commit costs more than an insert: SQLite waits for the disk, and PostgreSQL takes four round trips under a lock that
all writers share. The first request leads: it appends the events of all requests that wait, and hands the lead on to
one that came too late. Each request still gets its answer after the commit of its own events, and either all of its
events are appended or none.
"""

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.db import WRITE_DEADLINE_S, DatabaseUnavailable, note_written, write
from app.eventlog.append import PreparedEvent, append
from app.infra import database_errors

# The database is locked while a group is inserted, and on SQLite the event loop is blocked.
MAX_EVENTS_PER_GROUP = 1_000
MAX_CHARS_PER_GROUP = 1024 * 1024
# The statements of a commit have deadlines of their own; this one is a last resort.
COMMIT_DEADLINE_S = 30.0


@dataclass(eq=False, slots=True)
class _Member:
    """The events of one request. `leads`: it has the lead. `reached_commit`: its events may have been appended."""

    events: Sequence[PreparedEvent]
    chars: int
    woken: threading.Event = field(default_factory=threading.Event)
    leads: bool = False
    reached_commit: bool = False
    ids: Sequence[int] | None = None
    error: BaseException | None = None

    def finish(self, ids: Sequence[int] | None, error: BaseException | None) -> None:
        self.ids, self.error = ids, error
        self.woken.set()

    @property
    def is_finished(self) -> bool:
        return self.ids is not None or self.error is not None


class GroupCommit:
    """One for each application. Its queue is no longer than the number of requests that a worker serves at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[_Member] = deque()
        self._has_leader = False

    def append(self, events: Sequence[PreparedEvent]) -> list[int]:
        """Append `events` in order, all or none, and return their ids after the commit.

        Raises `DatabaseUnavailable` or the driver's error.
        """
        member = _Member(events, sum(len(event.data_json) for event in events))
        with self._lock:
            self._waiting.append(member)
            member.leads, self._has_leader = not self._has_leader, True
        try:
            if not member.leads:
                self._wait_for_turn(member)
            if member.leads:
                self._lead()
        except BaseException:
            self._leave(member)
            raise
        return _outcome(member)

    def _wait_for_turn(self, member: _Member) -> None:
        """Wait until its events are committed, or until it is given the lead."""
        if member.woken.wait(WRITE_DEADLINE_S):
            return
        with self._lock:
            if member.leads or member.is_finished:
                return
            if member in self._waiting:
                self._waiting.remove(member)
                raise DatabaseUnavailable("other publishers' events took too long to commit")
        if not member.woken.wait(COMMIT_DEADLINE_S):
            member.reached_commit = True  # for all that is known

    def _leave(self, member: _Member) -> None:
        """Take out the events of a request that ended before its turn: it would never hand on the lead."""
        with self._lock:
            if member not in self._waiting:
                return
            self._waiting.remove(member)
        if member.leads:
            self._hand_on()

    def _lead(self) -> None:
        """Commit one group, which begins with the leader's own events."""
        group: list[_Member] = []
        try:
            time.sleep(0)  # requests whose bytes have arrived join; a timer, as in `yield_to_loop`, would wait for 1 ms
            group = self._take_group()
            _commit(group)
        finally:
            self._hand_on()
            for member in group:  # after an exception that ends this greenlet
                if not member.is_finished:
                    member.finish(None, DatabaseUnavailable("the commit of these events was interrupted"))

    def _take_group(self) -> list[_Member]:
        with self._lock:
            group = [self._waiting.popleft()]
            events, chars = len(group[0].events), group[0].chars
            while self._waiting:
                events += len(self._waiting[0].events)
                chars += self._waiting[0].chars
                if events > MAX_EVENTS_PER_GROUP or chars > MAX_CHARS_PER_GROUP:
                    break
                group.append(self._waiting.popleft())
        return group

    def _hand_on(self) -> None:
        with self._lock:
            self._has_leader = bool(self._waiting)
            if self._waiting:
                self._waiting[0].leads = True
                self._waiting[0].woken.set()


def _commit(group: Sequence[_Member]) -> None:
    try:
        ids = _append_all(group)
    except DatabaseUnavailable as error:
        _fail(group, error)
    except Exception as error:  # noqa: BLE001 -- each member raises it in its own request
        if len(group) == 1 or group[0].reached_commit or not _may_be_of_one_request(error):
            _fail(group, error)
        else:  # nothing was appended
            for member in group:
                _commit([member])
    else:
        for member in group:
            member.finish(ids[: len(member.events)], None)
            del ids[: len(member.events)]


def _may_be_of_one_request(error: Exception) -> bool:
    """False for a database that is slow, locked, full or away: each request would wait for it again, in turn."""
    return not isinstance(error, (DBAPIError, PoolTimeout)) or database_errors.is_statement_fault(error)


def _append_all(group: Sequence[_Member]) -> list[int]:
    with write() as session:
        ids = append(session, [event for member in group for event in member.events])
        for member in group:
            member.reached_commit = True
    return ids


def _fail(group: Sequence[_Member], error: Exception) -> None:
    for member in group:
        member.finish(None, error)


def _outcome(member: _Member) -> list[int]:
    """Return the ids of its events, or raise its error, in its own request."""
    if member.reached_commit:
        note_written()
    if member.ids is not None:
        return list(member.ids)
    if isinstance(member.error, DatabaseUnavailable):
        raise DatabaseUnavailable(str(member.error)) from member.error
    if member.error is not None:
        raise member.error.with_traceback(None)
    raise DatabaseUnavailable(f"the commit of these events took longer than {COMMIT_DEADLINE_S:g} s")
