"""What became of the things that a command acted on: read at the service, of them alone.

The counts of the service move for many reasons. A job that was retried may have failed again before anybody looked.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.commands.models import CommandRow, ItemRow
from app.db import read
from app.sources.protocol import Source, SourceError

# Where a job that is in one of these states can be retried; the others run, wait, or are done.
FAILED_STATES = frozenset(
    {"failed", "failure", "error", "errored", "dead", "aborted", "stopped", "rejected", "timed_out"}
)
# A job that was queued again is followed for so long: it may fail again at once.
FOLLOW_S = 2.5
FOLLOW_EVERY_S = 0.25
# Of a command with many jobs so many are looked at afterwards.
MOST_READ = 50
_GONE = "gone"
_ENDED = FAILED_STATES | {"succeeded", "success", "finished", "completed", "done", _GONE}


@dataclass(frozen=True, slots=True)
class Afterwards:
    """`state` of the only job, `gone` where there is none any more, None where it cannot be told; `after_s`: how long
    after the service's answer it was seen in it. `failed_again` of the `looked_at` jobs that were retried."""

    state: str | None = None
    after_s: float = 0.0
    failed_again: int = 0
    looked_at: int = 0


def look_afterwards(source: Source, row: CommandRow, took_s: float, *, is_confirmed: bool) -> Afterwards:
    """`took_s`: how long ago the service answered. Only a retry that was seen is followed."""
    if row.action not in ("retry-job", "delete-job") or source.capabilities.why_not("detail") is not None:
        return Afterwards()
    began = time.monotonic()
    targets = _done_targets(row) if row.total > 1 else _targets(row.id)
    if row.total > 1:
        return _count_failed_again(source, targets) if row.action == "retry-job" else Afterwards()
    state = state_of(source, targets[0])
    if row.action == "retry-job" and is_confirmed:
        while not _has_ended(state) and time.monotonic() - began < FOLLOW_S:
            time.sleep(FOLLOW_EVERY_S)
            state = state_of(source, targets[0]) or state
    return Afterwards(state, took_s + time.monotonic() - began)


def state_of(source: Source, job_id: str) -> str | None:
    if source.capabilities.why_not("detail") is not None:
        return None
    with suppress(SourceError):
        detail = source.detail(job_id)
        return _GONE if detail is None else detail.job.state
    return None


def _has_ended(state: str | None) -> bool:
    return state is not None and state.lower() in _ENDED


def words(row: CommandRow, effect: Mapping[str, Any], found: Afterwards, took_s: float, *, verified: bool) -> str:
    """ "queued again, failed again 2.1 s later"; "12 of 14 done, 2 failed, verified 0.8 s later"."""
    parts = _of_many(row, found) if row.total > 1 else _of_one(row, effect, found, verified=verified)
    if row.done:  # of what was not done there is nothing to look for
        parts.append(f"verified {took_s:.1f} s later" if verified else "not verified")
    return ", ".join(parts) or "nothing was seen to change"


def _of_one(row: CommandRow, effect: Mapping[str, Any], found: Afterwards, *, verified: bool) -> list[str]:
    if row.action == "purge-queue" and isinstance(effect.get("purged"), int):
        return [f"{effect['purged']:,} purged"]
    state = found.state or effect.get("state")
    if row.action != "retry-job" or not verified:
        return [f"job {row.target} {state}"] if state else []
    if found.state is None or not _has_ended(found.state):
        now = f", {found.state} now" if found.state and found.state != "queued" else ""
        return [f"queued again{now}"]
    again = " again" if found.state.lower() in FAILED_STATES else ""
    return [f"queued again, {found.state}{again} {found.after_s:.1f} s later"]


def _of_many(row: CommandRow, found: Afterwards) -> list[str]:
    parts = [f"{row.done:,} of {row.total:,} done"]
    if row.failed:
        parts.append(f"{row.failed:,} failed")
    if found.failed_again:
        of = "" if found.looked_at >= row.done else f" of the {found.looked_at:,} looked at"
        parts.append(f"{found.failed_again:,}{of} failed again")
    return parts


def _count_failed_again(source: Source, targets: list[str]) -> Afterwards:
    deadline = time.monotonic() + FOLLOW_S
    again = looked_at = 0
    for target in targets:
        if time.monotonic() >= deadline:
            break
        again += (state_of(source, target) or "").lower() in FAILED_STATES
        looked_at += 1
    return Afterwards(failed_again=again, looked_at=looked_at)


def _done_targets(row: CommandRow) -> list[str]:
    return _targets(row.id, ItemRow.state == "done")


def _targets(command_id: str, *which: sa.ColumnElement[bool]) -> list[str]:
    query = sa.select(ItemRow.target).where(ItemRow.command_id == command_id, *which).order_by(ItemRow.place)
    with read() as session:
        return list(session.scalars(query.limit(MOST_READ)))
