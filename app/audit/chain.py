"""Writing the audit: every entry seals the one before it with a SHA-256 over the stored text."""

import hashlib
import json
import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

import sqlalchemy as sa
from flask import has_request_context, request
from sqlalchemy.orm import Session

from app.audit import redaction
from app.audit.models import AuditRow
from app.infra.clock import utc_now, utc_text

log = logging.getLogger(__name__)

GENESIS_HASH = "0" * 64
# So far the last entry may be ahead of the clock, and the chain's time stands still until that has caught up.
MAX_CLOCK_LEAD = timedelta(minutes=10)
# What the hash covers, in this order; each part is preceded by its length, so that no two entries look alike.
SEALED_COLUMNS = (
    "id",
    "seq",
    "timestamp",
    "actor",
    "action_type",
    "target",
    "stage",
    "outcome",
    "command_id",
    "before_state_json",
    "after_state_json",
    "command_params_json",
    "logs_json",
    "prev_hash",
)


# Sealed behind the others where there is one: so entries from before it was kept hold as they are.
OPTIONAL_SEALED_COLUMNS = ("origin",)


@dataclass(frozen=True, slots=True)
class Entry:
    """What to record. `origin` is where it came from: without one, the address of the request that is served."""

    actor: str
    action_type: str
    target: str
    outcome: Literal["success", "failure", "timeout"] = "success"
    stage: Literal["accepted", "result"] = "result"
    command_id: str | None = None
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    params: Mapping[str, Any] | None = None
    logs: list[str] = field(default_factory=list)
    origin: str | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the chain; of an empty one, what its first entry will seal."""

    seq: int
    hash: str
    timestamp: str


def record(session: Session, entry: Entry) -> str:
    """Add `entry` to the chain inside `db.write()` and return its id; after state rows, before the event."""
    session.flush()
    lock(session)
    last = read_head(session)
    row = AuditRow(
        id=uuid.uuid4().hex,
        timestamp=_time_after(last),
        actor=redaction.redact_text(entry.actor),
        action_type=entry.action_type,
        target=redaction.redact_text(entry.target),
        outcome=entry.outcome,
        stage=entry.stage,
        command_id=entry.command_id,
        before_state_json=_to_json(entry.before),
        after_state_json=_to_json(entry.after),
        command_params_json=_to_json(entry.params),
        logs_json=_to_json(entry.logs or None),
        origin=redaction.redact_text(entry.origin or _request_address() or "") or None,
        seq=last.seq + 1,
        prev_hash=last.hash,
    )
    row.hash = seal(row)
    session.add(row)
    session.flush()
    return row.id


def lock(session: Session) -> None:
    """One writer of the chain at a time; SQLite's write() has only one anyway. Take no row's lock before it that
    somebody takes behind it."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(sa.text("SELECT pg_advisory_xact_lock(4207001)"))


def _time_after(last: Head) -> str:
    """Clocks are set back; the chain's time is not, so that its order is the order of time too.

    Only a clock that was far ahead once, or a row that somebody wrote by hand, does not decide the time of all others.
    """
    now, then = utc_now(), str(last.timestamp)
    if then > utc_text(now + MAX_CLOCK_LEAD):
        log.warning("audit entry seq=%s has a time to come, %.40s: the next one has the clock's again", last.seq, then)
        return utc_text(now)
    return max(utc_text(now), then)


def seal(row: AuditRow | sa.Row[Any]) -> str:
    """The hash of an entry: over the text as it is stored, never serialised anew."""
    digest = hashlib.sha256()
    kept = [name for name in OPTIONAL_SEALED_COLUMNS if getattr(row, name) is not None]
    for name in (*SEALED_COLUMNS, *kept):
        value = getattr(row, name)
        part = b"-" if value is None else b"=" + str(value).encode()
        digest.update(f"{len(part)}:".encode() + part)
    return digest.hexdigest()


def read_head(session: Session) -> Head:
    newest = sa.select(AuditRow.seq, AuditRow.hash, AuditRow.timestamp).order_by(AuditRow.seq.desc()).limit(1)
    row = session.execute(newest).one_or_none()
    return Head(0, GENESIS_HASH, "") if row is None else Head(row.seq, row.hash, row.timestamp)


def _request_address() -> str | None:
    return request.remote_addr if has_request_context() else None


def _to_json(value: Any) -> str | None:
    return None if value is None else json.dumps(redaction.redact(value), sort_keys=True, ensure_ascii=False)
