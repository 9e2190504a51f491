"""What services publish about their jobs between two looks: `job.queued`, `started`, `finished` and `failed`.

The log is read once for all services of this process, in its own order: neither a publisher's clock nor its `at` is
believed. An event sharpens what is known and proves nothing: only looks open and close a discrepancy.
"""

import json
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from app.db import read
from app.eventlog import reader as log
from app.eventlog.models import EventRow
from app.infra import concurrency
from app.infra.clock import parse_utc
from app.reconciliation.loader import database_now
from app.reconciliation.models import ServiceState
from app.reconciliation.types import Known, Notice, Said
from app.sources.protocol import MAX_JOB_ID_CHARS

SAID: dict[str, Said] = {
    "job.queued": "queued",
    "job.started": "started",
    "job.finished": "finished",
    "job.failed": "ended",
}
# Events are looked through in windows of ids, because neither type nor service has an index.
WINDOW = 1_000
# In one go, however many came; the next observation goes on from there.
MOST_AT_ONCE = 10_000
# Older ones are skipped by a process that has just begun, or that cannot keep up: then the looks alone decide.
MOST_BEHIND = 50_000
# Jobs of one service between two looks; what is published of further ones sharpens nothing.
MAX_NOTICES = 10_000
READ_EVERY_S = 0.25
# A service may publish a moment before its own lists show what it did.
SETTLES = timedelta(seconds=2)

_event = EventRow.__table__.c
_WINDOW = sa.select(_event.id, _event.type, _event.data_json, _event.created_at).where(
    _event.id > sa.bindparam("after"), _event.id <= sa.bindparam("through"), _event.type.in_(sorted(SAID))
)


@dataclass(frozen=True, slots=True)
class News:
    """What was published of one service, up to and with the event `cursor`."""

    cursor: int = 0
    notices: Mapping[str, Notice] = field(default_factory=dict)

    def onto(self, known: Known) -> Known:
        """Beside what is known of the service. Of what was published before its first look nothing follows."""
        fresh = {job_id: notice for job_id, notice in self.notices.items() if notice.id > known.log_cursor}
        cursor = max(known.log_cursor, self.cursor)
        return replace(known, notices=fresh if known.heard_at is not None else {}, log_cursor=cursor)


@dataclass(slots=True)
class _Box:
    """One service's notices that no recorded look has taken in yet. `seen`: when this process read the newest one."""

    notices: dict[str, Notice] = field(default_factory=dict)
    seen: dict[str, datetime] = field(default_factory=dict)


class Lifecycle:
    """`news` before a look, `applied` once what followed from it is recorded. Called from all loops."""

    def __init__(
        self,
        breathe: Callable[[], None] = concurrency.yield_to_loop,
        *,
        settles: timedelta = SETTLES,
        read_every_s: float = READ_EVERY_S,
    ) -> None:
        self._breathe, self._settles, self._read_every_s = breathe, settles, read_every_s
        self._cursor: int | None = None
        self._read_at = 0.0
        self._boxes: dict[str, _Box] = {}
        self._reading = threading.Lock()

    def news(self, service_id: str) -> News:
        """What was published, has settled, and was not applied yet."""
        self._boxes.setdefault(service_id, _Box())
        # Whoever comes while another loop reads takes what is there: the rest is for its next look.
        if self._reading.acquire(blocking=False):
            try:
                self._catch_up()
            finally:
                self._reading.release()
        return self._settled(service_id)

    def applied(self, service_id: str, cursor: int) -> None:
        box = self._boxes.get(service_id)
        if box is not None:
            _drop(box, [job_id for job_id, notice in box.notices.items() if notice.id <= cursor])

    def forget(self, service_id: str) -> None:
        self._boxes.pop(service_id, None)

    def _settled(self, service_id: str) -> News:
        box = self._boxes.get(service_id, _Box())
        if not box.notices:
            return News(self._cursor or 0)
        with read() as session:
            now = database_now(session)
        young = [notice.id for job_id, notice in box.notices.items() if not self._is_settled(box, job_id, now)]
        cursor = min(young) - 1 if young else self._cursor or 0
        # In the log's order: what lies above the first unsettled event waits with it, so that one cursor says it all.
        old = {job_id: notice for job_id, notice in box.notices.items() if notice.id <= cursor}
        return News(cursor, old)

    def _is_settled(self, box: _Box, job_id: str, now: datetime) -> bool:
        """By the log's time, or by our own where that was written by a clock that is ahead."""
        return now - min(box.notices[job_id].at, box.seen[job_id]) >= self._settles

    def _catch_up(self) -> None:
        if time.monotonic() < self._read_at:
            return
        self._read_at = time.monotonic() + self._read_every_s
        with read() as session:
            head, now = log.head(session), database_now(session)
        if self._cursor is None:
            self._begin()
        self._cursor = max(self._cursor or 0, head - MOST_BEHIND)
        last = min(head, self._cursor + MOST_AT_ONCE)
        while self._cursor < last:
            through = min(last, self._cursor + WINDOW)
            with read() as session:
                rows = session.execute(_WINDOW, {"after": self._cursor, "through": through}).all()
            self._keep(rows, now)
            self._cursor = through
            self._breathe()

    def _begin(self) -> None:
        """Where the process that polled before this one left off."""
        with read() as session:
            found = session.execute(sa.select(ServiceState.service_id, ServiceState.log_cursor))
            cursors = {service_id: cursor for service_id, cursor in found}  # noqa: C416 -- rows are no pairs to mypy
        for service_id in cursors:
            self._boxes.setdefault(service_id, _Box())
        self._cursor = min(cursors.values(), default=0)

    def _keep(self, rows: Iterable[sa.Row[*tuple[Any, ...]]], now: datetime) -> None:
        for row in sorted(rows, key=lambda row: row.id):
            found = _read(row.data_json, self._boxes)
            if found is not None:
                service_id, job_id, queue = found
                notice = Notice(SAID[row.type], row.id, _moment(row.created_at, now), queue)
                _fold(self._boxes[service_id], job_id, notice, now)


def _fold(box: _Box, job_id: str, notice: Notice, now: datetime) -> None:
    before = box.notices.get(job_id)
    if before is None and len(box.notices) >= MAX_NOTICES:
        return
    if before is not None and not before.is_alive and notice.said == "started":
        # Out of order, or begun again: gone for a reason if it is gone, and nothing wrong if it is there.
        notice = Notice("ended", notice.id, notice.at, notice.queue)
    box.notices[job_id] = notice
    box.seen[job_id] = now


def _drop(box: _Box, job_ids: Iterable[str]) -> None:
    for job_id in job_ids:
        del box.notices[job_id], box.seen[job_id]


def _read(text: Any, services: Collection[str]) -> tuple[str, str, str | None] | None:
    """Service, job and queue. Any program may write to the log: what cannot be read says nothing."""
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
    return service_id, job_id, queue if isinstance(queue, str) else None


def _moment(text: Any, now: datetime) -> datetime:
    """When the log took it. A time that has not come yet is another clock's: then, when it was read."""
    try:
        return min(parse_utc(text), now)
    except (TypeError, ValueError):
        return now
