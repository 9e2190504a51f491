"""The life of the jobs: they arrive, wait, run, succeed or fail; a few get stuck; old ones go."""

import random
import time
from collections.abc import Iterator
from datetime import timedelta

from demo.clock import iso
from demo.failures import FAILURES
from demo.job import Job, enqueue, move
from demo.profiles import SHOP, PastFailures, Profile
from demo.store import Store

TICK_S = 0.1
BATCH = 50  # changes in one tick: after a leap of the clock they come in portions

# Seconds at speed 1.
STUCK_AFTER_S = 120.0
STUCK_FOR_S = 600.0

MOST_UNFINISHED = 30
FIRST_JOBS = 12

# Not scaled by the speed: those who watch need the time to see them.
SUCCEEDED_KEPT = timedelta(minutes=10)
FAILED_KEPT = timedelta(hours=1)
REMEMBERED = timedelta(days=7)
SWEEP_EVERY_S = 1.0


class Life:
    """Works on what the store holds only, so a job lost, deleted or rewound is not brought back."""

    def __init__(self, store: Store, speed: float, seed: int | None, profile: Profile = SHOP) -> None:
        self._store = store
        self._profile = profile
        self._speed = speed
        self._random = random.Random(seed)  # noqa: S311 - chance for a show, nothing secret
        self._next_arrival = time.monotonic() + self._pause()
        self._next_sweep = time.monotonic()

    def wake(self) -> None:
        """At the start of the process: nobody runs a job yet, and a new service has some to show."""
        with self._store.transaction():
            requeue_running(self._store)
            if self._store.is_new():
                self._begin_lively()

    def tick(self) -> None:
        self._arrive()
        self._schedule()
        self._move_due()
        self._sweep()

    def _begin_lively(self) -> None:
        jobs = [self._new_job() for _ in range(FIRST_JOBS)]
        started = [move(job, "running", self._store.now()) for job in jobs[::2]]
        self._store.put(*jobs[1::2], *started)
        for past in self._profile.past:
            self._store.put(*self._fail_in_the_past(past))

    def _fail_in_the_past(self, past: PastFailures) -> Iterator[Job]:
        step_min = (past.first_min_ago - past.last_min_ago) / max(past.number - 1, 1)
        for number in range(past.number):
            ended_at = self._store.clock.now() - timedelta(minutes=past.first_min_ago - number * step_min)
            started_at = ended_at - timedelta(seconds=self._random.uniform(*self._profile.run_s))
            job = move(enqueue(past.queue, iso(started_at)), "running", iso(started_at))
            yield move(job, "failed", iso(ended_at), past.failure.text)

    def _new_job(self) -> Job:
        return enqueue(self._random.choice(self._profile.queues), self._store.now())

    def _arrive(self) -> None:
        now = time.monotonic()
        # Not from long ago, so that no crowd arrives after a standstill.
        self._next_arrival = max(self._next_arrival, now - 1)
        while self._next_arrival <= now:
            self._next_arrival += self._pause()
            if len(self._store.oldest_unfinished(MOST_UNFINISHED)) < MOST_UNFINISHED:
                self._store.put(self._new_job())

    def _pause(self) -> float:
        return self._random.expovariate(1 / self._profile.arrival_every_s) / self._speed

    def _schedule(self) -> None:
        with self._store.transaction():
            for job in self._store.unscheduled(BATCH):
                lasts = timedelta(seconds=self._duration(job) / self._speed)
                self._store.schedule(job, self._store.clock.now() + lasts)

    def _duration(self, job: Job) -> float:
        if job.state == "queued":
            return self._random.uniform(*self._profile.wait_s)
        if self._random.random() < self._profile.stuck:
            return STUCK_FOR_S
        return self._random.uniform(*self._profile.run_s)

    def _move_due(self) -> None:
        with self._store.transaction():
            for job in self._store.due(self._store.now(), BATCH):
                self._store.put(self._next_step(job))

    def _next_step(self, job: Job) -> Job:
        now = self._store.now()
        if job.state == "queued":
            return move(job, "running", now)
        if job.started_at and job.started_at <= stuck_before(self._store, self._speed):
            return move(job, "failed", now, "Its worker stopped answering")
        if self._random.random() < self._profile.failing:
            causes = FAILURES.get(job.queue)
            return move(job, "failed", now, self._random.choice(causes).text if causes else "Its worker crashed")
        return move(job, "succeeded", now)

    def _sweep(self) -> None:
        if time.monotonic() < self._next_sweep:
            return
        self._next_sweep = time.monotonic() + SWEEP_EVERY_S
        now = self._store.clock.now()
        with self._store.transaction():
            self._store.remove(self._store.finished_before("succeeded", iso(now - SUCCEEDED_KEPT)))
            self._store.remove(self._store.finished_before("failed", iso(now - FAILED_KEPT)))
            self._store.forget_before(iso(now - REMEMBERED))


def requeue_running(store: Store) -> list[Job]:
    """Whoever ran them is gone, so they wait again; the attempt stays the same."""
    with store.transaction():
        jobs = [move(job, "queued", store.now()) for job in store.in_state("running")]
        store.put(*jobs)
    return jobs


def stuck_threshold_s(speed: float) -> float:
    """Far beyond the longest normal run."""
    return round(STUCK_AFTER_S / speed, 3)


def stuck_before(store: Store, speed: float) -> str:
    """A job running since this moment or longer is stuck."""
    return iso(store.clock.now() - timedelta(seconds=stuck_threshold_s(speed)))
