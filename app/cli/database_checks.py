"""Checks of `beacon doctor` about how the database is reached, and with which rights."""

import json
import os
import secrets
import time
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.cli.finding import Finding
from app.config import Settings
from app.db import MAX_POSTGRES_CONNECTIONS, db, now_epoch, read
from app.flags.models import WorkerStateRow
from app.flags.worker_state import CLOCK_KEY, WORKER_EXPIRY_S
from app.infra import file_systems

MAX_CLOCK_DIFFERENCE_S = 1.0
NOTIFY_TIMEOUT_S = 2.0
# Tables whose rows nobody may change; Beacon deletes some of them when they are old.
_NEVER_UPDATED = {"event", "command_audit", "discrepancy_event"}
_VERSION_TABLE = "alembic_version"
_SELECT_LIMITS = sa.text("""
SELECT current_setting('max_connections')::int AS most,
  current_setting('superuser_reserved_connections')::int
    + coalesce(current_setting('reserved_connections', true)::int, 0) AS reserved,
  (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user) AS of_role,
  (SELECT datconnlimit FROM pg_database WHERE datname = current_database()) AS of_database,
  (SELECT count(*) FROM pg_stat_activity
    -- the kind of another role's session is hidden from a role that is no superuser
    WHERE coalesce(backend_type = 'client backend', usesysid IS NOT NULL) AND datname <> current_database()) AS others
""")
_SELECT_PRIVILEGES = sa.text("""
SELECT name, has_table_privilege(name, 'SELECT') AS "SELECT", has_table_privilege(name, 'INSERT') AS "INSERT",
  has_table_privilege(name, 'UPDATE') AS "UPDATE", has_table_privilege(name, 'DELETE') AS "DELETE"
FROM unnest(CAST(:names AS text[])) AS name WHERE to_regclass(name) IS NOT NULL
""")
_SELECT_SEQUENCES = sa.text("""
SELECT oid::regclass::text FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND CASE WHEN relkind = 'S'
  THEN NOT (has_sequence_privilege(oid, 'USAGE') AND has_sequence_privilege(oid, 'UPDATE')) END
""")
_SELECT_OWNER = sa.text("""
SELECT tableowner FROM pg_tables
WHERE schemaname = current_schema() AND tablename = 'event' AND NOT pg_has_role(tableowner, 'MEMBER')
""")


def check_file_system(settings: Settings) -> Finding:
    """Check that SQLite's file is on a disk of this host: over a network its locks do not hold."""
    if not settings.is_sqlite:
        return Finding("disk", True, "PostgreSQL manages its own")
    path = Path(settings.database_url.removeprefix("sqlite:///"))
    kind = file_systems.find_network_type(path)
    if kind is None:
        return Finding("disk", True, f"{path.parent} is not on a network file system")
    advice = "move BEACON_INSTANCE_DIR to a disk of this host; for several hosts use PostgreSQL"
    return Finding("disk", False, f"{path.parent} is on {kind}, where SQLite's locks do not hold: {advice}")


def check_privileges(settings: Settings) -> Finding:
    """Check that Beacon may read and write all of its tables, before a request finds out."""
    wrong = _find_file_problem(settings) if settings.is_sqlite else _find_missing_privileges()
    if wrong:
        return Finding("privileges", False, wrong)
    return Finding("privileges", True, "may read and write" + ("" if settings.is_sqlite else _describe_owner()))


def check_connections(settings: Settings) -> Finding:
    """Compare the connections that all of Beacon's processes may open with those that PostgreSQL allows."""
    if settings.is_sqlite:
        return Finding("connections", True, "SQLite has no limit")
    with read() as session:
        limits = session.execute(_SELECT_LIMITS).one()
        running = [worker for worker, _ in _live_workers(session)]
    least = [limits.most - limits.reserved, *(one for one in (limits.of_role, limits.of_database) if one >= 0)]
    allowed, web = min(least), max(len(running), settings.workers)
    hosts = max(1, len({_host_of(worker) for worker in running}))
    wanted = (web + hosts) * MAX_POSTGRES_CONNECTIONS
    text = (
        f"{_count(web, 'web worker')} on {_count(hosts, 'host')}, and a worker on each host, may open {wanted}, "
        f"{MAX_POSTGRES_CONNECTIONS} each; the server allows {allowed}, other databases use {limits.others}"
    )
    if wanted + limits.others <= allowed:
        return Finding("connections", True, text)
    advice = "raise max_connections (or the limit of the role or database), or lower BEACON_WORKERS"
    return Finding("connections", False, f"{text}: {advice}")


def check_notifications(settings: Settings) -> Finding:
    """Send a notification, as a commit on another host would, and wait for it."""
    if settings.is_sqlite:
        return Finding("wake-ups", True, "workers notice commits in SQLite's file")
    from app.infra import postgres  # local: psycopg would add a tenth to the imports of a server on SQLite

    channel = f"beacon_doctor_{secrets.token_hex(4)}"
    with (
        postgres.connect(settings.database_url, autocommit=True, prepare_threshold=None) as listener,
        postgres.connect(settings.database_url, autocommit=True, prepare_threshold=None) as sender,
    ):
        listener.execute(f"LISTEN {channel}".encode())
        sender.execute(f"NOTIFY {channel}".encode())
        began = time.monotonic()
        if any(True for _ in listener.notifies(timeout=NOTIFY_TIMEOUT_S, stop_after=1)):
            return Finding("wake-ups", True, f"a notification came after {(time.monotonic() - began) * 1000:.0f} ms")
    text = (
        "no notification came: a pooler in transaction mode, such as pgbouncer, is in between, so events come up to "
        "2 s late and Beacon's time limits do not hold; name PostgreSQL itself in BEACON_DATABASE_URL, or set "
        "pool_mode = session"
    )
    return Finding("wake-ups", False, text)


def check_clocks() -> Finding:
    """Compare this host's clock, and those of the hosts whose web workers run, with the database's."""
    with read() as session:
        differences = {"this host": time.time() - (session.scalar(sa.select(now_epoch())) or 0.0)}
        for worker, stored in _live_workers(session):
            ahead = json.loads(stored).get(CLOCK_KEY)
            if isinstance(ahead, int | float):
                differences[_host_of(worker)] = float(ahead)
    wrong = {host: ahead for host, ahead in differences.items() if abs(ahead) > MAX_CLOCK_DIFFERENCE_S}
    if wrong:
        told = ", ".join(f"{host} is {abs(by):.1f} s {'ahead' if by > 0 else 'behind'}" for host, by in wrong.items())
        advice = "synchronize all hosts with NTP, or the dashboard shows wrong ages"
        return Finding("clock", False, f"compared with the database's clock, {told}; {advice}")
    most = max(abs(ahead) for ahead in differences.values())
    others = len(differences) - 1
    where = f", here and on {_count(others, 'host')} with web workers" if others else ""
    return Finding("clock", True, f"at most {most:.2f} s from the database's{where}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _host_of(worker: str) -> str:
    return worker.partition(":")[0]


def _live_workers(session: Session) -> list[tuple[str, str]]:
    """Name and state of each web worker that runs, on all hosts."""
    alive = WorkerStateRow.seen > now_epoch() - WORKER_EXPIRY_S
    rows = session.execute(sa.select(WorkerStateRow.worker, WorkerStateRow.nominal_json).where(alive)).all()
    return [(row.worker, row.nominal_json) for row in rows]


def _find_file_problem(settings: Settings) -> str:
    path = Path(settings.database_url.removeprefix("sqlite:///"))
    for one, what in ((path, "the database"), (path.parent, "its folder, where SQLite keeps the write-ahead log")):
        if one.exists() and not os.access(one, os.R_OK | os.W_OK):
            return f"may not write to {one}, {what}: give it to the user that runs Beacon"
    return ""


def _find_missing_privileges() -> str:
    """Name what is missing, with the statement that grants it; empty if nothing is."""
    quote = db.engine.dialect.identifier_preparer.quote
    names = [quote(name) for name in (*sorted(db.metadata.tables), _VERSION_TABLE)]
    missing: dict[str, list[str]] = {}
    with read() as session:
        role = session.scalar(sa.select(sa.func.current_user())) or ""
        for row in session.execute(_SELECT_PRIVILEGES, {"names": names}):
            for right in _needed_rights(row.name):
                if not row._mapping[right]:
                    missing.setdefault(right, []).append(row.name)
        sequences = list(session.scalars(_SELECT_SEQUENCES))
    grants = [f"GRANT {right} ON {', '.join(tables)} TO {role}" for right, tables in sorted(missing.items())]
    if sequences:
        grants.append(f"GRANT USAGE, UPDATE ON SEQUENCE {', '.join(sequences)} TO {role}")
    return f"{role} lacks rights; the owner has to run: {'; '.join(grants)}" if grants else ""


def _needed_rights(table: str) -> tuple[str, ...]:
    if table == _VERSION_TABLE:
        return ("SELECT",)
    return ("SELECT", "INSERT", "DELETE") if table in _NEVER_UPDATED else ("SELECT", "INSERT", "UPDATE", "DELETE")


def _describe_owner() -> str:
    """Who has to migrate, if it is not this role."""
    with read() as session:
        owner = session.scalar(_SELECT_OWNER)
    return f"; the tables belong to {owner}, as which beacon migrate has to run" if owner else ""
