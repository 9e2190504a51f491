"""Reads from the service what became of the jobs a command acted on.

Only these jobs are read: a service's counts change for many reasons, and a retried job may already have failed again.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.commands.actions import ACTIONS
from app.commands.models import CommandRow, ItemRow
from app.db import read
from app.sources.protocol import FAILED_STATES, Source, SourceError

# How long a retried job is followed, because it may fail again at once.
RETRY_FOLLOW_S = 2.5
RETRY_FOLLOW_INTERVAL_S = 0.25
# At most this many jobs of a command are read afterwards.
MAX_JOBS_READ = 50
_GONE = "gone"
_END_STATES = FAILED_STATES | {"succeeded", "success", "finished", "completed", "done", _GONE}


@dataclass(frozen=True, slots=True)
class ObservedEffect:
    """`state` of a single job (`gone` if it no longer exists, None if unknown), observed `after_s` after the service's
    answer; for retries of several jobs: `failed_again` of the `looked_at` ones."""

    state: str | None = None
    after_s: float = 0.0
    failed_again: int = 0
    looked_at: int = 0


def observe_effect(source: Source, row: CommandRow, took_s: float, *, is_confirmed: bool) -> ObservedEffect:
    """`took_s`: how long ago the service answered. Only a confirmed retry is followed."""
    action = ACTIONS[row.action]
    if action.scope != "job" or source.capabilities.why_not("detail") is not None:
        return ObservedEffect()
    began = time.monotonic()
    targets = _load_done_targets(row) if row.total > 1 else _load_targets(row.id)
    if row.total > 1:
        return _count_failed_again(source, targets) if action.requeues else ObservedEffect()
    state = read_job_state(source, targets[0])
    if action.requeues and is_confirmed:
        while not _has_ended(state) and time.monotonic() - began < RETRY_FOLLOW_S:
            time.sleep(RETRY_FOLLOW_INTERVAL_S)
            state = read_job_state(source, targets[0]) or state
    return ObservedEffect(state, took_s + time.monotonic() - began)


def read_job_state(source: Source, job_id: str) -> str | None:
    if source.capabilities.why_not("detail") is not None:
        return None
    with suppress(SourceError):
        detail = source.detail(job_id)
        return _GONE if detail is None else detail.job.state
    return None


def _has_ended(state: str | None) -> bool:
    return state is not None and state.lower() in _END_STATES


def describe_effect(
    row: CommandRow, effect: Mapping[str, Any], found: ObservedEffect, took_s: float, *, verified: bool
) -> str:
    """ "queued again, failed again 2.1 s later"; "12 of 14 done, 2 failed, verified 0.8 s later"."""
    parts = _describe_many(row, found) if row.total > 1 else _describe_one(row, effect, found, verified=verified)
    if row.done:  # otherwise there is no effect to verify
        parts.append(f"verified {took_s:.1f} s later" if verified else "not verified")
    return ", ".join(parts) or "no change observed"


def _describe_one(row: CommandRow, effect: Mapping[str, Any], found: ObservedEffect, *, verified: bool) -> list[str]:
    if isinstance(effect.get("purged"), int):
        return [f"{effect['purged']:,} purged"]
    state, outcome = found.state or effect.get("state"), ACTIONS[row.action].outcome
    if not outcome or not verified:
        return [f"job {row.target} {state}"] if state else []
    if found.state is None or not _has_ended(found.state):
        now = f", {found.state} now" if found.state and found.state != "queued" else ""
        return [f"{outcome}{now}"]
    again = " again" if found.state.lower() in FAILED_STATES else ""
    return [f"{outcome}, {found.state}{again} {found.after_s:.1f} s later"]


def _describe_many(row: CommandRow, found: ObservedEffect) -> list[str]:
    parts = [f"{row.done:,} of {row.total:,} done"]
    if row.failed:
        parts.append(f"{row.failed:,} failed")
    if found.failed_again:
        of = "" if found.looked_at >= row.done else f" of the {found.looked_at:,} checked"
        parts.append(f"{found.failed_again:,}{of} failed again")
    return parts


def _count_failed_again(source: Source, targets: list[str]) -> ObservedEffect:
    deadline = time.monotonic() + RETRY_FOLLOW_S
    again = looked_at = 0
    for target in targets:
        if time.monotonic() >= deadline:
            break
        again += (read_job_state(source, target) or "").lower() in FAILED_STATES
        looked_at += 1
    return ObservedEffect(failed_again=again, looked_at=looked_at)


def _load_done_targets(row: CommandRow) -> list[str]:
    return _load_targets(row.id, ItemRow.state == "done")


def _load_targets(command_id: str, *which: sa.ColumnElement[bool]) -> list[str]:
    query = sa.select(ItemRow.target).where(ItemRow.command_id == command_id, *which).order_by(ItemRow.place)
    with read() as session:
        return list(session.scalars(query.limit(MAX_JOBS_READ)))
