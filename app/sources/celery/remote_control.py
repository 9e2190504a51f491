"""Celery's remote control over a bounded connection: which workers are connected and which tasks they hold.

Kombu's own mailbox does the same with bindings, expiring queues and scripts in the broker, over connections without a
byte limit. Here these are the only traces, all separate from every task queue and from `unacked`:

- `PUBLISH` to the workers' control channel, which stores nothing. An empty message, which every worker ignores, counts
  the workers; a request makes them answer.
- The workers push their answers to one list, `beacon.<random>.reply.celery.pidbox`, and `BRPOP` removes them. Redis
  deletes empty lists. A late answer is removed the next time, or with `DEL` at the end.
"""

import base64
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

import redis

from app.infra.concurrency import iterate_in_slices
from app.sources.celery.celery_workers import Inspection, RunningTask, WorkerAnswer
from app.sources.celery.messages import MAX_NAME_CHARS, parse_json
from app.sources.protocol import clean_text, find_job_id_fault

ANSWER_S = 1.0
# Limit on answers in one round; no real set of workers sends more.
MAX_ANSWERS = 3_000
# Limit for one answer: about ten thousand tasks of one worker. A worker that sends more counts as silent.
MAX_VALUES = 200_000
_METHODS = ("active_queues", "reserved", "active")


class RemoteControl:
    """Sends remote control requests with a client that is passed to each call."""

    def __init__(self, database: int, prefix: str) -> None:
        self._channel = f"{prefix}/{database}.celery.pidbox"
        self.events = f"{prefix}/{database}.celeryev/worker.*"
        self._reply_to = f"beacon.{uuid4().hex}.reply.celery.pidbox"
        self._replies = prefix + self._reply_to
        self._was_asked = False

    def count_workers(self, client: redis.Redis) -> int:
        """Return how many workers are connected."""
        return int(client.publish(self._channel, b""))

    def inspect(self, client: redis.Redis) -> Inspection:
        """Ask every connected worker for its queues and tasks. A busy worker may not answer in time."""
        began = time.time()
        asked = self.count_workers(client)
        if asked == 0:
            return Inspection(began, 0, {})
        self._was_asked = True
        tickets = {uuid4().hex: method for method in _METHODS}  # reserved before active: tasks move in this order
        asked = max(
            asked, *(int(client.publish(self._channel, self._build_request(*each))) for each in tickets.items())
        )
        replies = self._collect_replies(client, tickets, asked)
        both = replies["reserved"].keys() & replies["active"].keys()
        return Inspection(began, asked, {name: _build_answer(replies, name) for name in both})

    def delete_replies(self, client: redis.Redis) -> None:
        """Delete answers that may have come in late."""
        if self._was_asked:
            client.delete(self._replies)

    def _build_request(self, ticket: str, method: str) -> bytes:
        arguments = {"safe": True} if method == "active" else {}  # shortens the arguments of tasks to one line
        body = {
            "method": method,
            "arguments": arguments,
            "destination": None,
            "pattern": None,
            "matcher": None,
            "ticket": ticket,
            # The unnamed exchange puts a message directly into the list that the key names, without a binding.
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

    def _collect_replies(
        self, client: redis.Redis, tickets: Mapping[str, str], asked: int
    ) -> dict[str, dict[str, list[Any]]]:
        replies: dict[str, dict[str, list[Any]]] = {method: {} for method in _METHODS}
        deadline = time.monotonic() + ANSWER_S
        for _ in range(MAX_ANSWERS):
            left = deadline - time.monotonic()
            if left <= 0 or all(len(answers) >= asked for answers in replies.values()):
                break
            popped = client.brpop([self._replies], timeout=max(left, 0.01))
            ticket, answers = _parse_reply(popped[1]) if popped else ("", {})
            if ticket in tickets:
                replies[tickets[ticket]].update(answers)
        return replies


def parse_announcement(raw: object) -> tuple[str, str, int | None] | None:
    """Parse a worker event to its kind, worker name and process id. None for anything else."""
    body = _decode_body(raw)
    if not isinstance(body, dict):
        return None
    kind, name, pid = body.get("type"), body.get("hostname"), body.get("pid")
    if not isinstance(kind, str) or find_job_id_fault(name):
        return None
    return kind, str(name), pid if isinstance(pid, int) else None


def _parse_reply(raw: object) -> tuple[str, dict[str, list[Any]]]:
    """Parse an answer to its ticket and the list by worker. Answers to older requests can come too."""
    outer, body = parse_json(raw, MAX_VALUES), _decode_body(raw)
    headers = outer.get("headers") if isinstance(outer, dict) else None
    ticket = headers.get("ticket") if isinstance(headers, dict) else None
    if not isinstance(ticket, str) or not isinstance(body, dict):
        return "", {}
    named = {name: tasks for name, tasks in body.items() if not find_job_id_fault(name)}
    return ticket, {name: tasks for name, tasks in named.items() if isinstance(tasks, list)}


def _build_answer(replies: Mapping[str, Mapping[str, list[Any]]], name: str) -> WorkerAnswer:
    active = {task["id"]: _parse_running(task) for task in iterate_in_slices(replies["active"][name]) if _is_task(task)}
    reserved = frozenset(task["id"] for task in iterate_in_slices(replies["reserved"][name]) if _is_task(task))
    queues = replies["active_queues"].get(name)
    return WorkerAnswer(
        time.time(), reserved, active, queues=None if queues is None else frozenset(_queue_names(queues))
    )


def _queue_names(queues: list[Any]) -> Iterator[str]:
    for queue in queues:
        name = queue.get("name") if isinstance(queue, dict) else None
        if isinstance(name, str):
            yield name


def _parse_running(task: Mapping[str, Any]) -> RunningTask:
    name, info, started = task.get("name"), task.get("delivery_info"), task.get("time_start")
    route = info.get("routing_key") if isinstance(info, dict) else None
    return RunningTask(
        name[:MAX_NAME_CHARS] if isinstance(name, str) else "",
        clean_text(route[:MAX_NAME_CHARS]) if isinstance(route, str) else "",
        float(started) if isinstance(started, int | float) else None,
    )


def _is_task(task: object) -> bool:
    return isinstance(task, dict) and not find_job_id_fault(task.get("id"))


def _decode_body(raw: object) -> Any:
    outer = parse_json(raw, MAX_VALUES)
    if not isinstance(outer, dict) or not isinstance(outer.get("body"), str):
        return None
    try:
        return parse_json(base64.b64decode(outer["body"]), MAX_VALUES)
    except ValueError:
        return None
