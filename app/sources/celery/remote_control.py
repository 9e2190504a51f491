"""Celery's remote control, spoken over a bounded connection: who is connected, and what workers have in their hands.

Kombu's own mailbox does the same with bindings, expiring queues and scripts written into the broker, over connections
without a bound of bytes. Here the only traces are these, all apart from every task queue and from `unacked`:

- `PUBLISH` to the workers' control channel. It stores nothing. An empty message, which every worker ignores, counts
  them; a question has them answer.
- The workers push their answers onto one list, `beacon.<random>.reply.celery.pidbox`, and `BRPOP` takes them off.
  A list of Redis that is empty is gone. An answer that comes too late is taken off the next time, or with `DEL` at
  the end.
"""

import base64
import json
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from app.infra import json_limits
from app.infra.concurrency import iterate_in_slices
from app.sources.celery.celery_workers import Answer, Inspection, Running
from app.sources.celery.messages import MAX_NAME_CHARS, is_usable_id

if TYPE_CHECKING:
    import redis

ANSWER_S = 1.0
# More answers than this in one round are not taken: whatever asks for more is no set of workers.
MAX_ANSWERS = 3_000
# Of one answer: some ten thousand tasks in the hands of one worker. One that says more is taken for silent.
MAX_VALUES = 200_000
_ASKED = ("active_queues", "reserved", "active")


class Pidbox:
    """Asks, with a client that is lent for each call."""

    def __init__(self, database: int, prefix: str) -> None:
        self._channel = f"{prefix}/{database}.celery.pidbox"
        self.events = f"{prefix}/{database}.celeryev/worker.*"
        self._reply_to = f"beacon.{uuid4().hex}.reply.celery.pidbox"
        self._replies = prefix + self._reply_to
        self._was_asked = False

    def count(self, client: "redis.Redis") -> int:
        """How many workers are connected."""
        return int(client.publish(self._channel, b""))

    def inspect(self, client: "redis.Redis") -> Inspection:
        """Every connected worker's queues and tasks. One that is busy with itself may not answer in time."""
        began = time.time()
        asked = self.count(client)
        if asked == 0:
            return Inspection(began, 0, {})
        self._was_asked = True
        tickets = {uuid4().hex: method for method in _ASKED}  # reserved first: that is how tasks move on
        asked = max(asked, *(int(client.publish(self._channel, self._question(*each))) for each in tickets.items()))
        heard = self._collect(client, tickets, asked)
        both = heard["reserved"].keys() & heard["active"].keys()
        return Inspection(began, asked, {name: _answer(heard, name) for name in both})

    def tidy(self, client: "redis.Redis") -> None:
        """Take off what may have been pushed since."""
        if self._was_asked:
            client.delete(self._replies)

    def _question(self, ticket: str, method: str) -> bytes:
        arguments = {"safe": True} if method == "active" else {}  # arguments of tasks shortened to one line
        body = {
            "method": method,
            "arguments": arguments,
            "destination": None,
            "pattern": None,
            "matcher": None,
            "ticket": ticket,
            # The exchange without a name puts a message straight onto the list that the key names: no binding.
            "reply_to": {"exchange": "", "routing_key": self._reply_to},
        }
        return json.dumps(
            {
                "body": base64.b64encode(json.dumps(body).encode()).decode(),
                "content-encoding": "utf-8",
                "content-type": "application/json",
                "headers": {"clock": 1, "expires": time.time() + ANSWER_S},
                "properties": {
                    "delivery_mode": 1,
                    "delivery_info": {"exchange": "celery.pidbox", "routing_key": ""},
                    "priority": 0,
                    "body_encoding": "base64",
                    "delivery_tag": ticket,
                },
            }
        ).encode()

    def _collect(
        self, client: "redis.Redis", tickets: Mapping[str, str], asked: int
    ) -> dict[str, dict[str, list[Any]]]:
        heard: dict[str, dict[str, list[Any]]] = {method: {} for method in _ASKED}
        deadline = time.monotonic() + ANSWER_S
        for _ in range(MAX_ANSWERS):
            left = deadline - time.monotonic()
            if left <= 0 or all(len(answers) >= asked for answers in heard.values()):
                break
            popped = client.brpop([self._replies], timeout=max(left, 0.01))
            ticket, answers = _reply(popped[1]) if popped else ("", {})
            if ticket in tickets:
                heard[tickets[ticket]].update(answers)
        return heard


def announcement(raw: object) -> tuple[str, str, int | None] | None:
    """What a worker said of itself: kind, name, process. None for anything else."""
    body = _body(raw)
    if not isinstance(body, dict):
        return None
    kind, name, pid = body.get("type"), body.get("hostname"), body.get("pid")
    if not isinstance(kind, str) or not is_usable_id(name):
        return None
    return kind, str(name), pid if isinstance(pid, int) else None


def _reply(raw: object) -> tuple[str, dict[str, list[Any]]]:
    """The ticket and, by worker, the list that came. Answers to older questions come too."""
    outer, body = _loads(raw), _body(raw)
    headers = outer.get("headers") if isinstance(outer, dict) else None
    ticket = headers.get("ticket") if isinstance(headers, dict) else None
    if not isinstance(ticket, str) or not isinstance(body, dict):
        return "", {}
    return ticket, {name: tasks for name, tasks in body.items() if is_usable_id(name) and isinstance(tasks, list)}


def _answer(heard: Mapping[str, Mapping[str, list[Any]]], name: str) -> Answer:
    active = {task["id"]: _running(task) for task in iterate_in_slices(heard["active"][name]) if _is_task(task)}
    reserved = frozenset(task["id"] for task in iterate_in_slices(heard["reserved"][name]) if _is_task(task))
    told = heard["active_queues"].get(name)
    return Answer(time.time(), reserved, active, queues=None if told is None else frozenset(_names(told)))


def _names(queues: list[Any]) -> Iterator[str]:
    for queue in queues:
        name = queue.get("name") if isinstance(queue, dict) else None
        if isinstance(name, str):
            yield name


def _running(task: Mapping[str, Any]) -> Running:
    name, info, started = task.get("name"), task.get("delivery_info"), task.get("time_start")
    route = info.get("routing_key") if isinstance(info, dict) else None
    return Running(
        name[:MAX_NAME_CHARS] if isinstance(name, str) else "",
        route if isinstance(route, str) else "",
        float(started) if isinstance(started, int | float) else None,
    )


def _is_task(task: object) -> bool:
    return isinstance(task, dict) and is_usable_id(task.get("id"))


def _body(raw: object) -> Any:
    outer = _loads(raw)
    if not isinstance(outer, dict) or not isinstance(outer.get("body"), str):
        return None
    try:
        return _loads(base64.b64decode(outer["body"]))
    except ValueError:
        return None


def _loads(raw: object) -> Any:
    try:
        return json_limits.loads(raw, MAX_VALUES) if isinstance(raw, bytes) else None
    except ValueError:
        return None
