"""What kombu's messages in Redis tell of a task: its id, its name, its way. Pure.

A message is JSON. Its arguments stand in `body`, encoded once more, and stay there: nothing here opens them.
"""

from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from app.infra import json_limits
from app.sources.protocol import fault_of_job_id

# How kombu separates a queue's name from a priority, and which priorities have a list of their own.
SEPARATOR = "\x06\x16"
PRIORITY_STEPS = (0, 3, 6, 9)
MAX_NAME_CHARS = 200
# Celery writes some fifty; the arguments are one text among them.
MAX_VALUES = 5_000


class TaskMessage(NamedTuple):
    """One message of one task. Two messages with the same `id` and `turn` are the same work twice.

    `turn` differs where Celery publishes an id again on purpose: for a retry, or a replacement. `keeps_result` is
    False where the task was published with `ignore_result`: then nothing will ever tell that it ended. `eta`: when it
    may run, where that is later than when it was sent; `due` is the same in seconds.
    """

    id: str
    task: str
    route: str
    turn: tuple[str, int, int]
    keeps_result: bool
    eta: str | None
    due: float | None = None

    @property
    def attempt(self) -> int:
        return self.turn[1] + 1

    def state_at(self, now: float) -> Literal["scheduled", "reserved"]:
        """Once a worker has taken it: it holds it until its time, and only then for its turn."""
        return "scheduled" if self.due is not None and self.due > now else "reserved"


def parse_queued(raw: bytes) -> TaskMessage | None:
    """None for what is no task's message: it is counted, and cannot be listed."""
    return _parse_message(_parse_json(raw))


def parse_unacked(raw: bytes) -> TaskMessage | None:
    """Of an entry of `unacked`: `[message, exchange, routing key]`."""
    entry = _parse_json(raw)
    return _parse_message(entry[0]) if isinstance(entry, list) and entry else None


def is_usable_id(value: object) -> bool:
    return not fault_of_job_id(value)


def explain_queued_fault(raw: bytes) -> str:
    """Why `parse_queued` makes nothing of this, to follow "entry 3: "."""
    return _explain_fault(_parse_json(raw))


def explain_unacked_fault(raw: bytes) -> str:
    entry = _parse_json(raw)
    return _explain_fault(entry[0] if isinstance(entry, list) and entry else None)


def list_queue_keys(queue: str, steps: tuple[int, ...], separator: str, prefix: str) -> list[str]:
    """The lists of one queue, one for each priority step; the first step's has the queue's own name."""
    return [prefix + (f"{queue}{separator}{step}" if step else queue) for step in steps]


def _parse_message(message: Any) -> TaskMessage | None:
    if not isinstance(message, dict):
        return None
    headers, properties = _subdict(message, "headers"), _subdict(message, "properties")
    task_id = _find_id(headers, properties)
    if not is_usable_id(task_id):
        return None
    task, eta = headers.get("task"), headers.get("eta")
    name = task[:MAX_NAME_CHARS] if isinstance(task, str) else ""
    return TaskMessage(
        id=str(task_id),
        task=name,
        route=str(_subdict(properties, "delivery_info").get("routing_key") or "")[:MAX_NAME_CHARS],
        turn=(name, _int_or_zero(headers.get("retries")), _int_or_zero(headers.get("replaced_task_nesting"))),
        keeps_result=headers.get("ignore_result") is not True,
        eta=eta[:MAX_NAME_CHARS] if isinstance(eta, str) else None,
        due=_parse_due(eta),
    )


def _parse_due(eta: object) -> float | None:
    """Celery writes its zone; a time without one is UTC, as its workers take it."""
    if not isinstance(eta, str):
        return None
    try:
        moment = datetime.fromisoformat(eta[:MAX_NAME_CHARS])
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
    return seconds if seconds >= 0 else None


def _explain_fault(message: Any) -> str:
    if not isinstance(message, dict):
        return "it is no task's message"
    return fault_of_job_id(_find_id(_subdict(message, "headers"), _subdict(message, "properties")))


def _find_id(headers: dict[str, Any], properties: dict[str, Any]) -> Any:
    """Messages of Celery's first protocol have it among the properties only."""
    return headers.get("id") or properties.get("correlation_id")


def _subdict(whole: dict[str, Any], name: str) -> dict[str, Any]:
    part = whole.get(name)
    return part if isinstance(part, dict) else {}


def _int_or_zero(value: object) -> int:
    return value if isinstance(value, int) else 0


def _parse_json(raw: bytes) -> Any:
    try:
        return json_limits.loads(raw, MAX_VALUES)
    except ValueError:
        return None
