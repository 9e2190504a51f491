"""The facts of RQ jobs: from the fields of the job, its newest result and its call. Never unpickles job data."""

import re
import zlib
from base64 import b64decode
from binascii import Error as BadBase64
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

import redis
from rq.job import Job as RqJob
from rq.results import Result

from app.infra import json_limits
from app.infra.concurrency import TimeSlice
from app.sources.arguments import ShowArguments, show_call, show_values
from app.sources.protocol import MAX_RELATED_JOBS, MAX_TRACEBACK_BYTES, Job, JobDetail, clean_text, find_job_id_fault
from app.sources.rq.responses import Batch, split_into_parts
from app.sources.rq.rq_workers import parse_moment
from app.sources.tracebacks import parse_error

_FIELDS = (
    *("status", "origin", "description", "enqueued_at", "started_at", "ended_at", "worker_name"),
    *("retries_left", "number_of_retries"),
)
MAX_TEXT_CHARS = 500
# Limit for a field of which people see one line.
MAX_FIELD_BYTES = 10_000
# The data of a job, compressed or not; a call that is longer is not shown.
MAX_COMPRESSED_BYTES = 256 * 1024
# A traceback is read from its beginning, because it can only be decompressed from there.
MAX_DECOMPRESSED_BYTES = 1_000_000
_JOBS_PER_BATCH = 50
# RQ describes a job by its call unless told otherwise.
_CALL = re.compile(r"([\w.<>]{1,300})\((.*)\)\Z", re.DOTALL)
_OPENING = re.compile(r"[\w.<>](?=\()")
_FAILED = ("failed", "stopped")
FUNCTION_NOT_TOLD = "RQ stores it only in the job's pickled data, which Beacon never opens"
ATTEMPT_NOT_TOLD = "RQ stores only how many retries are left"


def read_facts(client: redis.Redis, job_ids: Sequence[str]) -> dict[str, JobDetail]:
    """Read the facts of many jobs; jobs that are gone are left out."""
    found: dict[str, JobDetail] = {}
    pace = TimeSlice()
    for some in split_into_parts(job_ids, _JOBS_PER_BATCH):
        jobs = _read_fields(client, some)
        calls = _read_calls(client, [job_id for job_id, fields in jobs.items() if not _describes_call(fields)])
        errors = _read_errors(client, [job_id for job_id, fields in jobs.items() if fields["status"] in _FAILED])
        for job_id in _find_expired(client, errors):
            del jobs[job_id]
        for job_id, fields in jobs.items():
            found[job_id] = _build_facts(job_id, fields, calls.get(job_id), errors.get(job_id, ""))
            pace()
    return found


def read_detail(client: redis.Redis, job_id: str, show: ShowArguments) -> JobDetail | None:
    """Read all that people may see of one job; None if there is no such job."""
    fields = _read_fields(client, [job_id]).get(job_id)
    if fields is None:
        return None
    call = _read_calls(client, [job_id]).get(job_id)
    text = _read_errors(client, [job_id]).get(job_id, "") if fields["status"] in _FAILED else ""
    depends_on, dependents = _read_dependencies(client, job_id)
    return replace(
        _build_facts(job_id, fields, call, text),
        traceback=text[-MAX_TRACEBACK_BYTES:] or None,
        is_traceback_cut=len(text) > MAX_TRACEBACK_BYTES,
        arguments=_show_arguments(fields, call, show),
        depends_on=depends_on,
        dependents=dependents,
    )


def read_job_fields(client: redis.Redis, job_id: str, *names: str) -> list[str | None]:
    batch = Batch(client)
    batch.add("HMGET", RqJob.key_for(job_id), *names)
    return [decode_field(value) for value in batch.run()[0]]


def decode_field(value: Any) -> str | None:
    return value[:MAX_FIELD_BYTES].decode(errors="replace") if isinstance(value, bytes) else None


def strip_arguments(description: str) -> str | None:
    """The description without what stands between the brackets of a call, also of one that other words precede."""
    found = _OPENING.search(description) if description.endswith(")") else None
    return (f"{description[: found.end()]}(…)" if found else description)[:MAX_TEXT_CHARS] or None


class _Call(NamedTuple):
    """The call of a job whose data is JSON."""

    function: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]


def _build_facts(job_id: str, fields: Mapping[str, str], call: _Call | None, text: str) -> JobDetail:
    described = _CALL.match(fields["description"])
    function = call.function if call else described[1] if described else None
    left, tried = _parse_int(fields["retries_left"]), _parse_int(fields["number_of_retries"])
    not_told = {} if function else {"function": FUNCTION_NOT_TOLD}
    if left is not None and tried is None:
        not_told["attempt"] = f"{ATTEMPT_NOT_TOLD}: {left}"
    return JobDetail(
        job=Job(
            job_id,
            fields["status"][:40],
            fields["origin"][:MAX_TEXT_CHARS] or None,
            None if tried is None else tried + 1,
        ),
        description=strip_arguments(fields["description"]),
        enqueued_at=parse_moment(fields["enqueued_at"]),
        started_at=parse_moment(fields["started_at"]),
        ended_at=parse_moment(fields["ended_at"]),
        worker=fields["worker_name"][:200] or None,
        error=parse_error(text),
        function=function[:MAX_TEXT_CHARS] if function else None,
        not_told=not_told,
    )


def _read_fields(client: redis.Redis, job_ids: Sequence[str]) -> dict[str, dict[str, str]]:
    """The fields of the jobs that exist; a field that is not there is empty."""
    batch = Batch(client)
    for job_id in job_ids:
        batch.add("HMGET", RqJob.key_for(job_id), *_FIELDS)
    found = {}
    for job_id, values in zip(job_ids, batch.run(), strict=True):
        fields = {name: decode_field(value) or "" for name, value in zip(_FIELDS, values, strict=True)}
        if values[0] is not None:
            found[job_id] = fields
    return found


def _read_calls(client: redis.Redis, job_ids: Sequence[str]) -> dict[str, _Call]:
    """The calls of the jobs whose data is JSON and not too long."""
    sizes = Batch(client)
    for job_id in job_ids:
        sizes.add("HSTRLEN", RqJob.key_for(job_id), "data")
    short = [
        job_id
        for job_id, size in zip(job_ids, sizes.run(), strict=True)
        if isinstance(size, int) and 0 < size <= MAX_COMPRESSED_BYTES
    ]
    batch = Batch(client)
    for job_id in short:
        batch.add("HGET", RqJob.key_for(job_id), "data")
    calls = zip(short, map(_parse_call, batch.run()), strict=True)
    return {job_id: call for job_id, call in calls if call is not None}


def _parse_call(data: Any) -> _Call | None:
    text = _decompress(data, MAX_COMPRESSED_BYTES) if isinstance(data, bytes) else b""
    if not text.startswith(b"["):  # a pickle begins with another byte
        return None
    try:
        function, _, args, kwargs = json_limits.loads(text)
    except (ValueError, TypeError):
        return None
    if isinstance(function, str) and isinstance(args, list) and isinstance(kwargs, dict):
        return _Call(clean_text(function), args, kwargs)
    return None


def _read_errors(client: redis.Redis, job_ids: Sequence[str]) -> dict[str, str]:
    """The traceback, or what RQ says instead, of each job's newest result; RQ before 1.12 stored it in the job."""
    batch = Batch(client)
    for job_id in job_ids:
        batch.add("XREVRANGE", Result.get_key(job_id), "+", "-", "COUNT", 1)  # type: ignore[no-untyped-call]
        batch.add("HGET", RqJob.key_for(job_id), "exc_info")
    answers = iter(batch.run())
    results = zip(job_ids, answers, answers, strict=True)
    return {job_id: _parse_error_text(newest, kept) for job_id, newest, kept in results}


def _find_expired(client: redis.Redis, errors: Mapping[str, str]) -> Sequence[str]:
    """Find jobs without an error text that are gone: they expired, and did not fail without an error."""
    silent = [job_id for job_id, text in errors.items() if not text]
    still = _read_fields(client, silent) if silent else {}
    return [job_id for job_id in silent if job_id not in still]


def _parse_error_text(newest: Any, kept: Any) -> str:
    try:
        if newest:
            kept = b64decode(dict(newest[0][1]).get(b"exc_string", b"")) or kept
    except (BadBase64, ValueError, TypeError):
        return ""
    return _decompress(kept or b"", MAX_DECOMPRESSED_BYTES).decode(errors="replace")


def _decompress(data: bytes, most: int) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, most)
    except zlib.error:
        return data if data.startswith(b"[") else b""  # RQ stores what it cannot compress as it is


def _read_dependencies(client: redis.Redis, job_id: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    batch = Batch(client)
    batch.add("HGET", RqJob.key_for(job_id), "dependency_ids")
    batch.add("SRANDMEMBER", RqJob.dependents_key_for(job_id), MAX_RELATED_JOBS)
    written, dependents = batch.run()
    try:
        depends_on = json_limits.loads(written) if isinstance(written, bytes) else []
    except ValueError:
        depends_on = []
    return _keep_ids(depends_on), tuple(sorted(_keep_ids(one.decode(errors="replace") for one in dependents)))


def _keep_ids(values: Any) -> tuple[str, ...]:
    found = (value for value in values if not find_job_id_fault(value)) if not isinstance(values, str) else ()
    return tuple(islice(found, MAX_RELATED_JOBS))


def _show_arguments(fields: Mapping[str, str], call: _Call | None, show: ShowArguments) -> str | None:
    if show == "none":
        return None
    if call is not None:
        return show_values(call.args, call.kwargs, show)
    described = _CALL.match(fields["description"])
    return show_call(described[2], show) if described else None


def _describes_call(fields: Mapping[str, str]) -> bool:
    return _CALL.match(fields["description"]) is not None


def _parse_int(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None
