"""Jobs that wait in a real RQ: enqueued by RQ itself, and no worker is there to take them."""

from collections.abc import Iterable
from contextlib import closing

import redis
from rq import Queue

_ENQUEUED_AT_ONCE = 1_000


def enqueue_jobs(url: str, queues: Iterable[str], jobs: int) -> None:
    """`jobs` in each of the queues."""
    with closing(redis.Redis.from_url(url)) as client:
        for name in queues:
            queue = Queue(name, connection=client)
            for start in range(0, jobs, _ENQUEUED_AT_ONCE):
                count = min(_ENQUEUED_AT_ONCE, jobs - start)
                queue.enqueue_many([Queue.prepare_data("time.sleep", (0,)) for _ in range(count)])
