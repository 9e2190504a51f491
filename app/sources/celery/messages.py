"""Parses kombu's messages in Redis: a task's id, name, route and ETA. Pure.

A message is JSON. Its arguments are in `body`, encoded once more; nothing here decodes them.
"""

from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from app.infra import json_limits
from app.sources.protocol import clean_text, find_job_id_fault, limit_attempt

# The separator between a queue's name and a priority in kombu, and the priorities with a list of their own.
SEPARATOR = "\x06\x16"
PRIORITY_STEPS = (0, 3, 6, 9)
MAX_NAME_CHARS = 200
# Celery writes about fifty values; the arguments are one of them, a string.
MAX_VALUES = 5_000
# Names in a message's headers and in a result.
_RELATED = {"parent_id": "parent", "root_id": "root", "group": "group", "group_id": "group"}


class TaskMessage(NamedTuple):
    """One message of one task. Two messages with the same `id` and `turn` are duplicates.

    `turn` differs if Celery publishes an id again on purpose, for a retry or a replacement. `keeps_result` is False if
    the task was published with `ignore_result`: then nothing shows that it ended. `eta`: the earliest start time, if
    it was sent with one; `due` is the same in seconds.
    """

    id: str
    task: str
    route: str
    turn: tuple[str, int, int]
    keeps_result: bool
    eta: str | None
    due: float | None = None

    @property
    def attempt(self) -> int | None:
        return limit_attempt(self.turn[1] + 1)

    def state_at(self, now: float) -> Literal["scheduled", "reserved"]:
        """Return the task's state once a worker has taken it: scheduled until its ETA, then reserved."""
        return "scheduled" if self.due is not None and self.due > now else "reserved"


class TaskCall(NamedTuple):
    """The texts of a task's arguments as Celery wrote them, and the ids of the tasks around it."""

    args: str
    kwargs: str
    related: dict[str, str]


def parse_queued(raw: bytes) -> TaskMessage | str:
    """Parse a queue entry, or say as text after "entry 3: " why it is not a task's message that can be listed."""
    return _parse_message(parse_json(raw, MAX_VALUES))


def parse_unacked(raw: bytes) -> TaskMessage | str:
    """Parse an entry of `unacked`: `[message, exchange, routing key]`."""
    entry = parse_json(raw, MAX_VALUES)
    return _parse_message(entry[0] if isinstance(entry, list) and entry else None)


def parse_call(raw: bytes) -> TaskCall:
    """Parse what a message, or an entry of `unacked`, says of a task's call and of the tasks around it."""
    entry = parse_json(raw, MAX_VALUES)
    message = entry[0] if isinstance(entry, list) and entry else entry
    headers = _subdict(message, "headers") if isinstance(message, dict) else {}
    args, kwargs = (headers.get(name) for name in ("argsrepr", "kwargsrepr"))
    return TaskCall(
        args if isinstance(args, str) else "", kwargs if isinstance(kwargs, str) else "", find_related(headers)
    )


def find_related(fields: dict[str, Any]) -> dict[str, str]:
    """The ids of the tasks around a task, by their role."""
    named = [(role, fields.get(name)) for name, role in _RELATED.items()]
    return {role: value for role, value in named if isinstance(value, str) and not find_job_id_fault(value)}


def parse_json(raw: object, max_values: int) -> Any:
    """None for anything that is not JSON of at most this size."""
    try:
        return json_limits.loads(raw, max_values) if isinstance(raw, bytes) else None
    except ValueError:
        return None


def list_queue_keys(queue: str, steps: tuple[int, ...], separator: str, prefix: str) -> list[str]:
    """Return the keys of a queue's lists, one for each priority step; the first step's list has the queue's name."""
    return [prefix + (f"{queue}{separator}{step}" if step else queue) for step in steps]


def _parse_message(message: Any) -> TaskMessage | str:
    if not isinstance(message, dict):
        return "it is not a task's message"
    headers, properties = _subdict(message, "headers"), _subdict(message, "properties")
    # In Celery's protocol version 1 the id is only in the properties.
    task_id = headers.get("id") or properties.get("correlation_id")
    if fault := find_job_id_fault(task_id):
        return fault
    task, eta = headers.get("task"), headers.get("eta")
    name = clean_text(task[:MAX_NAME_CHARS]) if isinstance(task, str) else ""
    return TaskMessage(
        id=str(task_id),
        task=name,
        route=clean_text(str(_subdict(properties, "delivery_info").get("routing_key") or "")[:MAX_NAME_CHARS]),
        turn=(name, _int_or_zero(headers.get("retries")), _int_or_zero(headers.get("replaced_task_nesting"))),
        keeps_result=headers.get("ignore_result") is not True,
        eta=eta[:MAX_NAME_CHARS] if isinstance(eta, str) else None,
        due=_parse_due(eta),
    )


def _parse_due(eta: object) -> float | None:
    """Parse an ETA to seconds. Celery writes the time zone; a time without one is UTC, as for its workers."""
    if not isinstance(eta, str):
        return None
    try:
        moment = datetime.fromisoformat(eta[:MAX_NAME_CHARS])
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
    return seconds if seconds >= 0 else None


def _subdict(whole: dict[str, Any], name: str) -> dict[str, Any]:
    part = whole.get(name)
    return part if isinstance(part, dict) else {}


def _int_or_zero(value: object) -> int:
    return value if isinstance(value, int) else 0
