"""One observation of a service, from the look to the record.

Known jobs that a look does not show get a second look within a second, and where only the service can say
what became of them, look-ups by id: at most `LOOK_UPS` and `LOOK_UP_S` in one observation. The rest waits for
the next one, unaccounted for until then.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import chain

from sqlalchemy.exc import SQLAlchemyError

from app.db import DatabaseUnavailable, read
from app.infra import concurrency
from app.infra.lease import Lease, LeaseClaim, LeaseLost
from app.reconciliation import diff, gc_control, item_lifecycle, loss_detection, reconcile, row_writer
from app.reconciliation.check_batcher import Unchanged, VerifiedGatherer
from app.reconciliation.current_status import AGED_AFTER_INTERVALS, NOT_CHECKED
from app.reconciliation.explanations import Explains, explained, is_fall_explained
from app.reconciliation.job_events import Lifecycle, News
from app.reconciliation.known_state_cache import Base, KeptBeliefs
from app.reconciliation.loader import Clock, DatabaseTime, Jobs
from app.reconciliation.overdue_checks import OverdueChecks
from app.reconciliation.types import SLICE, UNSERVED_FOR, Evidence, Heard, Known, Verdict, slices
from app.reconciliation.writer import NO_ANSWER, record_check, record_silence
from app.sources.poller import Outcome
from app.sources.protocol import Job, JobFate, Source, SourceError

log = logging.getLogger(__name__)

SECOND_LOOK_AFTER_S = 0.3
LOOK_UPS = 50
LOOK_UP_S = 5.0
# Open items asked for by id in one observation.
ITEM_LOOK_UPS = 5
# Loops that read or write the belief at a time: the others' connections stay free for pages and for the lease.
AT_DATABASE = 3
# Whatever is wrong with an answer that nobody has thought of.
NOT_HANDLED = "gave an answer that Beacon could not handle"
# A queue is said to be without a worker once so many polls have found it so.
UNSERVED_POLLS = 3
# How often a verdict is made anew because the belief changed while it was made.
ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class WatchedService:
    """What the poller's loops hold of a service. Equal to another one only where nothing has to be built anew."""

    id: str
    source: Source


class Observer:
    """Fits `app.sources.poller.Observer`. Called from one loop per service, inside an application context."""

    def __init__(
        self,
        lease: Lease,
        interval_s: float,
        explains: Sequence[Explains],
        *,
        breathe: Callable[[], None] = concurrency.yield_to_loop,
        second_look_after_s: float = SECOND_LOOK_AFTER_S,
        lifecycle: Lifecycle | None = None,
        unserved_for: timedelta = UNSERVED_FOR,
    ) -> None:
        self._lease, self._explains, self._breathe = lease, explains, breathe
        self._stale_after = timedelta(seconds=interval_s * AGED_AFTER_INTERVALS)
        self._unserved_for = max(unserved_for, timedelta(seconds=interval_s * UNSERVED_POLLS))
        self._second_look_after_s = second_look_after_s
        self._at_database = threading.Semaphore(AT_DATABASE)
        self._gatherer = VerifiedGatherer()
        self._lifecycle = lifecycle or Lifecycle(breathe)
        self._time = DatabaseTime()
        self._kept = KeptBeliefs(breathe)
        self._overdue = OverdueChecks(self._stale_after)

    def observe(self, service: WatchedService) -> Outcome:
        size = self._kept.size(service.id)
        # Where it is not known how many jobs there are, it may be a large service.
        with gc_control.kept_away(gc_control.LARGE if size is None else size):
            return self._observe(service)

    def _observe(self, service: WatchedService) -> Outcome:
        claim = self._lease.claim()
        news = self._lifecycle.news(service.id)  # before the look: it must be able to show what was published
        clock = Clock(self._time.now())
        try:
            heard = _look(service.source, clock)
        except SourceError as error:
            return self._silence(claim, service.id, (error.reason, clock.waited_ms))
        try:
            self._believe(claim, service, heard, clock, news)
        except row_writer.NotWatched:
            self._kept.forget(service.id)
            self._lifecycle.forget(service.id)
        except (LeaseLost, row_writer.Outdated, DatabaseUnavailable, SQLAlchemyError):
            raise  # Beacon's own trouble, which says nothing of the service
        except Exception:
            log.exception("the answer of %s could not be handled", service.id)
            return self._silence(claim, service.id, (NOT_HANDLED, clock.waited_ms))
        tables = [listing.jobs for listing in heard.look.listings]
        del heard
        self._let_go(tables)
        return Outcome(answered=True)

    def note_silence(self, service: WatchedService) -> Outcome:
        return self._silence(self._lease.claim(), service.id, None)

    def tick(self) -> None:
        claim = self._lease.claim()
        for service_id in self._gatherer.flush(claim):
            self._kept.doubt(service_id)
        for service_id in self._overdue.find(claim):
            self._silence(claim, service_id, None, NOT_CHECKED)

    def _silence(
        self, claim: LeaseClaim, service_id: str, failure: tuple[str, int] | None, why: str = NO_ANSWER
    ) -> Outcome:
        self._kept.doubt(service_id)
        try:
            left = record_silence(claim, service_id, self._stale_after, failure, why)
        except row_writer.NotWatched:
            left = None
        return Outcome(answered=False, silent_in_s=None if left is None else left.total_seconds())

    def _believe(self, claim: LeaseClaim, service: WatchedService, heard: Heard, clock: Clock, news: News) -> None:
        base = self._kept.base(claim, service.id, news) or self._read(service.id, news)
        evidence = self._evidence(service, base.known, heard, clock)
        for attempt in range(ATTEMPTS):
            verdict = reconcile.reconcile(base.known, heard, evidence, clock.now(), self._breathe)
            try:
                self._record(claim, service.id, base, verdict, heard)
                self._lifecycle.applied(service.id, base.known.log_cursor if verdict.belief is not None else 0)
                return
            except row_writer.Outdated:
                if attempt == ATTEMPTS - 1:
                    raise
                base = self._read(service.id, news)

    def _read(self, service_id: str, news: News) -> Base:
        with self._at_database:
            return self._kept.read(service_id, news)

    def _record(self, claim: LeaseClaim, service_id: str, base: Base, verdict: Verdict, heard: Heard) -> None:
        belief, known, version = verdict.belief, base.known, base.version
        is_news = verdict.changed or verdict.hushed or verdict.flaps != known.flaps
        is_news = is_news or (verdict.cut_since, verdict.loss) != (known.cut_since, known.loss)
        is_news = is_news or verdict.unserved_since != known.unserved_since
        if is_news or belief is None or belief.put or belief.gone or verdict.opened or verdict.closed:
            self._kept.forget(service_id)
            with self._at_database:
                version = record_check(claim, service_id, known, version, verdict, heard)
            if belief is not None:
                belief.onto(base.jobs.jobs, self._breathe)
                jobs = Jobs(base.jobs.jobs, belief.unseen, belief.ended)
                open_items = item_lifecycle.after(known, verdict.opened, verdict.closed, self._breathe)
                self._kept.keep(service_id, jobs, open_items, version)
                gc_control.freeze_new(len(belief.put))
        else:
            self._kept.keep_unchanged(claim, service_id, base, verdict, heard)
        if not verdict.changed and not verdict.hushed and verdict.status != "stale":
            lists = replace(heard, look=replace(heard.look, listings=()))  # it waits, and they are large
            check = replace(verdict, belief=None)
            self._gatherer.add(Unchanged(claim, service_id, version, check, lists, known.log_cursor))

    def _evidence(self, service: WatchedService, known: Known, heard: Heard, clock: Clock) -> Evidence:
        can = service.source.capabilities
        evidence = Evidence(
            can.finished_visible_for_s,
            fresh_for=self._stale_after if can.dates_figures else None,
            unserved_for=self._unserved_for,
        )
        if reconcile.is_of_another_time(known, heard, evidence):
            return evidence
        absent = reconcile.suspects(known, heard, evidence, self._breathe)
        if absent:
            evidence = replace(evidence, second=self._second_look(service.source, known, heard, clock))
        declared = self._declared(known)
        evidence = replace(evidence, explained=self._explained(service.id, known, heard, absent, declared))
        evidence = replace(evidence, purged=self._is_purged(service.id, known, heard, evidence))
        asked = _some(self._unanswered(evidence, absent), LOOK_UPS)
        if evidence.finished_visible is not None:
            lost = diff.in_none(declared, heard.look.listings, self._breathe)
            asked += _some(lost, min(ITEM_LOOK_UPS, LOOK_UPS - len(asked)))
        return replace(evidence, fates=_fates(service.source, asked))

    def _is_purged(self, service_id: str, known: Known, heard: Heard, evidence: Evidence) -> bool:
        if known.heard_at is None or not loss_detection.has_fallen(known, heard, evidence):
            return False
        with read() as session:
            return is_fall_explained(session, self._explains, service_id, known.heard_at)

    def _declared(self, known: Known) -> list[str]:
        declared: list[str] = []
        for part in slices(known.items.values()):
            declared += [item.job_id for item in part if item.kind != "extra"]
            self._breathe()
        return declared

    def _explained(
        self, service_id: str, known: Known, heard: Heard, absent: list[str], declared: list[str]
    ) -> frozenset[str]:
        """Those of them that are known to have ended since they were seen."""
        asked: set[str] = set()
        since = min(heard.began, known.heard_at or heard.began)
        for ids in slices(chain(absent, declared)):
            asked.update(ids)
            self._breathe()
        for ids in slices(absent):
            since = min([since, *(at for job_id in ids if (at := known.seen_at(job_id)))])
            self._breathe()
        with read() as session:
            return explained(session, self._explains, service_id, asked, since)

    def _let_go(self, tables: list[Mapping[str, Job]]) -> None:
        """Free in slices what nobody else holds any more: a hundred thousand jobs in one go would take 15 ms."""
        while tables:
            jobs = list(tables.pop().values())  # its table goes, its jobs stay
            self._breathe()
            while jobs:
                del jobs[-SLICE:]
                self._breathe()

    def _unanswered(self, evidence: Evidence, absent: Iterable[str]) -> list[str]:
        found: list[str] = []
        for ids in slices(absent):
            found += [job_id for job_id in ids if reconcile.needs_look_up(evidence, job_id)]
            self._breathe()
        return found

    def _second_look(self, source: Source, known: Known, first: Heard, clock: Clock) -> Heard | None:
        """Within a second of the first one. None where it says nothing: not answered, or by another instance."""
        time.sleep(self._second_look_after_s)
        try:
            second = _look(source, clock)
        except SourceError:
            return None
        same = second.look.instance_id == first.look.instance_id
        return second if same and not reconcile.is_rewound(known, second) else None


def _look(source: Source, clock: Clock) -> Heard:
    began = clock.now()
    try:
        look = source.look()
    except SourceError:
        raise
    except Exception as error:  # a mistake in a kind of source makes its services stale, not silently old
        log.exception("a source failed in a way of its own")
        raise SourceError(NOT_HANDLED) from error
    return Heard(look, began, clock.now())


def _some(job_ids: list[str], most: int) -> list[str]:
    """By chance, so that ids which the service cannot answer for do not keep the others waiting."""
    return job_ids if len(job_ids) <= most else random.sample(job_ids, most)


def _fates(source: Source, job_ids: Sequence[str]) -> dict[str, JobFate]:
    fates: dict[str, JobFate] = {}
    deadline = time.monotonic() + LOOK_UP_S
    for job_id in job_ids:
        if time.monotonic() >= deadline:
            break
        fates[job_id] = source.look_up(job_id)
    return fates
