"""Jobs that failed in a real RQ: what RQ itself writes for each when it fails, with as many causes as are asked for."""

from contextlib import closing
from datetime import UTC, datetime

import redis
from rq import Queue
from rq.job import JobStatus
from rq.results import Result

AT_ONCE = 500
TTL_S = 86_400
TRACEBACK = """Traceback (most recent call last):
  File "/usr/lib/python3/dist-packages/rq/worker.py", line 1431, in perform_job
    rv = job.perform()
  File "/srv/shop/part{cause}.py", line 42, in send
    deliver(order)
ConnectionError: order {number} was refused
"""


def fail_jobs(url: str, name: str, jobs: int, causes: int) -> None:
    """They are in the failed registry of the queue and in no other list."""
    with closing(redis.Redis.from_url(url)) as client:
        queue = Queue(name, connection=client)
        for start in range(0, jobs, AT_ONCE):
            _fail(queue, range(start, min(start + AT_ONCE, jobs)), causes)


def _fail(queue: Queue, numbers: range, causes: int) -> None:
    with queue.connection.pipeline() as pipe:
        pipe.sadd(queue.redis_queues_keys, queue.key)  # as `enqueue` does
        for number in numbers:
            job = queue.create_job(f"shop.part{number % causes}.send", args=(number,), job_id=f"failed-{number:05}")
            job.started_at = job.ended_at = datetime.now(UTC)
            job.set_status(JobStatus.FAILED, pipeline=pipe)
            text = TRACEBACK.format(cause=number % causes, number=number)
            queue.failed_job_registry.add(job, exc_string=text, pipeline=pipe)
            Result.create_failure(job, TTL_S, exc_string=text, pipeline=pipe)
        pipe.execute()


def hide_failed(url: str, name: str) -> None:
    _rename(url, f"rq:failed:{name}", f"hidden:{name}")


def show_failed(url: str, name: str) -> None:
    """All of them at once, as after a night in which nobody looked."""
    _rename(url, f"hidden:{name}", f"rq:failed:{name}")


def _rename(url: str, key: str, other: str) -> None:
    with closing(redis.Redis.from_url(url)) as client:
        client.rename(key, other)
