"""How tasks ended, from the result backend: the state alone, from the first bytes of each result.

A result may be megabytes, or a pickle. Celery writes the state first whatever the serializer, so neither is read.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from app.infra import json_limits
from app.infra.clock import in_utc
from app.infra.concurrency import yield_to_loop
from app.sources.tracebacks import exception_of

if TYPE_CHECKING:
    import redis

META = "celery-task-meta-"
# Celery's words for an end, as job states. Any other state, a task's own among them, is no end.
ENDS = {"SUCCESS": "succeeded", "FAILURE": "failed", "REVOKED": "revoked"}
UNREADABLE = "unreadable"
_HEAD_BYTES = 96
_AT_ONCE = 200
# JSON, YAML, MessagePack and pickle differ in the few bytes before, and between the two words.
_STATE = re.compile(rb"\A.{0,24}?status.{1,12}?([A-Z][A-Z_]{2,60})", re.DOTALL)
_MAX_DETAIL_BYTES = 1024 * 1024


class Ended(NamedTuple):
    """What a result tells a person; not the result itself."""

    state: str
    ended_at: datetime | None = None
    error: str | None = None


class Results:
    """Reads the keys that Celery's Redis result backend writes, with a client that is lent for each call."""

    def __init__(self, keyprefix: str = "") -> None:
        # As Celery joins them.
        joint = "" if not keyprefix or keyprefix[-1] in ":_-." else "_"
        self._prefix = f"{keyprefix}{joint}{META}"

    @property
    def pattern(self) -> str:
        """Of all keys, as `SCAN` takes it."""
        return "".join(f"\\{sign}" if sign in "*?[]\\^-" else sign for sign in self._prefix) + "*"

    def states(self, client: "redis.Redis", task_ids: Sequence[str]) -> dict[str, str]:
        """The state of each task that has one."""
        found = self.states_at(client, [f"{self._prefix}{task_id}".encode() for task_id in task_ids])
        start = len(self._prefix.encode())
        return {key[start:].decode(): state for key, state in found.items()}

    def states_at(self, client: "redis.Redis", keys: Sequence[bytes]) -> dict[bytes, str]:
        """The same by key."""
        found: dict[bytes, str] = {}
        for start in range(0, len(keys), _AT_ONCE):
            part = keys[start : start + _AT_ONCE]
            with client.pipeline(transaction=False) as pipe:
                for key in part:
                    pipe.execute_command("GETRANGE", key, 0, _HEAD_BYTES - 1)  # type: ignore[no-untyped-call]
                heads = pipe.execute(raise_on_error=False)  # a key of another type is none of Celery's results
            found.update(
                (key, state_of(head)) for key, head in zip(part, heads, strict=True) if isinstance(head, bytes) and head
            )
            yield_to_loop()
        return found

    def ended(self, client: "redis.Redis", task_id: str) -> Ended | None:
        """For one person who asks; None where there is no result."""
        key = self._prefix + task_id
        raw: Any = client.getrange(key, 0, _MAX_DETAIL_BYTES)
        if not raw:
            return None
        state = state_of(bytes(raw[:_HEAD_BYTES]))
        try:
            meta = json_limits.loads(raw)
        except ValueError:
            return Ended(state)
        if not isinstance(meta, dict):
            return Ended(state)
        return Ended(state, _time(meta.get("date_done")), _error(meta.get("traceback"), meta.get("result")))


def state_of(head: bytes) -> str:
    match = _STATE.search(head)
    return match[1].decode() if match else UNREADABLE


def _time(text: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
        return None if moment is None or moment.tzinfo is None else in_utc(moment)
    except ValueError:
        return None


def _error(traceback: Any, result: Any) -> str | None:
    """Of the traceback; without one, as where a worker was lost, of what Celery keeps of the exception itself."""
    if isinstance(traceback, str) and traceback.strip():
        return exception_of(traceback)
    if not isinstance(result, dict) or not isinstance(result.get("exc_type"), str):
        return None
    said = result.get("exc_message")
    parts = [part for part in (said if isinstance(said, list) else [said]) if isinstance(part, str)]
    return exception_of(f"{result['exc_type']}: {', '.join(parts)}" if parts else result["exc_type"])
