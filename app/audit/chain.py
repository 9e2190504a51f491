"""Writing the audit: every entry seals the one before it with a SHA-256 over the stored text."""

import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit.models import AuditRow
from app.clock import utc_text

FIRST = "0" * 64
# What the hash covers, in this order; each part is preceded by its length, so that no two entries look alike.
SEALED = (
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


@dataclass(frozen=True, slots=True)
class Entry:
    """What to record. `before`, `after`, `params` hold no secrets: the caller leaves them out."""

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


@dataclass(frozen=True, slots=True)
class Verified:
    """The outcome of reading the chain from its start: how many entries hold, its head, the first that does not."""

    count: int
    head: str
    broken: str | None = None


def record(session: Session, entry: Entry) -> str:
    """Add `entry` to the chain inside `db.write()` and return its id; after state rows, before the event."""
    session.flush()
    if session.get_bind().dialect.name == "postgresql":
        # One writer of the chain at a time; SQLite's write() has only one anyway.
        session.execute(sa.text("SELECT pg_advisory_xact_lock(4207001)"))
    last = session.execute(sa.select(AuditRow.seq, AuditRow.hash).order_by(AuditRow.seq.desc()).limit(1)).one_or_none()
    row = AuditRow(
        id=uuid.uuid4().hex,
        timestamp=utc_text(),
        actor=entry.actor,
        action_type=entry.action_type,
        target=entry.target,
        outcome=entry.outcome,
        stage=entry.stage,
        command_id=entry.command_id,
        before_state_json=_text(entry.before),
        after_state_json=_text(entry.after),
        command_params_json=_text(entry.params),
        logs_json=_text(entry.logs or None),
        seq=last.seq + 1 if last else 1,
        prev_hash=last.hash if last else FIRST,
    )
    row.hash = seal(row)
    session.add(row)
    session.flush()
    return row.id


def seal(row: AuditRow | sa.Row[Any]) -> str:
    """The hash of an entry: over the text as it is stored, never serialised anew."""
    digest = hashlib.sha256()
    for name in SEALED:
        value = getattr(row, name)
        part = b"-" if value is None else b"=" + str(value).encode()
        digest.update(f"{len(part)}:".encode() + part)
    return digest.hexdigest()


def verify(session: Session) -> Verified:
    """Read the chain from its start to the first entry that does not hold."""
    count, head = 0, FIRST
    for row in _rows(session):
        broken = _broken(row, count + 1, head)
        if broken:
            return Verified(count, head, f"entry {row.id} (seq {row.seq}): {broken}")
        count, head = count + 1, row.hash
    return Verified(count, head)


def _rows(session: Session, page: int = 1_000) -> Iterator[sa.Row[Any]]:
    columns = [getattr(AuditRow, name) for name in (*SEALED, "hash")]
    seq: int | None = None
    while True:
        query = sa.select(*columns).order_by(AuditRow.seq).limit(page)
        rows = session.execute(query if seq is None else query.where(AuditRow.seq > seq)).all()
        if not rows:
            return
        yield from rows
        seq = rows[-1].seq


def _broken(row: sa.Row[Any], seq: int, prev_hash: str) -> str | None:
    if row.seq != seq:
        return f"expected seq {seq}: an entry is missing before it"
    if row.prev_hash != prev_hash:
        return "does not seal the entry before it"
    return None if seal(row) == row.hash else "its content is not what was sealed"


def _text(value: Any) -> str | None:
    return None if value is None else json.dumps(value, sort_keys=True, ensure_ascii=False)
