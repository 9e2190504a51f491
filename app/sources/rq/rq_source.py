"""The source of RQ on Redis or Valkey: queues, registries, workers, and anomalies that RQ itself does not notice."""

import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import redis
from pydantic import Field, StringConstraints
from redis.exceptions import ResponseError

from app.infra.concurrency import TimeSlice
from app.sources.protocol import (
    ActionName,
    Capabilities,
    CommandedSource,
    FinishedVisible,
    JobDetail,
    JobLookup,
    JobOptions,
    ServiceSnapshot,
    SourceError,
    StuckJob,
    View,
)
from app.sources.redis.client import FEW_ENTRIES, RedisServer
from app.sources.rq import overdue_jobs
from app.sources.rq.anomalies import AnomalyFinder, find_orphans
from app.sources.rq.job_facts import read_detail, read_facts
from app.sources.rq.job_lookup import find_stuck_jobs, look_up_job
from app.sources.rq.job_ttl import JobTtlCache
from app.sources.rq.placement import place_jobs
from app.sources.rq.rq_commands import RqCommands
from app.sources.rq.rq_snapshot import MAX_QUEUES, read_snapshot
from app.sources.rq.rq_workers import describe_health, find_unserved_queues, list_workers

# A worker of several queues removes a job from its queue a moment before it records the job as its own.
IN_HAND_S = 0.7
_LOOKUP_RETRY_S = 0.1
LOOKUP_TIMEOUT_S = 5.0
_MAX_REMEMBERED_LOST = 10_000
NOT_SUPERVISED = (
    "RQ can tell its workers to stop but cannot start them again; set supervised if a supervisor restarts them"
)


class RqOptions(JobOptions):
    """The settings of an RQ service (docs/sources/rq.md). No `queues` means all."""

    queues: tuple[Annotated[str, StringConstraints(min_length=1, max_length=200)], ...] = Field(
        (), max_length=MAX_QUEUES
    )
    finished_visible_for_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["none"] = 500.0
    supervised: bool = False

    @property
    def finished_visible(self) -> FinishedVisible:
        return None if self.finished_visible_for_s == "none" else self.finished_visible_for_s


class RqSource(CommandedSource):
    """Each poll is one MULTI, and a second one if there are new anomalies to recheck."""

    def __init__(self, server: RedisServer, options: RqOptions, job_list_bound: int) -> None:
        refusals: dict[ActionName | View, str] = {} if options.supervised else {"restart-service": NOT_SUPERVISED}
        super().__init__(
            Capabilities(options.finished_visible, refusals, extras=frozenset({"promote-job"})),
            RqCommands(server, options.queues, job_list_bound),
        )
        self._server, self._queues, self._bound = server, options.queues, job_list_bound
        self._anomalies = AnomalyFinder(options.queues, job_list_bound)
        self._ttls = JobTtlCache()
        self._show_arguments = options.show_arguments
        self._looked_at = 0.0
        self._lost: set[str] = set()

    def read_snapshot(self) -> ServiceSnapshot:
        with self._server.reading() as client:
            began = time.monotonic()
            snapshot = read_snapshot(client, self._queues, self._bound)
            latency_ms = round((time.monotonic() - began) * 1000)
            counted = place_jobs(snapshot, TimeSlice(), self._ttls.update(client, snapshot))
            anomalies = self._anomalies.find(client, snapshot, counted)
            run_id = _read_run_id(client)
        self._looked_at = time.monotonic()
        workers = list_workers(snapshot)
        return ServiceSnapshot(
            counts=counted.counts,
            listings=counted.listings,
            latency_ms=latency_ms,
            instance_id=run_id,
            one_revision=True,
            anomalies=(*anomalies, *overdue_jobs.find_anomaly(snapshot)),
            workers=workers,
            health=describe_health(snapshot),
            queues=snapshot.queues,
            unserved=find_unserved_queues(snapshot, workers),
            left_out=snapshot.names_left_out,
        )

    def look_up(self, job_id: str) -> JobLookup:
        """Return `unknown` only for a job that exists but is in no queue, registry or worker: it will never run.

        A job that does not exist may have finished long ago or been deleted; RQ does not remember.
        """
        try:
            with self._server.reading(LOOKUP_TIMEOUT_S, FEW_ENTRIES) as client:
                fate = look_up_job(client, job_id)
                while fate.kind == "unknown" and job_id not in self._lost and self._may_be_in_hand():
                    time.sleep(_LOOKUP_RETRY_S)
                    fate = look_up_job(client, job_id)
        except SourceError:
            return JobLookup("cannot-tell")
        self._remember_lost(job_id, lost=fate.kind == "unknown")
        return fate

    def detail(self, job_id: str) -> JobDetail | None:
        with self._server.reading(LOOKUP_TIMEOUT_S, FEW_ENTRIES) as client:
            return read_detail(client, job_id, self._show_arguments)

    def read_facts(self, job_ids: Sequence[str]) -> Mapping[str, JobDetail]:
        with self._server.reading() as client:
            return read_facts(client, job_ids)

    def stuck(self) -> Sequence[StuckJob]:
        with self._server.reading() as client:
            snapshot = read_snapshot(client, self._queues, self._bound)
            jobs = next(
                listing.jobs for listing in place_jobs(snapshot, TimeSlice()).listings if listing.state == "started"
            )
            stuck = find_stuck_jobs(client, list(jobs.values()), find_orphans(client, snapshot), snapshot.at)
        return [*stuck, *overdue_jobs.list_stuck(snapshot)]

    def close(self) -> None:
        self._server.close()

    def _may_be_in_hand(self) -> bool:
        return time.monotonic() < self._looked_at + IN_HAND_S

    def _remember_lost(self, job_id: str, *, lost: bool) -> None:
        if not lost or len(self._lost) >= _MAX_REMEMBERED_LOST:
            self._lost.discard(job_id)
        else:
            self._lost.add(job_id)


def _read_run_id(client: redis.Redis) -> str | None:
    """Return the id of the server's run; None if Beacon's user may not read it."""
    try:
        run_id = client.info("server").get("run_id")
    except ResponseError:
        return None
    return run_id if isinstance(run_id, str) else None
