"""Observes one service: snapshot, evidence, verdict, record.

Known jobs that a snapshot does not show get a second snapshot within a second. If only the service can say what became
of them, they are looked up by id: at most `MAX_LOOKUPS`, for at most `LOOKUP_BUDGET_S`, in one check. The rest waits
for the next check and is unaccounted for until then.
"""

import logging
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Protocol

from sqlalchemy.exc import DataError, SQLAlchemyError

from app.db import DatabaseUnavailable, read
from app.infra.lease import Lease, LeaseClaim, LeaseLost
from app.reconciliation import diff, item_lifecycle, loss_detection, reconcile, row_writer
from app.reconciliation.check_batcher import CheckBatcher, UnchangedCheck
from app.reconciliation.current_status import STALE_AFTER_INTERVALS
from app.reconciliation.explanations import Explainer, find_explained, is_fall_explained
from app.reconciliation.job_events import JobEventReader, PublishedEvents
from app.reconciliation.known_state import KnownState
from app.reconciliation.known_state_cache import Baseline, KnownStateCache
from app.reconciliation.loader import DatabaseTime, KnownJobs, MonotonicClock
from app.reconciliation.overdue_checks import OverdueChecks
from app.reconciliation.types import (
    UNSERVED_AFTER,
    CheckEvidence,
    Observation,
    ServiceVerdict,
)
from app.reconciliation.writer import record_check, record_silence
from app.sources.poller import PollResult
from app.sources.protocol import JobLookup, ServiceSnapshot, Source, SourceError

log = logging.getLogger(__name__)

SECOND_SNAPSHOT_AFTER_S = 0.3
MAX_LOOKUPS = 50
LOOKUP_BUDGET_S = 5.0
# Maximum lookups for open items in one check.
MAX_ITEM_LOOKUPS = 5
# How many loops may use the database at a time, also to record failed polls: the other connections stay free for pages,
# for the lease and for publishing the checks that changed nothing.
MAX_LOOPS_AT_DATABASE = 3
# The reason for any failure that has no reason of its own.
UNUSABLE_ANSWER = "gave an answer that Beacon could not handle"
UNSTORABLE_ANSWER = "gave data that the database rejects"
# How many polls must find a queue without a worker before that is reported.
MIN_UNSERVED_POLLS = 3
# How often a verdict is made, if the known state changes while it is made.
MAX_JUDGE_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class WatchedService:
    """What the poller's loops hold of a service. Equal services need no new loop and no new source."""

    id: str
    source: Source


class CheckFollower(Protocol):
    """Learns from each answered check, after its verdict was recorded. Must not raise."""

    def follow(self, claim: LeaseClaim, service: WatchedService, snapshot: ServiceSnapshot) -> None: ...


class ServiceObserver:
    """Implements `app.sources.poller.Observer`. Called from one loop per service, inside an application context."""

    def __init__(
        self,
        lease: Lease,
        interval_s: float,
        explains: Sequence[Explainer],
        *,
        second_snapshot_after_s: float = SECOND_SNAPSHOT_AFTER_S,
        job_events: JobEventReader | None = None,
        unserved_for: timedelta = UNSERVED_AFTER,
        followers: Sequence[CheckFollower] = (),
    ) -> None:
        self._lease, self._explains, self._followers = lease, explains, followers
        self._stale_after = timedelta(seconds=interval_s * STALE_AFTER_INTERVALS)
        self._unserved_for = max(unserved_for, timedelta(seconds=interval_s * MIN_UNSERVED_POLLS))
        self._second_look_after_s = second_snapshot_after_s
        self._at_database = threading.Semaphore(MAX_LOOPS_AT_DATABASE)
        self._batcher = CheckBatcher()
        self._job_events = job_events or JobEventReader()
        self._time = DatabaseTime()
        self._cache = KnownStateCache()
        self._overdue = OverdueChecks(self._stale_after)

    def observe(self, service: WatchedService) -> PollResult:
        claim = self._lease.claim()
        published = self._job_events.read_new(service.id)  # before the snapshot, which must be able to show it
        clock = MonotonicClock(self._time.now())
        try:
            observation = _take_snapshot(service, clock)
        except SourceError as error:
            return self._record_silence(claim, service.id, (error.reason, clock.waited_ms))
        try:
            self._judge(claim, service, observation, clock, published)
        except row_writer.ServiceRemoved:
            self._cache.evict(service.id)
            self._job_events.forget(service.id)
        except DataError as error:  # the database works, and rejects what the service said
            log.error("the database rejects data of service_id=%s: %s", service.id, error.orig)
            return self._record_silence(claim, service.id, (UNSTORABLE_ANSWER, clock.waited_ms))
        except (LeaseLost, row_writer.StaleVersion, DatabaseUnavailable, SQLAlchemyError):
            raise  # an error in Beacon, not of the service
        except Exception:
            log.exception("unexpected exception while judging service_id=%s", service.id)
            return self._record_silence(claim, service.id, (UNUSABLE_ANSWER, clock.waited_ms))
        for follower in self._followers:
            follower.follow(claim, service, observation.look)
        return PollResult(answered=True)

    def note_silence(self, service: WatchedService) -> PollResult:
        return self._record_silence(self._lease.claim(), service.id, None)

    def tick(self) -> None:
        claim = self._lease.claim()
        for service_id in self._batcher.flush(claim):
            self._cache.invalidate(service_id)
        for service_id in self._overdue.find(claim):
            self._record_silence(claim, service_id, None, is_overdue=True)

    def _record_silence(
        self, claim: LeaseClaim, service_id: str, failure: tuple[str, int] | None, *, is_overdue: bool = False
    ) -> PollResult:
        self._cache.invalidate(service_id)
        try:
            with self._at_database:  # dozens that fail at once must not take every connection from the other checks
                left = record_silence(claim, service_id, self._stale_after, failure, is_overdue=is_overdue)
        except row_writer.ServiceRemoved:
            left = None
        return PollResult(answered=False, silent_in_s=None if left is None else left.total_seconds())

    def _judge(
        self,
        claim: LeaseClaim,
        service: WatchedService,
        observation: Observation,
        clock: MonotonicClock,
        published: PublishedEvents,
    ) -> None:
        base = self._cache.get(claim, service.id, published) or self._read(service.id, published)
        evidence = self._collect_evidence(service, base.known, observation, clock)
        for attempt in range(MAX_JUDGE_ATTEMPTS):
            verdict = reconcile.reconcile(base.known, observation, evidence, clock.now())
            try:
                self._record(claim, service.id, base, verdict, observation)
                self._job_events.mark_applied(service.id, base.known.log_cursor if verdict.job_diff is not None else 0)
                return
            except row_writer.StaleVersion:
                if attempt == MAX_JUDGE_ATTEMPTS - 1:
                    raise
                base = self._read(service.id, published)

    def _read(self, service_id: str, published: PublishedEvents) -> Baseline:
        with self._at_database:
            return self._cache.read(service_id, published)

    def _record(
        self, claim: LeaseClaim, service_id: str, base: Baseline, verdict: ServiceVerdict, observation: Observation
    ) -> None:
        job_diff, known, version = verdict.job_diff, base.known, base.version
        is_news = verdict.changed or verdict.suppressed or verdict.flaps != known.flaps
        is_news = is_news or (verdict.cut_since, verdict.loss) != (known.cut_since, known.loss)
        is_news = is_news or verdict.unserved_since != known.unserved_since
        if is_news or job_diff is None or job_diff.upserts or job_diff.removals or verdict.opened or verdict.closed:
            self._cache.evict(service_id)
            with self._at_database:
                version = record_check(claim, service_id, known, version, verdict, observation)
            if job_diff is not None:
                job_diff.apply_to(base.jobs.jobs)
                jobs = KnownJobs(base.jobs.jobs, job_diff.unseen, job_diff.ended)
                open_items = item_lifecycle.apply_changes(known, verdict.opened, verdict.closed)
                self._cache.store(service_id, jobs, open_items, version)
        else:
            self._cache.store_unchanged(claim, service_id, base, verdict, observation)
        if not verdict.changed and not verdict.suppressed and verdict.status != "stale":
            # The check is kept until the flush, and the lists are large.
            without_lists = replace(observation, look=replace(observation.look, listings=()))
            check = replace(verdict, job_diff=None)
            self._batcher.add(UnchangedCheck(claim, service_id, version, check, without_lists, known.log_cursor))

    def _collect_evidence(
        self, service: WatchedService, known: KnownState, observation: Observation, clock: MonotonicClock
    ) -> CheckEvidence:
        can = service.source.capabilities
        evidence = CheckEvidence(
            can.finished_visible_for_s,
            fresh_for=self._stale_after if can.dates_figures else None,
            unserved_for=self._unserved_for,
        )
        if reconcile.is_incomparable(known, observation, evidence):
            return evidence
        absent = reconcile.find_absent_jobs(known, observation, evidence)
        if absent:
            evidence = replace(evidence, second=self._take_second_snapshot(service, known, observation, clock))
        declared = [item.job_id for item in known.items.values() if item.kind != "extra"]
        evidence = replace(evidence, explained=self._find_explained(service.id, known, observation, absent, declared))
        evidence = replace(evidence, purged=self._is_purged(service.id, known, observation, evidence))
        asked = [job_id for job_id in absent if reconcile.needs_lookup(evidence, job_id)]
        asked = _sample_ids(asked, MAX_LOOKUPS)
        if evidence.finished_visible is not None:
            lost = diff.find_unlisted(declared, observation.look.listings)
            asked += _sample_ids(lost, min(MAX_ITEM_LOOKUPS, MAX_LOOKUPS - len(asked)))
        return replace(evidence, lookups=_look_up_jobs(service.source, asked))

    def _is_purged(self, service_id: str, known: KnownState, observation: Observation, evidence: CheckEvidence) -> bool:
        if known.heard_at is None or not loss_detection.has_fallen(known, observation, evidence):
            return False
        with read() as session:
            return is_fall_explained(session, self._explains, service_id, known.heard_at)

    def _find_explained(
        self, service_id: str, known: KnownState, observation: Observation, absent: list[str], declared: list[str]
    ) -> frozenset[str]:
        """The jobs that are known to have ended since they were last seen."""
        since = min(observation.began, known.heard_at or observation.began)
        since = min([since, *(at for job_id in absent if (at := known.seen_at(job_id)))])
        with read() as session:
            return find_explained(session, self._explains, service_id, {*absent, *declared}, since)

    def _take_second_snapshot(
        self, service: WatchedService, known: KnownState, first: Observation, clock: MonotonicClock
    ) -> Observation | None:
        """A snapshot within a second of the first one.

        None if it says nothing: the service did not answer, or another instance did.
        """
        time.sleep(self._second_look_after_s)
        try:
            second = _take_snapshot(service, clock)
        except SourceError:
            return None
        same = second.look.instance_id == first.look.instance_id
        return second if same and not reconcile.is_rewound(known, second) else None


def _take_snapshot(service: WatchedService, clock: MonotonicClock) -> Observation:
    began = clock.now()
    try:
        look = service.source.read_snapshot()
    except SourceError:
        raise
    except Exception as error:  # a bug in a kind of source must make its services stale
        log.exception("unexpected exception from the source of service_id=%s", service.id)
        raise SourceError(UNUSABLE_ANSWER) from error
    return Observation(look, began, clock.now())


def _sample_ids(job_ids: list[str], most: int) -> list[str]:
    """At most `most` ids, at random, so that ids that the service cannot answer for do not block the others."""
    return job_ids if len(job_ids) <= most else random.sample(job_ids, most)


def _look_up_jobs(source: Source, job_ids: Sequence[str]) -> dict[str, JobLookup]:
    fates: dict[str, JobLookup] = {}
    deadline = time.monotonic() + LOOKUP_BUDGET_S
    for job_id in job_ids:
        if time.monotonic() >= deadline:
            break
        fates[job_id] = source.look_up(job_id)
    return fates
