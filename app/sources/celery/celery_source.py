"""The source of Celery over Redis: queues, tasks that workers took and, with a result backend, how tasks ended.

**Reading writes nothing**; only `execute` does (`celery_commands.py`). Queues and `unacked` are read in one `MULTI`,
results with `GETRANGE`; worker events come by subscription. The one exception is the requests to workers. They affect
no task, and `inspect = false` disables them; `remote_control.py` lists their commands.

docs/sources/celery.md says when a vanished task is missing.
"""

import time
from collections.abc import Mapping, Sequence

from redis.connection import parse_url

from app.sources.celery.broker import MAX_MESSAGE_BYTES, Broker, BrokerSnapshot
from app.sources.celery.celery_commands import CeleryCommands
from app.sources.celery.celery_workers import ROSTER_FRESH_S, Roster
from app.sources.celery.failure_count import FailureCount
from app.sources.celery.monitor import WorkerMonitor
from app.sources.celery.options import CeleryOptions
from app.sources.celery.overdue_tasks import OverdueTasks, find_overdue
from app.sources.celery.remote_control import RemoteControl
from app.sources.celery.results import ENDS, Results
from app.sources.celery.storage import CeleryStorage
from app.sources.celery.task_details import build_detail, build_facts, find_stuck, list_workers
from app.sources.celery.task_history import TaskHistory
from app.sources.celery.task_lookup import ANSWERS_WITHIN_S, TaskLookup
from app.sources.protocol import (
    ActionName,
    Anomaly,
    Capabilities,
    CommandedSource,
    Job,
    JobDetail,
    JobLookup,
    Listing,
    ServiceAddress,
    ServiceSnapshot,
    SourceError,
    StuckJob,
    UnservedQueue,
    View,
)
from app.sources.redis.client import MAX_BYTES, MAX_ENTRIES, RedisServer, check_url

REFUSALS: dict[ActionName | View, str] = {
    "retry-job": "Celery does not keep the arguments of an ended task, so Beacon cannot send it again",
    "restart-service": "Workers restart on request only with worker_pool_restarts, and not every pool supports it; "
    "restart them on their host",
}
# Limit for one round of answers from all workers, which include the arguments of the tasks they hold.
MAX_ANSWERS_BYTES = 16 * 1024 * 1024
NOT_ASKED = "inspect is off for this service, so its workers are unknown"


class CelerySource(CommandedSource):
    """Reads tasks in the states `queued` (in a list), `scheduled` (taken by a worker and held until their ETA),
    `reserved` (taken and not acknowledged) and `running` (as workers report)."""

    def __init__(self, address: ServiceAddress, options: CeleryOptions, job_list_bound: int) -> None:
        def ask() -> RedisServer:
            return RedisServer(address, max_bytes=MAX_ANSWERS_BYTES)

        prefix = options.global_keyprefix
        self._visibility_timeout_s = options.visibility_timeout_s
        self._show_arguments = options.show_arguments
        self._broker = Broker(options.queues, options.priority_steps, options.separator, prefix, job_list_bound)
        server = RedisServer(
            address, max_bytes=MAX_BYTES + 2 * MAX_MESSAGE_BYTES, max_entries=MAX_ENTRIES + 8 * job_list_bound
        )
        self._storage = CeleryStorage(
            server, _make_backend(server, address, options), self._broker, Results(options.result_keyprefix)
        )
        self._monitor: WorkerMonitor | None = None
        if options.inspect:
            self._monitor = WorkerMonitor(ask, RemoteControl(_database_number(address), prefix))
        self._history, self._overdue = TaskHistory(), OverdueTasks()
        kept_s = options.finished_visible_for_s
        self._lookup = TaskLookup(self._storage, self._broker, self._history, self._monitor, kept_s)
        refusals = REFUSALS if options.inspect else {**REFUSALS, "workers": NOT_ASKED}
        super().__init__(
            Capabilities("lookup" if self._storage.keeps_results else None, refusals),
            CeleryCommands(server, self._broker, prefix),
        )

    def read_snapshot(self) -> ServiceSnapshot:
        began = time.monotonic()
        roster = self._monitor.latest_roster() if self._monitor else Roster()
        snapshot, seen_at = self._storage.read_snapshot(), time.time()
        is_fresh = seen_at - roster.at < ROSTER_FRESH_S
        running = self._find_running(roster, snapshot) if is_fresh else {}
        ended = self._update_history(snapshot, running, seen_at)
        listings = self._build_listings(snapshot, running, ended)
        taken = {task_id: taken.at for task_id, taken in snapshot.taken.items() if taken.at is not None}
        orphans = roster.find_orphans(taken)
        failed = self._storage.count_failures()
        return ServiceSnapshot(
            counts=_count_tasks(snapshot, listings, failed),
            not_told={} if failed.number is not None else {"failed": failed.why},
            counts_as_of={"failed": failed.as_of} if failed.as_of and failed.lags else {},
            listings=listings,
            latency_ms=round((time.monotonic() - began) * 1000),
            instance_id=snapshot.instance_id,
            as_of=snapshot.as_of,
            one_revision=True,
            anomalies=(
                *_find_anomalies(snapshot, self._history.find_unbacked(snapshot), orphans),
                *self._overdue.find(snapshot, roster, seen_at),
            ),
            workers=list_workers(roster, orphans, seen_at),
            unserved=_find_unserved(snapshot, roster.served_queues() if is_fresh else None),
            queues=snapshot.bindings,
            queues_outlive_work=True,
            failed=None if failed.number is None else self._storage.find_task_ids(failed.keys),
        )

    def look_up(self, job_id: str) -> JobLookup:
        if not self._storage.keeps_results:
            return JobLookup("cannot-tell")
        try:
            return self._lookup.look_up(job_id)
        except SourceError:
            return JobLookup("cannot-tell")

    def detail(self, job_id: str) -> JobDetail | None:
        snapshot = self._storage.read_snapshot()
        ended = self._storage.read_result(job_id)
        return build_detail(job_id, snapshot, ended, self._storage.find_call(job_id), self._show_arguments)

    def read_facts(self, job_ids: Sequence[str]) -> Mapping[str, JobDetail]:
        found = self._storage.read_results(job_ids)
        return {task_id: build_facts(task_id, ended) for task_id, ended in found.items()}

    def stuck(self) -> Sequence[StuckJob]:
        snapshot = self._storage.read_snapshot()
        if snapshot.taken_cut:
            raise SourceError("has more tasks than Beacon lists, so the stuck ones are unknown")
        now = time.time()
        late = find_overdue(snapshot, now)
        roster = self._monitor.wait_for_roster(now, ANSWERS_WITHIN_S) if late and self._monitor else None
        runs = roster.running_tasks() if roster else {}
        return [
            *find_stuck(snapshot, self._visibility_timeout_s, now),
            *(one for one in late if one.job.id not in runs),
        ]

    def close(self) -> None:
        if self._monitor is not None:
            self._monitor.close()
        self._storage.close()

    def _find_running(self, roster: Roster, snapshot: BrokerSnapshot) -> dict[str, Job]:
        """Return the tasks that workers report as running, except those that are in a queue again."""
        return {
            task_id: Job(task_id, "running", task.route, _find_attempt(snapshot, task_id))
            for task_id, (_, task) in roster.running_tasks().items()
            if task_id not in snapshot.queued and self._broker.is_watched_route(task.route)
        }

    def _build_listings(
        self, snapshot: BrokerSnapshot, running: Mapping[str, Job], ended: Mapping[str, Job]
    ) -> tuple[Listing, ...]:
        taken = self._history.list_jobs(task_id for task_id in snapshot.taken if task_id not in running)
        scheduled = {task_id: job for task_id, job in taken.items() if job.state == "scheduled"}
        reserved = {task_id: job for task_id, job in taken.items() if job.state != "scheduled"}
        unfinished = (
            Listing(
                "queued",
                False,
                self._history.list_jobs(snapshot.queued),
                not snapshot.cut,
                snapshot.left_out["queued"],
                snapshot.cut,
            ),
            Listing("scheduled", False, scheduled, not snapshot.taken_cut),
            Listing("reserved", False, reserved, not snapshot.taken_cut, snapshot.left_out["reserved"]),
            Listing("running", False, running),
        )
        return (*unfinished, Listing("ended", True, ended)) if self._storage.keeps_results else unfinished

    def _update_history(self, snapshot: BrokerSnapshot, running: dict[str, Job], at: float) -> dict[str, Job]:
        """Update the task history. Returns the tasks that have just ended and removes them from `running`."""
        gone = self._history.update(snapshot, at)
        elsewhere = [task_id for task_id in {*gone, *running} if task_id not in snapshot]
        states = self._storage.read_states(elsewhere)
        ends = {task_id: ENDS[state] for task_id, state in states.items() if state in ENDS}
        for task_id in ends:
            running.pop(task_id, None)
        self._history.record_ends(ends, at)
        self._history.record_running(running.values(), at)
        left = [task_id for task_id in gone if task_id not in ends and task_id not in running]
        self._forget_untraceable(left, at)
        self._lookup.start(self._history.record_gone(left, at))
        if left and self._monitor is not None:
            self._monitor.request_inspection()
        return self._history.list_ended()

    def _forget_untraceable(self, left: list[str], at: float) -> None:
        """Drop vanished tasks that leave no result; without a result backend, all of them."""
        for task_id in left:
            record = self._history.find_record(task_id)
            if not self._storage.keeps_results:
                self._history.forget(task_id)
            elif record is not None and not record.keeps_result:
                self._history.record_ends({task_id: "gone"}, at)


def _count_tasks(snapshot: BrokerSnapshot, listings: Sequence[Listing], failed: FailureCount) -> dict[str, int]:
    """Count each taken task once, whether it is acknowledged early or late: as running, scheduled or reserved."""
    listed = {listing.state: len(listing.jobs) for listing in listings}
    elsewhere = len(snapshot.taken) - listed["reserved"]
    counts = {
        "queued": snapshot.counts["queued"],
        "scheduled": listed["scheduled"],
        "reserved": snapshot.counts["reserved"] - elsewhere,
        "running": listed["running"],
    }
    return counts if failed.number is None else {**counts, "failed": failed.number}


def _find_anomalies(snapshot: BrokerSnapshot, unbacked: Sequence[str], orphans: set[str]) -> tuple[Anomaly, ...]:
    unindexed = [task_id for task_id, taken in snapshot.taken.items() if taken.at is None]
    found = (
        Anomaly("dangling", tuple(sorted({*unbacked, *unindexed}))),
        Anomaly("duplicate", snapshot.twice),
        Anomaly("orphaned", tuple(sorted(orphans))),
    )
    return tuple(anomaly for anomaly in found if anomaly.job_ids)


def _find_unserved(snapshot: BrokerSnapshot, served: frozenset[str] | None) -> tuple[UnservedQueue, ...] | None:
    if served is None:
        return None
    waiting = snapshot.waiting.items()
    return tuple(UnservedQueue(queue, number) for queue, number in waiting if number and queue not in served)


def _find_attempt(snapshot: BrokerSnapshot, task_id: str) -> int | None:
    taken = snapshot.taken.get(task_id)
    return taken.message.attempt if taken else None


def _make_backend(server: RedisServer, address: ServiceAddress, options: CeleryOptions) -> RedisServer | None:
    if isinstance(options.result_backend, str):
        own = check_url(options.result_backend)
        return RedisServer(ServiceAddress(own.url, address.password, address.reach))
    return server if options.result_backend else None


def _database_number(address: ServiceAddress) -> int:
    return int(parse_url(address.url).get("db", 0))  # type: ignore[no-untyped-call]
