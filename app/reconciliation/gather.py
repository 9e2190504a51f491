"""Checks that changed nothing: gathered, and told at most once a second in one event that only moves ages."""

import threading
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.clock import utc_text
from app.db import write
from app.eventlog.append import NewEvent, append
from app.eventlog.payloads import Check, ReconciliationVerified
from app.reconciliation import rows
from app.reconciliation.models import ServiceState
from app.reconciliation.state import Heard, Verdict
from app.sources.lease import Claim

# An event holds 64 KiB; a check takes at most some 140 bytes of it.
CHECKS_AN_EVENT = 400


@dataclass(frozen=True, slots=True)
class Unchanged:
    """A check of a service whose belief is still at `version`."""

    claim: Claim
    service_id: str
    version: int
    verdict: Verdict
    heard: Heard
    log_cursor: int = 0


class VerifiedGatherer:
    """`add` from every loop, `flush` once a second. Only the newest check of a service is kept."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, Unchanged] = {}

    def add(self, check: Unchanged) -> None:
        with self._lock:
            self._waiting[check.service_id] = check

    def flush(self, claim: Claim) -> None:
        """One commit under the lease. Where it fails the checks are lost: ages then stay older than they are."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        # A check made under an earlier claim says nothing about the time since.
        mine = [check for check in waiting.values() if check.claim == claim]
        if not mine:
            return
        with write() as session:
            claim.guard(session)
            moved = [check for check in sorted(mine, key=lambda check: check.service_id) if _moved(session, check)]
            append(session, _events(moved))


def _moved(session: Session, check: Unchanged) -> bool:
    """Move the service's times, unless its belief has changed since or a later check was written."""
    verdict, look = check.verdict, check.heard.look
    at = utc_text(verdict.checked_at)
    times: dict[str, str | int | None] = {
        "checked_at": at,
        "last_poll_at": at,
        "last_answer_at": at,
        "latency_ms": verdict.latency_ms,
        "heard_at": utc_text(check.heard.began),
        "revision": look.revision,
        "instance_id": look.instance_id,
        "as_of": utc_text(look.as_of) if look.as_of else None,
        "failing_since": None,
        "waited_ms": None,
        "reason": verdict.reason,
        "health": look.health,
        "workers_json": rows.workers_text(look.workers),
        "log_cursor": check.log_cursor,
    }
    if verdict.last_verified_at is not None:
        times["last_verified_at"] = utc_text(verdict.last_verified_at)
    statement = (
        sa.update(ServiceState)
        .where(ServiceState.service_id == check.service_id, ServiceState.version == check.version)
        .values(times)
        .returning(ServiceState.service_id)
    )
    done = session.execute(statement, execution_options={"synchronize_session": False}).scalar_one_or_none()
    if done is not None:
        rows.write_sample(session, check.service_id, verdict, verdict.status, ok=True)
    return done is not None


def _events(checks: list[Unchanged]) -> list[NewEvent]:
    events = []
    for start in range(0, len(checks), CHECKS_AN_EVENT):
        part = checks[start : start + CHECKS_AN_EVENT]
        services = {
            check.service_id: Check(checked_at=check.verdict.checked_at, latency_ms=check.verdict.latency_ms)
            for check in part
        }
        events.append(NewEvent("reconciliation.verified", ReconciliationVerified(services=services)))
    return events
