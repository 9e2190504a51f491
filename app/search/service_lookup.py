"""Asks services for a job that Beacon does not know, several at a time, until the time is up."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

import sqlalchemy as sa
from sqlalchemy.orm import undefer

from app.db import read
from app.infra.concurrency import iterate_in_slices, yield_to_loop
from app.reconciliation import registry
from app.reconciliation.models import Service
from app.search.search_hits import Hit
from app.sources.on_demand import MAX_CONCURRENT_REQUESTS, TooManyRequests, query_source
from app.sources.protocol import JobDetail, Source, SourceError

# Of all requests that one worker sends for people, its searches take half: the pages of jobs need the others. One that
# hangs counts until it ends by itself.
MAX_ASKED_AT_ONCE = MAX_CONCURRENT_REQUESTS // 2
_MIN_REQUEST_S = 0.02
_slots = threading.BoundedSemaphore(MAX_ASKED_AT_ONCE)


@dataclass(frozen=True, slots=True)
class AskableService:
    """`make` is None if this kind of service cannot be asked for a single job."""

    service_id: str
    make: Callable[[], Source] | None


@dataclass(frozen=True, slots=True)
class LookupResult:
    hits: Sequence[Hit]
    not_answered: Sequence[str]


def list_askable(job_list_bound: int) -> list[AskableService]:
    """All watched services. Building the source of each takes a moment, so other requests run in between."""
    with read() as session:
        watched = sa.select(Service).where(Service.removed_at.is_(None)).order_by(Service.name, Service.id)
        rows = session.scalars(watched.options(undefer(Service.password))).all()
    return [_make_askable(row, job_list_bound) for row in iterate_in_slices(rows)]


def _make_askable(row: Service, job_list_bound: int) -> AskableService:
    if registry.capabilities_of(row).why_not("detail"):
        return AskableService(row.id, None)
    return AskableService(row.id, registry.source_maker(row, job_list_bound))


def ask_services(services: Sequence[AskableService], job_id: str, ends_at: float) -> LookupResult:
    """Those that have not answered by `ends_at` are named. The caller must hold no database connection."""
    waiting: SimpleQueue[AskableService] = SimpleQueue()
    for service in services:
        waiting.put(service)
    answers: dict[str, JobDetail | None] = {}
    threads = [
        threading.Thread(target=_ask_in_turn, args=(waiting, job_id, ends_at, answers), name="search", daemon=True)
        for _ in range(min(MAX_ASKED_AT_ONCE, len(services)))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:  # each ends by itself in time: so does every request
        thread.join()
    hits = [_build_hit(service_id, job_id, detail) for service_id, detail in answers.items() if detail is not None]
    return LookupResult(hits, [one.service_id for one in services if one.service_id not in answers])


def _ask_in_turn(
    waiting: "SimpleQueue[AskableService]", job_id: str, ends_at: float, answers: dict[str, JobDetail | None]
) -> None:
    while True:
        try:
            service = waiting.get_nowait()
        except Empty:
            return
        yield_to_loop()  # those that refuse at once, or cannot be asked, let nobody else run
        left = ends_at - _MIN_REQUEST_S - time.monotonic()
        if service.make is None or left <= 0 or not _slots.acquire(timeout=left):
            continue
        counted = _CountedRequest(service.make, job_id)
        try:
            left = max(_MIN_REQUEST_S, ends_at - time.monotonic())
            answers[service.service_id] = query_source(counted.make, counted.ask, left, service_id=service.service_id)
        except TooManyRequests:
            _slots.release()  # it was not sent
        except SourceError:
            continue


class _CountedRequest:
    """One request that gives its slot back when it has ended, which may be long after the search."""

    def __init__(self, make: Callable[[], Source], job_id: str) -> None:
        self._make, self._job_id = make, job_id

    def make(self) -> Source:
        try:
            return self._make()
        except BaseException:
            _slots.release()
            raise

    def ask(self, source: Source) -> JobDetail | None:
        try:
            return source.detail(self._job_id)
        finally:
            _slots.release()


def _build_hit(service_id: str, job_id: str, detail: JobDetail) -> Hit:
    error = detail.error
    facts = {
        "queue": detail.job.queue,
        "function": detail.function,
        "errorType": error.type if error else None,
        "message": error.message if error else None,
    }
    return Hit("job", job_id, detail.job.state, service_id, facts=facts)
