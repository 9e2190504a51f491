"""Where RQ keeps job ids: the lists and registries of a queue, by the state that they mean."""

from typing import NamedTuple

from rq import Queue
from rq.intermediate_queue import IntermediateQueue
from rq.registry import (
    CanceledJobRegistry,
    DeferredJobRegistry,
    FailedJobRegistry,
    FinishedJobRegistry,
    ScheduledJobRegistry,
    StartedJobRegistry,
)

# In flow order. A job that a worker has taken and not yet started counts as queued, as in RQ.
REGISTRIES = {
    "scheduled": ScheduledJobRegistry.key_template,
    "deferred": DeferredJobRegistry.key_template,
    "started": StartedJobRegistry.key_template,
    "finished": FinishedJobRegistry.key_template,
    "failed": FailedJobRegistry.key_template,
    "canceled": CanceledJobRegistry.key_template,
}
FLOW = ("scheduled", "deferred", "queued", "started", "finished", "failed", "canceled")
FINISHED = frozenset({"finished", "failed", "canceled"})
ENDED = FINISHED | {"stopped"}  # statuses in the job itself; stopped jobs are in the failed registry


class JobPlace(NamedTuple):
    """One list or sorted set of job ids. `taken`: the intermediate list of jobs that workers took from the queue."""

    state: str
    queue: str
    key: str
    is_list: bool = False
    taken: bool = False


def list_places(queue: str) -> list[JobPlace]:
    key = Queue.redis_queue_namespace_prefix + queue
    lists = [
        JobPlace("queued", queue, key, is_list=True),
        JobPlace("queued", queue, IntermediateQueue.get_intermediate_queue_key(key), is_list=True, taken=True),
    ]
    return lists + [JobPlace(state, queue, template.format(queue)) for state, template in REGISTRIES.items()]
