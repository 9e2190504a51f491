"""What a busy, healthy Celery does all day: tasks of every sort, sent while workers take them."""

import time
from collections.abc import Callable, Sequence

from tests.services.celery_scene import Fleet

BACKLOG, FEW = 150, 10
_HEADS_AT_ONCE = 1_000


class Traffic:
    """`ids` are those of the tasks that leave a result; so many more were sent that leave none. `others`: the queues
    beside Celery's own, with less traffic."""

    def __init__(self, fleet: Fleet, others: Sequence[str] = ()) -> None:
        self._fleet, self._others = fleet, others
        self.ids: list[str] = []
        self.without_result = 0

    def keep_up(self, is_over: Callable[[], bool]) -> None:
        """There are always more tasks than the workers have done, but no queue grows."""
        while not is_over():
            if self._fleet.redis.llen("celery") < BACKLOG:
                self._send_many()
                self._send_each("celery")
            for queue in self._others:
                if self._fleet.redis.llen(queue) < FEW:
                    self._send_each(queue)
            time.sleep(0.05)

    def _send_many(self) -> None:
        self.ids += self._fleet.send_many("add", 50, 1, 1)
        self.ids += self._fleet.send_many("nap", 20, 0.02) + self._fleet.send_many("late_nap", 20, 0.02)

    def _send_each(self, queue: str) -> None:
        def send(name: str, *args: float, **options: float) -> str:
            return self._fleet.send(name, *args, queue=queue, **options)

        self.ids += [send("try_again", 0.05), send("fail"), send("add", 1, 1, countdown=2)]
        self.ids += [send("nap", 1.5), send("add", 2, 2, priority=6)]
        send("untold", ignore_result=True)
        self.without_result += 1


def all_ended(fleet: Fleet, ids: Sequence[str]) -> bool:
    return all(
        _is_end(raw)
        for start in range(0, len(ids), _HEADS_AT_ONCE)
        for raw in fleet.redis.mget([f"celery-task-meta-{task_id}" for task_id in ids[start : start + _HEADS_AT_ONCE]])
    )


def _is_end(raw: bytes | None) -> bool:
    return raw is not None and (b'"SUCCESS"' in raw[:40] or b'"FAILURE"' in raw[:40])
