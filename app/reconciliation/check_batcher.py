"""Batches checks that changed nothing: at most one event a second, which only updates their times."""

import threading
from dataclasses import dataclass
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db import write
from app.eventlog.append import NewEvent, append
from app.eventlog.event_types import ReconciliationVerified, VerifiedCheck
from app.infra.clock import utc_text
from app.infra.lease import LeaseClaim
from app.reconciliation import row_memory, row_writer
from app.reconciliation.models import ServiceState
from app.reconciliation.types import Observation, ServiceVerdict, iter_slices

_state = cast(sa.Table, ServiceState.__table__)
# One statement for all services of a second, with one set of times for each.
_UPDATE_TIMES = (
    sa.update(_state)
    .where(_state.c.service_id == sa.bindparam("service"))
    .values(last_verified_at=sa.func.coalesce(sa.bindparam("verified"), _state.c.last_verified_at))
)

# An event holds 64 KiB; a check takes at most about 140 bytes of it.
MAX_CHECKS_PER_EVENT = 400


@dataclass(frozen=True, slots=True)
class UnchangedCheck:
    """A check of a service whose known state is still at `version`."""

    claim: LeaseClaim
    service_id: str
    version: int
    verdict: ServiceVerdict
    observation: Observation
    log_cursor: int = 0


class CheckBatcher:
    """Every loop calls `add`; `flush` runs once a second. Only the newest check of a service is kept."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, UnchangedCheck] = {}

    def add(self, check: UnchangedCheck) -> None:
        with self._lock:
            self._waiting[check.service_id] = check

    def flush(self, claim: LeaseClaim) -> list[str]:
        """Write and publish the checks in one commit under the lease.

        Returns the services whose known state has changed since their check; nothing is written for these. If the
        commit fails, the checks are lost: their times then look older than they are.
        """
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        # A check made under an earlier claim says nothing about the time since.
        mine = sorted((check for check in waiting.values() if check.claim == claim), key=lambda check: check.service_id)
        if not mine:
            return []
        with write() as session:
            claim.guard(session)
            versions = _lock_versions(session, mine)
            moved = [check for check in mine if versions.get(check.service_id) == check.version]
            for part in iter_slices(moved, row_writer.MAX_ROWS_PER_WRITE):
                session.connection().execute(_UPDATE_TIMES, [_time_columns(check) for check in part])
                row_writer.write_samples(session, [_build_sample(check) for check in part])
            append(session, _build_events(moved))
        published = {check.service_id for check in moved}
        return [check.service_id for check in mine if check.service_id not in published]


def _lock_versions(session: Session, checks: list[UnchangedCheck]) -> dict[str, int]:
    """The version of each service's known state, locked until the commit. A later check has a later version."""
    versions: dict[str, int] = {}
    for part in iter_slices(checks, row_writer.MAX_ROWS_PER_WRITE):
        mine = _state.c.service_id.in_([check.service_id for check in part])
        locked = sa.select(_state.c.service_id, _state.c.version).where(mine).order_by(_state.c.service_id)
        versions.update((row.service_id, row.version) for row in session.execute(locked.with_for_update()))
    return versions


def _time_columns(check: UnchangedCheck) -> dict[str, Any]:
    verdict, look = check.verdict, check.observation.look
    at = utc_text(verdict.checked_at)
    return {
        "service": check.service_id,
        "verified": utc_text(verdict.last_verified_at) if verdict.last_verified_at else None,
        "checked_at": at,
        "last_poll_at": at,
        "last_answer_at": at,
        "latency_ms": verdict.latency_ms,
        "heard_at": utc_text(check.observation.began),
        "revision": look.revision,
        "instance_id": look.instance_id,
        "as_of": utc_text(look.as_of) if look.as_of else None,
        "failing_since": None,
        "waited_ms": None,
        "reason": verdict.reason,
        "health": look.health,
        "workers_json": row_writer.dump_workers(look.workers),
        "log_cursor": check.log_cursor,
        "figures_json": row_memory.dump_figures(verdict.figures),
    }


def _build_sample(check: UnchangedCheck) -> dict[str, Any]:
    return row_writer.build_sample(check.service_id, check.verdict, check.verdict.status, ok=True)


def _build_events(checks: list[UnchangedCheck]) -> list[NewEvent]:
    events = []
    for start in range(0, len(checks), MAX_CHECKS_PER_EVENT):
        part = checks[start : start + MAX_CHECKS_PER_EVENT]
        services = {
            check.service_id: VerifiedCheck(
                checked_at=check.verdict.checked_at, latency_ms=check.verdict.latency_ms, as_of=check.verdict.figures_at
            )
            for check in part
        }
        events.append(NewEvent("reconciliation.verified", ReconciliationVerified(services=services)))
    return events
