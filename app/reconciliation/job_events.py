"""Reads job events that services publish between two checks: `job.queued`, `started`, `finished`, `failed`.

The log is read once for all services of this process, in its own order: neither a publisher's clock nor its `at` is
trusted. Events refine what is known and prove nothing: only snapshots open and close discrepancies.
"""

import json
import threading
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from app.db import read
from app.eventlog import reader as log
from app.eventlog.models import EventRow
from app.infra.clock import parse_utc
from app.infra.redaction import replace_unstorable
from app.reconciliation.known_state import JobNotice, KnownState, PublishedState
from app.reconciliation.loader import database_now
from app.reconciliation.models import ServiceState
from app.sources.protocol import MAX_JOB_ID_CHARS

STATE_BY_EVENT_TYPE: dict[str, PublishedState] = {
    "job.queued": "queued",
    "job.started": "started",
    "job.finished": "finished",
    "job.failed": "ended",
}
# Events are read in windows of ids, because neither type nor service has an index.
EVENTS_PER_WINDOW = 1_000
# Maximum events read at once; the next check goes on from there.
MAX_EVENTS_PER_READ = 10_000
# A process that has just started, or that cannot keep up, skips older events: then snapshots alone decide.
MAX_EVENTS_BEHIND = 50_000
# Maximum jobs of one service between two checks; events about further jobs are ignored.
MAX_NOTICES_PER_SERVICE = 10_000
READ_EVERY_S = 0.25
# A service may publish an event a moment before its own lists show it.
SETTLE_TIME = timedelta(seconds=2)

_event = EventRow.__table__.c
_WINDOW = sa.select(_event.id, _event.type, _event.data_json, _event.created_at).where(
    _event.id > sa.bindparam("after"),
    _event.id <= sa.bindparam("through"),
    _event.type.in_(sorted(STATE_BY_EVENT_TYPE)),
)


@dataclass(frozen=True, slots=True)
class PublishedEvents:
    """What one service published, up to and including the event `cursor`."""

    cursor: int = 0
    notices: Mapping[str, JobNotice] = field(default_factory=dict)

    def apply_to(self, known: KnownState) -> KnownState:
        """The known state with these events. Events before the service's first check are ignored."""
        fresh = {job_id: notice for job_id, notice in self.notices.items() if notice.id > known.log_cursor}
        cursor = max(known.log_cursor, self.cursor)
        return replace(known, notices=fresh if known.heard_at is not None else {}, log_cursor=cursor)


@dataclass(slots=True)
class _Inbox:
    """One service's notices that no recorded check has used yet. `seen` is when this process read each one."""

    notices: dict[str, JobNotice] = field(default_factory=dict)
    seen: dict[str, datetime] = field(default_factory=dict)


class JobEventReader:
    """Call `read_new` before a snapshot, and `mark_applied` once its result is recorded. Used by all loops."""

    def __init__(
        self,
        *,
        settles: timedelta = SETTLE_TIME,
        read_every_s: float = READ_EVERY_S,
    ) -> None:
        self._settles, self._read_every_s = settles, read_every_s
        self._cursor: int | None = None
        self._read_at = 0.0
        self._inboxes: dict[str, _Inbox] = {}
        self._reading = threading.Lock()
        self._sorting = threading.Lock()  # held only in memory, while inboxes change or are looked through

    def read_new(self, service_id: str) -> PublishedEvents:
        """What was published, has settled, and was not applied yet."""
        with self._sorting:
            self._inboxes.setdefault(service_id, _Inbox())
        # A loop that comes while another one reads uses what is there; the rest is for its next check.
        if self._reading.acquire(blocking=False):
            try:
                self._catch_up()
            finally:
                self._reading.release()
        return self._settled_events(service_id)

    def mark_applied(self, service_id: str, cursor: int) -> None:
        with self._sorting:
            inbox = self._inboxes.get(service_id, _Inbox())
            _remove_notices(inbox, [job_id for job_id, notice in inbox.notices.items() if notice.id <= cursor])

    def forget(self, service_id: str) -> None:
        with self._sorting:
            self._inboxes.pop(service_id, None)

    def _settled_events(self, service_id: str) -> PublishedEvents:
        with self._sorting:
            cursor, inbox = self._cursor or 0, self._inboxes.get(service_id, _Inbox())
        if not inbox.notices:
            return PublishedEvents(cursor)
        with read() as session:
            now = database_now(session)
        with self._sorting:
            return self._select_settled(inbox, now)

    def _select_settled(self, inbox: _Inbox, now: datetime) -> PublishedEvents:
        young = [notice.id for job_id, notice in inbox.notices.items() if not self._is_settled(inbox, job_id, now)]
        cursor = min(young) - 1 if young else self._cursor or 0
        # In the log's order: events above the first unsettled one wait with it, so that one cursor is enough.
        old = {job_id: notice for job_id, notice in inbox.notices.items() if notice.id <= cursor}
        return PublishedEvents(cursor, old)

    def _is_settled(self, inbox: _Inbox, job_id: str, now: datetime) -> bool:
        """True if the event is old enough, by the log's time, or by ours if the log's clock is ahead."""
        return now - min(inbox.notices[job_id].at, inbox.seen[job_id]) >= self._settles

    def _catch_up(self) -> None:
        if time.monotonic() < self._read_at:
            return
        self._read_at = time.monotonic() + self._read_every_s
        with read() as session:
            head, now = log.head(session), database_now(session)
        if self._cursor is None:
            self._start_cursor()
        self._cursor = max(self._cursor or 0, head - MAX_EVENTS_BEHIND)
        last = min(head, self._cursor + MAX_EVENTS_PER_READ)
        while self._cursor < last:
            through = min(last, self._cursor + EVENTS_PER_WINDOW)
            with read() as session:
                rows = session.execute(_WINDOW, {"after": self._cursor, "through": through}).all()
            self._sort_into_inboxes(rows, through, now)

    def _start_cursor(self) -> None:
        """Continue where the process that polled before this one stopped."""
        with read() as session:
            found = session.execute(sa.select(ServiceState.service_id, ServiceState.log_cursor))
            cursors = {service_id: cursor for service_id, cursor in found}  # noqa: C416 -- rows are no pairs to mypy
        with self._sorting:
            for service_id in cursors:
                self._inboxes.setdefault(service_id, _Inbox())
        self._cursor = min(cursors.values(), default=0)

    def _sort_into_inboxes(self, rows: Iterable[sa.Row[*tuple[Any, ...]]], through: int, now: datetime) -> None:
        """The events of a window, and the cursor with them: who sees one of both sees both."""
        with self._sorting:
            for row in sorted(rows, key=lambda row: row.id):
                found = _parse_event(row.data_json, self._inboxes)
                if found is not None:
                    service_id, job_id, queue = found
                    notice = JobNotice(STATE_BY_EVENT_TYPE[row.type], row.id, _event_time(row.created_at, now), queue)
                    _merge(self._inboxes[service_id], job_id, notice, now)
            self._cursor = through


def _merge(inbox: _Inbox, job_id: str, notice: JobNotice, now: datetime) -> None:
    before = inbox.notices.get(job_id)
    if before is None and len(inbox.notices) >= MAX_NOTICES_PER_SERVICE:
        return
    if before is not None and not before.is_alive and notice.state == "started":
        # Out of order, or started again: its absence is then explained, and its presence is no error.
        notice = JobNotice("ended", notice.id, notice.at, notice.queue)
    inbox.notices[job_id] = notice
    inbox.seen[job_id] = now


def _remove_notices(inbox: _Inbox, job_ids: Iterable[str]) -> None:
    for job_id in job_ids:
        del inbox.notices[job_id], inbox.seen[job_id]


def _parse_event(text: Any, services: Collection[str]) -> tuple[str, str, str | None] | None:
    """Service, job and queue. Any program may write to the log: events that cannot be read are ignored."""
    try:
        data = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return None
    if not isinstance(data, dict):
        return None
    service_id, job_id, queue = (data.get(name) for name in ("service", "jobId", "queue"))
    if not isinstance(service_id, str) or service_id not in services:
        return None
    if not isinstance(job_id, str) or not 0 < len(job_id) <= MAX_JOB_ID_CHARS or not job_id.isprintable():
        return None
    return service_id, job_id, replace_unstorable(queue) if isinstance(queue, str) else None


def _event_time(text: Any, now: datetime) -> datetime:
    """When the log took the event. A time in the future is from another clock: then the time of reading."""
    try:
        return min(parse_utc(text), now)
    except (TypeError, ValueError):
        return now
