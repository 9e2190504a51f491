"""Checks that the database schema matches this version, without Alembic, which a server does not need otherwise."""

from functools import cache
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.infra import database_errors, resources

# PostgreSQL's advisory lock that a migration holds (migrations/env.py).
MIGRATION_LOCK = 4207011
_COUNT_MIGRATIONS = sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = :lock AND granted")
VERSIONS_DIR = resources.MIGRATIONS / "versions"
SchemaProblem = Literal["migrating", "empty", "behind"]


@cache
def newest_revision() -> str:
    """The newest migration: their files are numbered in order."""
    return max(path.name[:4] for path in VERSIONS_DIR.glob("[0-9]*.py"))


def find_schema_problem(session: Session) -> tuple[SchemaProblem, str] | None:
    """Return what keeps this version from serving and what to do; None if nothing does. A newer schema is fine."""
    current = _revision(session)
    if current is not None and current >= newest_revision():
        return None
    if _is_migrating(session):
        return "migrating", "beacon migrate is running on the database"
    if current is None:
        return "empty", "the database is reachable but was never migrated; run beacon migrate"
    return (
        "behind",
        f"the database is at revision {current}, this version needs {newest_revision()}; run beacon migrate",
    )


def _revision(session: Session) -> str | None:
    try:
        found: str | None = session.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    except DBAPIError as error:
        session.rollback()
        if database_errors.classify_error(error).state != "not migrated":
            raise
        return None
    return found


def _is_migrating(session: Session) -> bool:
    """True while a migration runs. Never on SQLite, where a server migrates before it serves."""
    if session.get_bind().dialect.name == "sqlite":
        return False
    return bool(session.execute(_COUNT_MIGRATIONS, {"lock": MIGRATION_LOCK}).scalar())
