"""Follows the failed jobs of each service from poll to poll: new ones are recorded, then read, a bounded number a poll.

Only ids are compared in a poll that finds nothing new. What fails faster than it can be read waits for the next polls,
and pages say how much that is.
"""

import logging
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from app.db import read, write
from app.eventlog.append import append
from app.eventlog.reader import Event
from app.failures import failure_store
from app.failures.failure_announcer import FailureAnnouncer
from app.infra.lease import LeaseClaim, LeaseLost
from app.infra.logs import FailureLog
from app.reconciliation.observer import WatchedService
from app.sources.protocol import FAILED_STATES, MAX_FACTS, Job, JobDetail, ServiceSnapshot, SourceError

log = logging.getLogger(__name__)

# Rows in one transaction: other writers wait for it.
ROWS_PER_WRITE = 1_000
# Of one service. Jobs that vanish from a list that is cut off may still be failed, but are not followed for ever.
MAX_FOLLOWED_JOBS = 200_000
# After an error that many times fewer jobs are read at once; a single one is given up after so many errors in a row.
READ_LESS_BY = 10
MAX_ERRORS = 5


@dataclass(slots=True)
class _Followed:
    """The failed jobs of one service, as the rows say. `has_unread` is False once all of them were certainly read.

    `most`: how many are read at a time. After an error it is less, until the job that cannot be read is found.
    `has_changed`: something was written since the last announcement.
    """

    open: set[str]
    has_unread: bool = True
    most: int = MAX_FACTS
    errors: int = 0
    has_changed: bool = True
    announcer: FailureAnnouncer = field(default_factory=FailureAnnouncer)


class FailureTracker:
    """Called from one loop for each service, after its poll was judged. Never harms the poll."""

    def __init__(self) -> None:
        self._services: dict[str, _Followed] = {}
        self._failures = FailureLog(log, "following failed jobs")

    def listen(self, events: Sequence[Event], _cursor: int) -> None:
        """Tail listener: after a command on a service, the facts of jobs that failed again are read again."""
        for event in events:
            followed = self._services.get(str(event.data.get("service")))
            if event.type == "command.status" and followed is not None:
                followed.has_unread = True

    def follow(self, claim: LeaseClaim, service: WatchedService, snapshot: ServiceSnapshot) -> None:
        try:
            self._follow(claim, service, snapshot)
        except SourceError as error:
            log.info("cannot read the failed jobs of service_id=%s: it %s", service.id, error.reason)
        except LeaseLost as error:
            self._services.pop(service.id, None)
            log.info("stopped following failed jobs of service_id=%s: %s", service.id, error)
        except Exception as error:  # noqa: BLE001 -- the next poll reads the rows again
            self._services.pop(service.id, None)
            self._failures.record_failure(error)
        else:
            self._failures.record_success()

    def _follow(self, claim: LeaseClaim, service: WatchedService, snapshot: ServiceSnapshot) -> None:
        failed, is_complete = find_failed(snapshot)
        known = self._services.get(service.id)
        if known is None:
            with read() as session:
                known = self._services[service.id] = _Followed(failure_store.load_open_ids(session, service.id))
        for ids in _slices(sorted(failed - known.open)):
            with self._transaction(claim) as session:
                failure_store.add_failed(session, service.id, ids)
            known.open.update(ids)
            known.has_unread = known.has_changed = True
        surplus = len(known.open) - MAX_FOLLOWED_JOBS
        unlisted = sorted(known.open - failed) if is_complete or surplus > 0 else []
        for ids in _slices(unlisted if is_complete else unlisted[:surplus]):
            with self._transaction(claim) as session:
                failure_store.mark_gone(session, service.id, ids)
            known.open.difference_update(ids)
            known.has_changed = True
        try:
            if known.has_unread:
                known.has_unread = self._read_facts(claim, service, known)
        finally:  # what cannot be read is failed all the same
            self._announce(claim, service.id, known)

    def _announce(self, claim: LeaseClaim, service_id: str, known: _Followed) -> None:
        if not known.has_changed and not known.announcer.is_due():
            return
        with read() as session:
            events = known.announcer.take_events(session, service_id)
        if events:
            with self._transaction(claim) as session:
                append(session, events)
        known.has_changed = False

    def _read_facts(self, claim: LeaseClaim, service: WatchedService, known: _Followed) -> bool:
        """Read the facts of some jobs. True if there may be more."""
        most = min(known.most, MAX_FACTS)
        with read() as session:
            unread = failure_store.load_unread_ids(session, service.id, most)
        if not unread:
            return False
        try:
            facts = service.source.read_facts(unread)
        except SourceError:
            known.errors += 1
            if known.most > 1 or known.errors < MAX_ERRORS:
                known.most = max(1, known.most // READ_LESS_BY)
                raise
            # One job that cannot be read, as with a result of a million entries, must not hide all behind it.
            facts = {job_id: JobDetail(Job(job_id, "failed")) for job_id in unread}
        known.errors, known.most = 0, min(MAX_FACTS, known.most * READ_LESS_BY)
        with self._transaction(claim) as session:
            known.announcer.add_new(failure_store.record_facts(session, service.id, unread, facts))
        known.has_changed = True
        return len(unread) == most or len(facts) < len(unread)

    @contextmanager
    def _transaction(self, claim: LeaseClaim) -> Iterator[Session]:
        with write() as session:
            claim.guard(session)
            yield session


def find_failed(snapshot: ServiceSnapshot) -> tuple[AbstractSet[str], bool]:
    """The ids of the failed jobs, and whether these are all of them."""
    if snapshot.failed is not None:
        return snapshot.failed, True
    listings = [listing for listing in snapshot.listings if listing.state.lower() in FAILED_STATES]
    ids = set[str]().union(*(listing.jobs.keys() for listing in listings))
    return ids, all(listing.complete for listing in listings) and FAILED_STATES.isdisjoint(snapshot.not_told)


def _slices(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + ROWS_PER_WRITE] for start in range(0, len(ids), ROWS_PER_WRITE))
