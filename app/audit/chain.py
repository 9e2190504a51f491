"""Appends entries to the audit chain; each one holds the SHA-256 of the entry before it."""

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

from app.audit.models import AuditRow
from app.infra import redaction
from app.infra.clock import utc_now, utc_text

log = logging.getLogger(__name__)

GENESIS_HASH = "0" * 64
# If the last entry is ahead of the clock by at most this, new entries repeat its time until the clock catches up.
MAX_CLOCK_LEAD = timedelta(minutes=10)
# The columns that the hash covers, in this order. A length precedes each value, so the encoding is unambiguous.
SEALED_COLUMNS = (
    "id", "seq", "timestamp", "actor", "action_type", "target", "stage", "outcome", "command_id", "before_state_json",
    "after_state_json", "command_params_json", "logs_json", "prev_hash",
)  # fmt: skip
# Hashed after the others, only if not NULL, so that entries from before these columns existed stay valid.
OPTIONAL_SEALED_COLUMNS = ("origin",)


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry to record. `origin` defaults to the client address of the current request."""

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
    """The last entry of the chain. For an empty chain, seq 0 and `GENESIS_HASH`."""

    seq: int
    hash: str
    timestamp: str


def record(session: Session, entry: Entry) -> str:
    """Append `entry` to the chain inside `db.write()` and return its id; call it after state rows, before events."""
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
    """Let one transaction at a time write the chain; SQLite's write() already does.

    To avoid deadlocks, do not lock a row before this if another transaction locks that row after it.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(sa.text("SELECT pg_advisory_xact_lock(4207001)"))


def _time_after(last: Head) -> str:
    """The time for the next entry. It never goes back when the clock does, so seq order is time order.

    An entry far in the future, from a wrong clock or written by hand, is ignored, or it would set the time of all
    later entries.
    """
    now, then = utc_now(), str(last.timestamp)
    if then > utc_text(now + MAX_CLOCK_LEAD):
        log.warning(
            "audit entry seq=%s has a time in the future, %.40s; ignoring it for the next entry", last.seq, then
        )
        return utc_text(now)
    return max(utc_text(now), then)


def seal(row: AuditRow | sa.Row[Any]) -> str:
    """The hash of an entry, computed over the stored text; JSON is never serialised again."""
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
