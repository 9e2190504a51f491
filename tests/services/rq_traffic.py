"""What a busy, healthy RQ does all day: jobs of every sort, put into several queues while workers take them."""

import random
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from rq import Queue, Repeat, Retry

from tests.services.rq_scene import Scene
from tests.support.machine import scaled

QUEUES = ("mail", "pictures", "reports")
BACKLOG = 150
UNFINISHED = ("queue", "scheduled", "deferred", "wip")  # as RQ names the keys of a queue


class Traffic:
    """Enqueues from another thread, so that some jobs always wait."""

    def __init__(self, scene: Scene) -> None:
        self._scene, self._over = scene, threading.Event()
        self._random = random.Random(7)
        self._sorts: dict[Callable[[Queue, str], Any], int] = {
            self._put_success: 45,
            self._put_failure: 10,
            self._put_retried: 5,
            self._put_retried_later: 5,
            self._put_forgotten: 10,
            self._put_awaited: 10,
            self._put_scheduled: 10,
            self._put_repeated: 2,
            self._put_again: 10,
        }
        self.put = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Traffic":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(scaled(30))
        assert not self._thread.is_alive()

    def is_done(self) -> bool:
        """Nothing waits, is scheduled or runs any more."""
        keys = [f"rq:{kind}:{name}" for kind in UNFINISHED for name in QUEUES]
        keys += [f"rq:queue:{name}:intermediate" for name in QUEUES]
        return not self._scene.redis.exists(*keys)

    def _run(self) -> None:
        queues = [self._scene.queue(name) for name in QUEUES]
        while not self._over.wait(0.02):
            for queue in queues:
                # Into this one and no other: workers prefer some queues, and the rest would grow without an end.
                while queue.count < BACKLOG // len(QUEUES) and not self._over.is_set():
                    self._put(queue)

    def _put(self, queue: Queue) -> None:
        self.put += 1
        (put,) = self._random.choices(list(self._sorts), list(self._sorts.values()))
        put(queue, f"job{self.put}")

    def _put_success(self, queue: Queue, job_id: str) -> None:
        queue.enqueue("time.sleep", 0, job_id=job_id, at_front=self._random.random() < 0.1)

    def _put_failure(self, queue: Queue, job_id: str) -> None:
        queue.enqueue("int", "x", job_id=job_id, failure_ttl=self._random.choice((None, 2)))

    def _put_retried(self, queue: Queue, job_id: str) -> None:
        queue.enqueue("int", "x", job_id=job_id, retry=Retry(max=2))

    def _put_retried_later(self, queue: Queue, job_id: str) -> None:
        queue.enqueue("int", "x", job_id=job_id, retry=Retry(max=2, interval=[1, 2]))

    def _put_forgotten(self, queue: Queue, job_id: str) -> None:
        """Gone the moment it has ended."""
        queue.enqueue("time.sleep", 0, job_id=job_id, result_ttl=0)

    def _put_awaited(self, queue: Queue, job_id: str) -> None:
        # Not a job that may be finishing just then: RQ 2.12 leaves its execution behind when a dependent arrives.
        queue.enqueue_in(timedelta(seconds=1), "time.sleep", 0, job_id=f"{job_id}first")
        queue.enqueue("time.sleep", 0, job_id=job_id, depends_on=f"{job_id}first")

    def _put_scheduled(self, queue: Queue, job_id: str) -> None:
        queue.enqueue_in(timedelta(seconds=1), "time.sleep", 0, job_id=job_id)

    def _put_repeated(self, queue: Queue, job_id: str) -> None:
        queue.enqueue("time.sleep", 0, job_id=job_id, repeat=Repeat(times=2, interval=1))

    def _put_again(self, queue: Queue, job_id: str) -> None:
        """A job that has ended is enqueued again under its id, as nightly jobs are; or a new one."""
        for ended in self._scene.redis.zrange("rq:finished:reports", -5, -1):
            if self._scene.redis.hget(b"rq:job:" + ended, "status") == b"finished":
                job_id = ended.decode()
                break
        queue.enqueue("time.sleep", 0, job_id=job_id)
