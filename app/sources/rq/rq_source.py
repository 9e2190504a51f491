"""RQ on Redis or Valkey: every queue and registry, the workers, and what RQ itself would not notice."""

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import redis
from pydantic import Field, StringConstraints
from redis.exceptions import ResponseError

from app.infra.concurrency import TimeSlice
from app.sources.protocol import (
    Action,
    Address,
    Capabilities,
    Done,
    Filter,
    FinishedVisible,
    JobDetail,
    JobFate,
    Kind,
    Look,
    Options,
    Order,
    Selection,
    SourceError,
    StuckJob,
    View,
)
from app.sources.redis.client import FEW_ENTRIES, MAX_BYTES, MAX_ENTRIES, RedisServer, check_url
from app.sources.rq import overdue_jobs
from app.sources.rq.anomalies import Oddities, orphans
from app.sources.rq.job_details import detail_of, fate_of, stuck_jobs
from app.sources.rq.job_ttl import Lifetimes
from app.sources.rq.placement import tally
from app.sources.rq.rq_commands import Acts
from app.sources.rq.rq_snapshot import MAX_QUEUES, read_snapshot
from app.sources.rq.rq_workers import health_of, unserved_queues, workers_of

# A worker of several queues takes a job from its queue a moment before it notes that it has it.
IN_HAND_S = 0.7
_ASK_AGAIN_S = 0.1
LOOK_UP_S = 5.0
_LOST_KEPT = 10_000
NOT_SUPERVISED = (
    "RQ can tell its workers to end, not to start again; set supervised for this service if a supervisor does that"
)


class RqOptions(Options):
    """`queues`: which to watch; none named means all. `finished_visible_for_s`: how long workers keep results of jobs
    that do not say it themselves (`--results-ttl`), "none" where that is 0: then one that finished and one that was
    lost look alike. `supervised`: whatever started the workers starts them again when they end, so that telling them
    to end is a restart."""

    queues: tuple[Annotated[str, StringConstraints(min_length=1, max_length=200)], ...] = Field(
        (), max_length=MAX_QUEUES
    )
    finished_visible_for_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["none"] = 500.0
    supervised: bool = False

    @property
    def visible(self) -> FinishedVisible:
        return None if self.finished_visible_for_s == "none" else self.finished_visible_for_s


class RqSource:
    """One look is one MULTI, and a second one where something looks wrong for the first time."""

    def __init__(self, server: RedisServer, options: RqOptions, job_list_bound: int) -> None:
        self._server, self._queues, self._bound = server, options.queues, job_list_bound
        refusals: dict[Action | View, str] = {} if options.supervised else {"restart-service": NOT_SUPERVISED}
        self._capabilities = Capabilities(options.visible, refusals)
        self._acts = Acts(server, options.queues, job_list_bound)
        self._oddities = Oddities(options.queues, job_list_bound)
        self._lifetimes = Lifetimes()
        self._looked_at = 0.0
        self._lost: set[str] = set()

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    def look(self) -> Look:
        with self._server.reading() as client:
            began = time.monotonic()
            snapshot = read_snapshot(client, self._queues, self._bound)
            latency_ms = round((time.monotonic() - began) * 1000)
            counted = tally(snapshot, TimeSlice(), self._lifetimes.follow(client, snapshot))
            oddities = self._oddities.find(client, snapshot, counted)
            run_id = _run_id(client)
        self._looked_at = time.monotonic()
        workers = workers_of(snapshot)
        return Look(
            counts=counted.counts,
            listings=counted.listings,
            latency_ms=latency_ms,
            instance_id=run_id,
            one_revision=True,
            oddities=(*oddities, *overdue_jobs.oddity_of(snapshot)),
            workers=workers,
            health=health_of(snapshot),
            queues=snapshot.queues,
            unserved=unserved_queues(snapshot, workers),
        )

    def look_up(self, job_id: str) -> JobFate:
        """`unknown` only of a job that exists, is nowhere, and is in no worker's hands: it will never run.

        One that does not exist may have finished long ago or been deleted; RQ does not remember.
        """
        try:
            with self._server.reading(LOOK_UP_S, FEW_ENTRIES) as client:
                fate = fate_of(client, job_id)
                while fate.kind == "unknown" and job_id not in self._lost and self._may_be_in_hand():
                    time.sleep(_ASK_AGAIN_S)
                    fate = fate_of(client, job_id)
        except SourceError:
            return JobFate("cannot-tell")
        self._remember(job_id, lost=fate.kind == "unknown")
        return fate

    def detail(self, job_id: str) -> JobDetail | None:
        with self._server.reading(LOOK_UP_S, FEW_ENTRIES) as client:
            return detail_of(client, job_id)

    def stuck(self) -> Sequence[StuckJob]:
        with self._server.reading() as client:
            snapshot = read_snapshot(client, self._queues, self._bound)
            jobs = next(listing.jobs for listing in tally(snapshot, TimeSlice()).listings if listing.state == "started")
            stuck = stuck_jobs(client, list(jobs.values()), orphans(client, snapshot), snapshot.at)
        return [*stuck, *overdue_jobs.stuck_of(snapshot)]

    def act(self, order: Order) -> Done:
        why_not = self._capabilities.why_not(order.action)
        return Done("refused", why_not) if why_not else self._acts.act(order)

    def settle(self, order: Order, asked_at: datetime) -> Done | None:
        return self._acts.settle(order, asked_at)

    def shows(self, order: Order, asked_at: datetime) -> bool:
        return self._acts.shows(order, asked_at)

    def select(self, wanted: Filter, limit: int) -> Selection:
        return self._acts.select(wanted, limit)

    def close(self) -> None:
        self._server.close()

    def _may_be_in_hand(self) -> bool:
        return time.monotonic() < self._looked_at + IN_HAND_S

    def _remember(self, job_id: str, *, lost: bool) -> None:
        if not lost or len(self._lost) >= _LOST_KEPT:
            self._lost.discard(job_id)
        else:
            self._lost.add(job_id)


def _run_id(client: redis.Redis) -> str | None:
    """Which run of the server answers; None where Beacon's user may not ask."""
    try:
        told = client.info("server").get("run_id")
    except ResponseError:
        return None
    return told if isinstance(told, str) else None


def _build(address: Address, options: Any, job_list_bound: int) -> RqSource:
    # As many jobs as the bound has, with ids of usual length, and all of it read twice, take 150 bytes for each.
    most = {"max_bytes": MAX_BYTES + 500 * job_list_bound, "max_entries": MAX_ENTRIES + 8 * job_list_bound}
    server = RedisServer(address, **most)
    return RqSource(server, options, job_list_bound)


KIND = Kind(
    name="rq",
    about="Queues of RQ (Python) on Redis or Valkey.",
    url_example="redis://host:6379/0",
    check_url=check_url,
    options=RqOptions,
    build=_build,
)
