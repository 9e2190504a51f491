"""Backs up and restores a PostgreSQL database with `pg_dump` and `pg_restore`: owners, grants and triggers too."""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from app.infra.backup_file import BackupError, replace_file

CONNECT_TIMEOUT_S = 5
# Everything in Beacon's schema, except what belongs to an extension. What a table owns is dropped with it.
_SELECT_OBJECTS = sa.text("""
SELECT format('DROP %s IF EXISTS %s CASCADE', kind, name) FROM (
  SELECT CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE'
    ELSE 'TABLE' END AS kind, oid::regclass::text AS name, 'pg_class'::regclass AS class, oid
  FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S')
    AND NOT EXISTS (SELECT 1 FROM pg_depend i WHERE i.classid = 'pg_class'::regclass AND i.objid = pg_class.oid
      AND i.deptype IN ('i', 'a') AND relkind = 'S')
  UNION ALL
  SELECT 'ROUTINE', oid::regprocedure::text, 'pg_proc'::regclass, oid
  FROM pg_proc WHERE pronamespace = current_schema()::regnamespace
) AS mine WHERE NOT EXISTS (
  SELECT 1 FROM pg_depend d WHERE d.classid = mine.class AND d.objid = mine.oid AND d.deptype = 'e')
ORDER BY kind = 'ROUTINE'
""")
_COUNT_TABLES = sa.text("SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()")
# A role that is no superuser gets only name, user and database of the sessions of others.
_SELECT_SESSIONS = sa.text("""
SELECT coalesce(nullif(application_name, ''), usename, 'a program') AS name, pid,
  coalesce(host(client_addr), CASE WHEN backend_type IS NULL THEN 'a hidden address' ELSE 'this host' END) AS host
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
  AND coalesce(backend_type = 'client backend', usesysid IS NOT NULL) ORDER BY pid
""")
MAX_SHOWN_SESSIONS = 5


def back_up(url: str, target: Path) -> None:
    """Dump one snapshot of the database into `target`, in PostgreSQL's custom format."""
    with replace_file(target) as partial:
        _run("pg_dump", url, "--format=custom", f"--file={partial}")


def read_revision(path: Path) -> str | None:
    """The revision of the schema in a dump; None if it has none. Raises `BackupError` for a damaged dump."""
    _run("pg_restore", None, "--file=/dev/null", str(path))  # reads all of it
    text = _run("pg_restore", None, "--data-only", "--table=alembic_version", "--file=-", str(path))
    found = re.search(r"^COPY \S*alembic_version .*\n(\w+)$", text, re.MULTILINE)
    return found[1] if found else None


def restore(url: str, path: Path) -> None:
    """Load a dump into an empty database: all of it or nothing."""
    _run("pg_restore", url, "--single-transaction", "--exit-on-error", str(path))


def is_empty(connection: Connection) -> bool:
    return not connection.execute(_COUNT_TABLES).scalar()


def find_users(connection: Connection) -> str:
    """Describe the other sessions of this database; empty if there is none."""
    rows = connection.execute(_SELECT_SESSIONS).all()
    shown = [f"{row.name} from {row.host} (pid {row.pid})" for row in rows[:MAX_SHOWN_SESSIONS]]
    more = [f"{len(rows) - len(shown)} more"] if len(rows) > len(shown) else []
    return ", ".join([*shown, *more])


def drop_everything(connection: Connection) -> None:
    """Drop all tables, views, sequences and functions of the schema that Beacon uses."""
    for statement in connection.execute(_SELECT_OBJECTS).scalars().all():
        connection.exec_driver_sql(statement)


def _run(program: str, url: str | None, *arguments: str) -> str:
    """Run one of PostgreSQL's programs and return its output. Every user sees arguments, so none holds the password."""
    found = shutil.which(program)
    if found is None:
        raise BackupError(
            f"{program} was not found in PATH: install PostgreSQL's client programs "
            "(Debian: postgresql-client), of the server's version or newer"
        )
    command, environment = [found, *_connection_arguments(url), *arguments], dict(os.environ)
    if url is not None and (password := sa.make_url(url).password):
        environment["PGPASSWORD"] = password
    environment.setdefault("PGCONNECT_TIMEOUT", str(CONNECT_TIMEOUT_S))
    ended = subprocess.run(  # noqa: S603 -- our own arguments
        command, check=False, env=environment, capture_output=True, text=True, errors="replace"
    )
    if ended.returncode:
        raise BackupError(explain_failure(program, ended.stderr))
    return ended.stdout


def _connection_arguments(url: str | None) -> Sequence[str]:
    if url is None:
        return ()
    bare = sa.make_url(url)._replace(drivername="postgresql", password=None)  # `set` takes None for "unchanged"
    return "--no-password", f"--dbname={bare.render_as_string(hide_password=False)}"


def explain_failure(program: str, told: str) -> str:
    """Return the program's own reason, and what to do about it if that is known."""
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    reason = next((line for line in lines if "error:" in line), lines[0] if lines else "it said nothing")
    reason = reason.removeprefix(f"{program}: ").removeprefix("error: ")
    if "server version" in told and "mismatch" in told:
        return f"{program} failed: {reason}; install PostgreSQL's client programs of the server's version or newer"
    if "unsupported version" in told:
        return f"{program} failed: {reason}; a newer pg_dump made the file: install client programs of that version"
    if "must be able to SET ROLE" in told or "must be member of role" in told or "must be owner" in told:
        return f"{program} failed: {reason}; run it as the role that owns the tables, or as a superuser"
    if 'role "' in told and "does not exist" in told:
        return f"{program} failed: {reason}; create the roles first (pg_dumpall --roles-only on the old server)"
    return f"{program} failed: {reason}"
