"""Tells whether the log is still the one whose ids were handed out; a restored older one gets a new generation.

The first id of a new generation lies above every id that was ever handed out: it is the time in microseconds since
1970, and nobody writes a million events a second. Every cursor below it is older than the generation and is answered
with one `reset`, even after the log has grown past it.
"""

import hashlib
import secrets
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.eventlog import reader as log
from app.eventlog.models import EventGeneration, EventRow
from app.infra.clock import utc_now, utc_text

# The advisory lock that the trigger before every insert takes.
_APPEND_LOCK = 4207002
_SELECT_NEWEST = sa.select(EventGeneration).order_by(EventGeneration.id.desc()).limit(1)
# Identity of a database that a dump does not carry along: server, timeline, database and table.
_SELECT_IDENTITY = """
SELECT CASE WHEN pg_is_in_recovery() THEN NULL ELSE
  concat_ws(':', {system}, substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8), {database}, 'event'::regclass::oid) END
"""
_DATABASE = "(SELECT oid FROM pg_database WHERE datname = current_database())"
_SELECT_CAN_READ_SYSTEM = "SELECT has_function_privilege('pg_control_system()', 'execute')"
_SYSTEM = "(SELECT system_identifier FROM pg_control_system())"
SQLITE_IDENTITY = "sqlite"


@dataclass(frozen=True, slots=True)
class LogFingerprint:
    """Identifies what a log has handed out: its generation, the highest id and a digest of that id's row."""

    generation: str
    head: int
    digest: str = ""


def current_generation(session: Session) -> EventGeneration:
    return session.scalars(_SELECT_NEWEST).one()


def take_fingerprint(session: Session) -> LogFingerprint:
    """Return the fingerprint of the log as it is now."""
    head = log.head(session)
    return LogFingerprint(current_generation(session).generation, head, _digest(session, head))


def database_identity(session: Session) -> str | None:
    """Return the identity of this database; None if it cannot be determined, as on a standby."""
    connection = session.connection()
    if connection.dialect.name == "sqlite":
        return SQLITE_IDENTITY
    may_ask = connection.exec_driver_sql(_SELECT_CAN_READ_SYSTEM).scalar()
    statement = _SELECT_IDENTITY.format(system=_SYSTEM if may_ask else "''", database=_DATABASE)
    found: str | None = connection.exec_driver_sql(statement).scalar()
    return found


def is_replaced(session: Session, known: LogFingerprint | None) -> bool:
    """True if this log is not the one that `known` was taken from."""
    current, here = current_generation(session), database_identity(session)
    if current.place is not None and here is not None and current.place != here:
        return True
    if known is None:
        # A SQLite file that was served has a mark file beside it. Without one nothing is known: assume it was replaced.
        return here == SQLITE_IDENTITY and current.place is not None
    if current.generation != known.generation:
        return current.first_id <= known.head  # otherwise another worker has noticed it and begun this generation
    bounds = log.bounds(session)
    if bounds.head < known.head:
        return True
    found = _digest(session, known.head)
    return bool(known.digest) and found != known.digest and not (found == "" and known.head <= bounds.floor)


def begin_generation(session: Session, highest: int) -> EventGeneration:
    """Begin a generation whose first id lies above all ids ever handed out; `highest` is the last known one.

    Call it inside a write transaction.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(sa.select(sa.func.pg_advisory_xact_lock(_APPEND_LOCK)))
    head, now = log.head(session), utc_now()
    base = max(int(now.timestamp() * 1_000_000), head + 1, highest + 1)
    made = EventGeneration(
        generation=secrets.token_hex(4),
        after_id=head,
        first_id=base + 1,
        place=database_identity(session),
        began_at=utc_text(now),
    )
    session.add(made)
    session.flush()
    _advance_ids(session, base)
    return made


def _advance_ids(session: Session, base: int) -> None:
    connection = session.connection()
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT setval(pg_get_serial_sequence('event', 'id'), :base)"), {"base": base})
        return
    moved = connection.execute(sa.text("UPDATE sqlite_sequence SET seq = :base WHERE name = 'event'"), {"base": base})
    if moved.rowcount == 0:
        connection.execute(sa.text("INSERT INTO sqlite_sequence (name, seq) VALUES ('event', :base)"), {"base": base})


def _digest(session: Session, event_id: int) -> str:
    """Digest of the event's row; empty if there is none."""
    row = session.execute(
        sa.select(EventRow.type, EventRow.audience, EventRow.data_json, EventRow.created_at).where(
            EventRow.id == event_id
        )
    ).first()
    return "" if row is None else hashlib.sha256(repr(tuple(row)).encode()).hexdigest()[:16]
