"""Commands to a server that RQ lives on, and its answers taken apart: whatever RQ would not keep is refused."""

from collections.abc import Iterable, Sequence
from typing import Any

import redis
from redis.exceptions import ResponseError

from app.sources.base import MAX_JOB_ID_CHARS, SourceError

PART = 1_000
# Of a field of a worker, which are names and times.
MAX_FIELD_BYTES = 100_000


class Batch:
    """Commands that go out together; in one MULTI where they have to belong to the same moment."""

    def __init__(self, client: redis.Redis, *, at_once: bool = False) -> None:
        self._pipe = client.pipeline(transaction=at_once)
        self._asked: list[str] = []

    def add(self, *command: str | int | float) -> None:
        self._asked.append(str(command[1]) if len(command) > 1 else "")
        self._pipe.execute_command(*command)  # type: ignore[no-untyped-call]

    def run(self) -> list[Any]:
        """Raises `SourceError` where a key holds something of another type than RQ keeps there."""
        try:
            answers = self._pipe.execute(raise_on_error=False)
        except (TypeError, ValueError, LookupError, AttributeError):
            raise no_rq() from None  # redis-py rewrites some answers, and trusts that they are what they should be
        for key, answer in zip(self._asked, answers, strict=True):
            if isinstance(answer, ResponseError) and str(answer).split(": ", 1)[-1].startswith("WRONGTYPE"):
                raise SourceError(f"has other data under {key[:200]} than RQ keeps there")
            if isinstance(answer, Exception):
                raise answer
        return list(answers)


def parts(things: Sequence[Any]) -> Iterable[Sequence[Any]]:
    """Slices small enough that a breath after each is often enough."""
    return (things[start : start + PART] for start in range(0, len(things), PART))


def score(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise no_rq() from None


def job_id_of(entry: Any, key: str) -> str:
    job_id = text(entry)
    if not job_id or len(job_id) > MAX_JOB_ID_CHARS or not job_id.isprintable():
        raise SourceError(f"has other data under {key[:200]} than job ids")
    return job_id


def text(value: Any) -> str:
    if not isinstance(value, bytes):
        raise no_rq()
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise no_rq() from None


def fields_of(values: Any) -> list[str | None]:
    return [None if value is None else _field(value) for value in members(values)]


def _field(value: Any) -> str:
    if isinstance(value, bytes) and len(value) > MAX_FIELD_BYTES:
        raise no_rq()
    return text(value)


def members(values: Any) -> Sequence[Any]:
    if isinstance(values, set):
        return list(values)
    if not isinstance(values, list):
        raise no_rq()
    return values


def number(value: Any) -> int:
    if not isinstance(value, int):
        raise no_rq()
    return value


def seconds(value: Any) -> float:
    """What TIME answers."""
    try:
        whole, micros = value
        return int(whole) + int(micros) / 1e6
    except (TypeError, ValueError):
        raise no_rq() from None


def no_rq() -> SourceError:
    return SourceError("answered something else than what RQ keeps")
