"""Reads from the result backend how tasks ended: only the state, from the first bytes of each result.

A result may be megabytes long, or a pickle. Celery writes the state first with every serializer, so the rest is not
read.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import redis

from app.infra import json_limits
from app.infra.clock import in_utc
from app.infra.concurrency import iterate_in_slices, yield_to_loop
from app.infra.redaction import replace_unstorable
from app.sources.celery.messages import MAX_NAME_CHARS, find_related
from app.sources.protocol import JobError, clean_text, find_job_id_fault
from app.sources.tracebacks import parse_error

META = "celery-task-meta-"
# Celery's final states, as job states. Any other state, including custom ones, is not final.
ENDS = {"SUCCESS": "succeeded", "FAILURE": "failed", "REVOKED": "revoked"}
UNREADABLE = "unreadable"
_HEAD_BYTES = 96
_KEYS_PER_BATCH = 200
# JSON, YAML, MessagePack and pickle differ in the few bytes before and between the two words.
_STATE = re.compile(rb"\A.{0,24}?status.{1,12}?([A-Z][A-Z_]{2,60})", re.DOTALL)
_MAX_DETAIL_BYTES = 1024 * 1024
_MAX_FACTS_BYTES = 64 * 1024
_RESULTS_PER_BATCH = 50


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What people see of a result: not the result itself. `is_extended`: it was stored with `result_extended`."""

    state: str
    ended_at: datetime | None = None
    error: JobError | None = None
    traceback: str = ""
    is_extended: bool = False
    task: str | None = None
    worker: str | None = None
    queue: str | None = None
    retries: int | None = None
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    related: Mapping[str, str] = field(default_factory=dict)


class Results:
    """Reads the keys of Celery's Redis result backend with a client that is passed to each call."""

    def __init__(self, keyprefix: str = "") -> None:
        # Joined as in Celery.
        joint = "" if not keyprefix or keyprefix[-1] in ":_-." else "_"
        self._prefix = f"{keyprefix}{joint}{META}"

    @property
    def pattern(self) -> str:
        """The pattern of all result keys for `SCAN`."""
        return "".join(f"\\{sign}" if sign in "*?[]\\^-" else sign for sign in self._prefix) + "*"

    def find_task_ids(self, keys: Iterable[bytes]) -> frozenset[str]:
        start = len(self._prefix.encode())
        ids = (key[start:].decode(errors="replace") for key in iterate_in_slices(keys))
        return frozenset(task_id for task_id in ids if not find_job_id_fault(task_id))

    def read_states(self, client: redis.Redis, task_ids: Sequence[str]) -> dict[str, str]:
        """Return the state of each task that has a result."""
        found = self.read_states_by_key(client, [f"{self._prefix}{task_id}".encode() for task_id in task_ids])
        start = len(self._prefix.encode())
        return {key[start:].decode(): state for key, state in found.items()}

    def read_states_by_key(self, client: redis.Redis, keys: Sequence[bytes]) -> dict[bytes, str]:
        """Return the state of each of these keys that is a result."""
        found: dict[bytes, str] = {}
        for start in range(0, len(keys), _KEYS_PER_BATCH):
            part = keys[start : start + _KEYS_PER_BATCH]
            with client.pipeline(transaction=False) as pipe:
                for key in part:
                    pipe.execute_command("GETRANGE", key, 0, _HEAD_BYTES - 1)  # type: ignore[no-untyped-call]
                heads = pipe.execute(raise_on_error=False)  # a key of another type is not a Celery result
            found.update(
                (key, parse_state(head))
                for key, head in zip(part, heads, strict=True)
                if isinstance(head, bytes) and head
            )
            yield_to_loop()
        return found

    def read_result(self, client: redis.Redis, task_id: str) -> TaskResult | None:
        """Return one task's result for people; None if there is none."""
        key = self._prefix + task_id
        raw: Any = client.getrange(key, 0, _MAX_DETAIL_BYTES)
        return _parse_result(bytes(raw)) if raw else None

    def read_results(self, client: redis.Redis, task_ids: Sequence[str]) -> dict[str, TaskResult]:
        """Return the results of many tasks; a long one has only its state."""
        found: dict[str, TaskResult] = {}
        for start in range(0, len(task_ids), _RESULTS_PER_BATCH):
            part = task_ids[start : start + _RESULTS_PER_BATCH]
            with client.pipeline(transaction=False) as pipe:
                for task_id in part:
                    pipe.getrange(self._prefix + task_id, 0, _MAX_FACTS_BYTES)
                answers = pipe.execute(raise_on_error=False)
            for task_id, raw in zip(part, answers, strict=True):
                if isinstance(raw, bytes) and raw:
                    found[task_id] = _parse_result(raw)
                yield_to_loop()
        return found


def _parse_result(raw: bytes) -> TaskResult:
    state = parse_state(raw[:_HEAD_BYTES])
    try:
        meta = json_limits.loads(raw)
    except ValueError:
        return TaskResult(state)
    if not isinstance(meta, dict):
        return TaskResult(state)
    traceback = replace_unstorable(meta["traceback"]) if isinstance(meta.get("traceback"), str) else ""
    return TaskResult(
        state,
        ended_at=_parse_time(meta.get("date_done")),
        error=_find_error(traceback, meta.get("result")),
        traceback=traceback.strip(),
        is_extended="name" in meta,
        task=_parse_text(meta.get("name")),
        worker=_parse_text(meta.get("worker")),
        queue=_parse_text(meta.get("queue")),
        retries=meta["retries"] if isinstance(meta.get("retries"), int) else None,
        args=meta["args"] if isinstance(meta.get("args"), list) else [],
        kwargs=meta["kwargs"] if isinstance(meta.get("kwargs"), dict) else {},
        related=find_related(meta),
    )


def parse_state(head: bytes) -> str:
    match = _STATE.search(head)
    return match[1].decode() if match else UNREADABLE


def _parse_time(text: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
        return None if moment is None or moment.tzinfo is None else in_utc(moment)
    except ValueError:
        return None


def _parse_text(value: Any) -> str | None:
    return clean_text(value[:MAX_NAME_CHARS]) or None if isinstance(value, str) else None


def _find_error(traceback: str, result: Any) -> JobError | None:
    """Return the error from the traceback or, without one (such as after a lost worker), from the stored exception."""
    if traceback.strip():
        return parse_error(traceback)
    if not isinstance(result, dict) or not isinstance(result.get("exc_type"), str):
        return None
    said = result.get("exc_message")
    parts = [part for part in (said if isinstance(said, list) else [said]) if isinstance(part, str)]
    text = f"{result['exc_type']}: {', '.join(parts)}" if parts else result["exc_type"]
    return parse_error(replace_unstorable(text))
