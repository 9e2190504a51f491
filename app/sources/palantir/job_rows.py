"""Reads job lists of a Palantir HTTP job service; an invalid row is left out and the rest is kept."""

from collections.abc import Callable, Sequence
from operator import attrgetter, itemgetter
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from app.infra.concurrency import iterate_in_slices
from app.sources.http_client import parse_json
from app.sources.palantir.api import (
    MAX_STUCK_JOBS,
    PAGE_SIZE,
    JobAnswer,
    ListedJob,
    PageAnswer,
    StuckAnswer,
    WholePageAnswer,
    describe_first_fault,
    parse,
    parse_at_once,
)
from app.sources.protocol import MAX_JOB_ID_BYTES, MAX_JOB_ID_CHARS, NOTHING_LEFT_OUT, LeftOut, SourceError

P = TypeVar("P", PageAnswer, WholePageAnswer, StuckAnswer)

# Checked before any row is read for its fault, which costs much more than to validate a list that is right.
MAX_ROWS = max(PAGE_SIZE, MAX_STUCK_JOBS)
_ROW: dict[type, TypeAdapter[Any]] = {
    PageAnswer: TypeAdapter(ListedJob),
    WholePageAnswer: TypeAdapter(JobAnswer),
    StuckAnswer: TypeAdapter(JobAnswer),
}
_ID_FAULTS = {
    "string_too_long": f"its id has more than {MAX_JOB_ID_CHARS:,} characters",
    "string_too_short": "it has no id",
    "string_pattern_mismatch": "its id has a control character",
}
_TOO_MANY_BYTES = f"its id has more than {MAX_JOB_ID_BYTES:,} bytes"


def read_rows(model: type[P], body: bytes, name_row: Callable[[int], str]) -> tuple[P, LeftOut]:
    """Return the list without its unreadable rows. `name_row` describes the row at an index for messages.

    Raises `SourceError` if more than rows is wrong, if there are too many, or if no row has an id.
    """
    answer = parse_at_once(model, body)
    if answer is not None and not _may_have_long_id(answer.jobs):
        return answer, NOTHING_LEFT_OUT
    found = parse_json(body)
    rows = found.get("jobs") if isinstance(found, dict) else None
    if isinstance(rows, list) and len(rows) > MAX_ROWS:
        raise SourceError(f"answered something other than the Palantir API: jobs: more than {MAX_ROWS:,} in one answer")
    if not isinstance(rows, list) or (rows and not any(map(_has_id, rows))):
        return parse(model, found), NOTHING_LEFT_OUT
    jobs, left_out = _split_rows(model, rows, name_row)
    return parse(model, {**found, "jobs": jobs}), left_out


def _split_rows(model: type, rows: list[Any], name_row: Callable[[int], str]) -> tuple[list[Any], LeftOut]:
    readable, left_out = list[Any](), NOTHING_LEFT_OUT
    for place, row in enumerate(iterate_in_slices(rows)):
        fault = _explain_fault(model, row)
        if fault:
            left_out = left_out.merge(LeftOut(1, f"{name_row(place)}: {fault}"))
        else:
            readable.append(row)
    return readable, left_out


def _explain_fault(model: type, row: Any) -> str:
    try:
        job = _ROW[model].validate_python(row)
    except ValidationError as error:
        field, message = describe_first_fault(error)
        if field == "id":
            return _ID_FAULTS.get(error.errors(include_url=False)[0]["type"], f"id: {message}")
        if field == "queue" and error.errors(include_url=False)[0]["type"] == "string_pattern_mismatch":
            return "its queue has a control character"
        return f"{field}: {message}" if field else message
    return _TOO_MANY_BYTES if _has_long_id(job) else ""


def _may_have_long_id(jobs: Sequence[Any]) -> bool:
    """Quick check of all ids: False is certain. A character takes at most four bytes."""
    ids = map(itemgetter("id") if jobs and isinstance(jobs[0], dict) else attrgetter("id"), jobs)
    return max(map(len, ids), default=0) * 4 > MAX_JOB_ID_BYTES


def _has_long_id(job: Any) -> bool:
    job_id: str = job["id"] if isinstance(job, dict) else job.id
    return len(job_id.encode()) > MAX_JOB_ID_BYTES


def _has_id(row: Any) -> bool:
    return isinstance(row, dict) and isinstance(row.get("id"), str)
