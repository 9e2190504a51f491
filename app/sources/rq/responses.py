"""Sends command batches to RQ's Redis server and validates the answers: data that RQ would not store is an error."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import redis
from redis.exceptions import ResponseError

from app.sources.protocol import (
    NOTHING_LEFT_OUT,
    LeftOut,
    SourceError,
    clean_text,
    find_job_id_fault,
    find_name_fault,
)

T = TypeVar("T")
IDS_PER_PART = 1_000
# Limit for a field of a worker; these are names and times.
MAX_FIELD_BYTES = 100_000


class Batch:
    """Commands that are sent together; in one MULTI with `at_once`, so that they see the same moment."""

    def __init__(self, client: redis.Redis, *, at_once: bool = False) -> None:
        self._pipe = client.pipeline(transaction=at_once)
        self._keys: list[str] = []

    def add(self, *command: str | int | float) -> None:
        self._keys.append(str(command[1]) if len(command) > 1 else "")
        self._pipe.execute_command(*command)  # type: ignore[no-untyped-call]

    def run(self) -> list[Any]:
        """Send the commands and return the answers. Raises `SourceError` if a key has another type than RQ's."""
        if not self._keys:
            return []
        try:
            answers = self._pipe.execute(raise_on_error=False)
        except (TypeError, ValueError, LookupError, AttributeError):
            # redis-py converts some answers and assumes that they have the right type.
            raise unexpected_answer() from None
        for key, answer in zip(self._keys, answers, strict=True):
            if isinstance(answer, ResponseError) and str(answer).split(": ", 1)[-1].startswith("WRONGTYPE"):
                raise SourceError(f"has data under {key[:200]} that is not RQ's")
            if isinstance(answer, Exception):
                raise answer
        return list(answers)


def split_into_parts(things: Sequence[T], size: int = IDS_PER_PART) -> Iterable[Sequence[T]]:
    """Yield slices that are small enough to yield to the event loop after each."""
    return (things[start : start + size] for start in range(0, len(things), size))


def parse_score(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise unexpected_answer() from None


class JobIds:
    """Collects the job ids of one list; records the positions of entries that are not usable ids."""

    def __init__(self, key: str) -> None:
        self._key = key
        self.ids: list[str] = []
        self.left_out: list[int] = []
        self._first = ""

    def add_entries(self, entries: Iterable[Any]) -> None:
        ids = self.ids
        for entry in entries:
            job_id = _decode(entry)
            fault = "its id is not UTF-8" if job_id is None else find_job_id_fault(job_id)
            if fault:
                self._leave_out(fault)
            elif job_id is not None:
                ids.append(job_id)

    @property
    def summary(self) -> LeftOut:
        return LeftOut(len(self.left_out), self._first)

    def slice_of(self, start: int, stop: int) -> slice:
        """Return the slice of `ids` that comes from the entries from `start` to `stop`."""
        return slice(start - bisect_left(self.left_out, start), stop - bisect_left(self.left_out, stop))

    def _leave_out(self, fault: str) -> None:
        place = len(self.ids) + len(self.left_out)
        self._first = self._first or f"entry {place + 1:,} of {self._key[:200]}: {fault}"
        self.left_out.append(place)


def _decode(entry: Any) -> str | None:
    try:
        return require_bytes(entry).decode()
    except UnicodeDecodeError:
        return None


def require_bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise unexpected_answer()
    return value


def parse_text(value: Any) -> str:
    """The text, in which bytes that are no UTF-8 and control characters are replaced: one odd field costs no check."""
    return clean_text(require_bytes(value).decode(errors="replace"))


def parse_names(keys: Sequence[Any], where: str) -> tuple[list[str], LeftOut]:
    """Return the names of queues or workers, sorted, without those that Beacon cannot accept."""
    names, left_out = list[str](), NOTHING_LEFT_OUT
    for key in sorted(map(require_bytes, keys)):
        if fault := find_name_fault(key):
            left_out = left_out.merge(LeftOut(1, f"{parse_text(key)[:200]} of {where}: {fault}"))
        else:
            names.append(key.decode())
    return names, left_out


def parse_fields(values: Any) -> list[str | None]:
    return [None if value is None else _parse_field(value) for value in parse_members(values)]


def _parse_field(value: Any) -> str:
    if len(require_bytes(value)) > MAX_FIELD_BYTES:
        raise unexpected_answer()
    return parse_text(value)


def parse_members(values: Any) -> Sequence[Any]:
    if isinstance(values, set):
        return list(values)
    if not isinstance(values, list):
        raise unexpected_answer()
    return values


def parse_int(value: Any) -> int:
    if not isinstance(value, int):
        raise unexpected_answer()
    return value


def parse_time(value: Any) -> float:
    """Parse the answer of TIME to seconds."""
    try:
        whole, micros = value
        return int(whole) + int(micros) / 1e6
    except (TypeError, ValueError):
        raise unexpected_answer() from None


def unexpected_answer() -> SourceError:
    return SourceError("answered something other than RQ's data")
