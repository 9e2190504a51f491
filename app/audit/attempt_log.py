"""Rate-limits audit entries: the first attempt of a minute is written at once, repeats become one summary.

So a stranger at the login, or a program that is refused all day, adds two entries a minute instead of thousands.
"""

import ipaddress
import logging
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.audit import chain
from app.audit.models import AttemptCount
from app.db import DatabaseUnavailable, read, write
from app.infra import redaction
from app.infra.clock import utc_text

log = logging.getLogger(__name__)

# Distinct attempts of one action type in one minute; all further ones are counted together as `OTHERS`.
MAX_GROUPS_PER_MINUTE = 60
OTHERS = "(others)"
# Minimum time between two writes of the same attempt by this process; in between it only counts.
WRITE_INTERVAL_S = 1.0
MAX_TRACKED_ATTEMPTS = 1_000


@dataclass(frozen=True, slots=True)
class Attempt:
    """Who tried which action on which target, and from where. All values are short."""

    action_type: str
    actor: str
    target: str
    origin: str
    role: str | None = None


def network_of(address: str) -> str:
    """The network to count an address under: a /64 for IPv6, because one client usually owns all of it."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if not isinstance(found, ipaddress.IPv6Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False))


def record_attempt(session: Session, attempt: Attempt, times: int = 1, full: chain.Entry | None = None) -> None:
    """Record an attempt inside `db.write()`: the first of its minute becomes an entry, the others are counted.

    `full` is a more detailed entry to write for the first attempt.
    """
    chain.lock(session)  # serializes the writers of the chain and of the counts
    minute = utc_text()[:16]
    row = session.get(AttemptCount, (*_key(attempt), minute))
    if row is None and _count_groups(session, attempt.action_type, minute) >= MAX_GROUPS_PER_MINUTE:
        attempt, full = Attempt(attempt.action_type, OTHERS, OTHERS, OTHERS), None
        row = session.get(AttemptCount, (*_key(attempt), minute))
    if row is not None:
        row.count += times
        return
    values = dict(zip(("action_type", "actor", "target", "origin"), _key(attempt), strict=True))
    session.add(AttemptCount(**values, minute=minute, count=times - 1))
    chain.record(session, full or _make_entry(attempt))


def write_summaries(now: str | None = None) -> int:
    """Write one summary entry for the repeats of each past minute; return how many. Safe to run on every worker."""
    minute = (now or utc_text())[:16]
    over = (
        sa.select(AttemptCount)
        .where(AttemptCount.minute < minute)
        .order_by(AttemptCount.minute)
        .limit(MAX_GROUPS_PER_MINUTE)
    )
    with read() as session:
        if session.scalar(sa.select(sa.func.count()).select_from(over.subquery())) == 0:
            return 0
    written = 0
    with write() as session:
        chain.lock(session)  # before the rows, as in `record_attempt`; the opposite order would deadlock
        for row in session.scalars(over).all():
            session.delete(row)
            if row.count:
                attempt = Attempt(row.action_type, row.actor, row.target, row.origin)
                chain.record(session, _make_entry(attempt, {"again": row.count, "minute": f"{row.minute}Z"}))
                written += 1
    return written


class AttemptRecorder:
    """Records the attempts of this process; the same attempt is written at most once a second."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wrote: dict[Attempt, float] = {}
        self._pending: Counter[Attempt] = Counter()

    def record(self, attempt: Attempt) -> None:
        now = time.monotonic()
        with self._lock:
            self._pending[attempt] += 1
            if now - self._wrote.get(attempt, -WRITE_INTERVAL_S) < WRITE_INTERVAL_S:
                return
            if len(self._wrote) >= MAX_TRACKED_ATTEMPTS:
                self._wrote.clear()
            self._wrote[attempt] = now
        self._write(attempt)

    def flush(self) -> None:
        """Write the attempts that were only counted, then the summaries of past minutes."""
        self.write_pending()
        write_summaries()

    def write_pending(self) -> None:
        """Write the attempts that were only counted. If the database refuses, the rest waits for the next flush."""
        with self._lock:
            waiting = list(self._pending)
        for attempt in waiting:
            if not self._write(attempt):
                return

    def _write(self, attempt: Attempt) -> bool:
        """True if it was written. Otherwise the next flush retries, so that the client gets its refusal, not a 503."""
        with self._lock:
            times = self._pending.pop(attempt, 0)
        if not times:
            return True
        try:
            with write() as session:
                record_attempt(session, attempt, times)
        except (DatabaseUnavailable, SQLAlchemyError) as error:
            log.warning(
                "audit of action=%s actor=%s delayed, will retry: %s",
                attempt.action_type,
                redaction.redact_text(attempt.actor),
                type(error).__name__,
            )
            with self._lock:
                self._pending[attempt] += times
            return False
        return True


def _key(attempt: Attempt) -> tuple[str, str, str, str]:
    return (
        attempt.action_type,
        redaction.redact_text(attempt.actor),
        redaction.redact_text(attempt.target),
        redaction.redact_text(attempt.origin),
    )


def _make_entry(attempt: Attempt, params: dict[str, Any] | None = None) -> chain.Entry:
    action, actor, target, origin = _key(attempt)
    all_params = {**({"role": attempt.role} if attempt.role else {}), **(params or {})}
    return chain.Entry(actor, action, target, "failure", params=all_params or None, origin=origin)


def _count_groups(session: Session, action_type: str, minute: str) -> int:
    mine = sa.select(sa.func.count()).where(AttemptCount.action_type == action_type, AttemptCount.minute == minute)
    return session.scalar(mine) or 0
