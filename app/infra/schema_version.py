"""Whether the tables are those of this version, without Alembic, which a server has no other use for."""

from functools import cache
from pathlib import Path
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.infra import database_errors

# PostgreSQL's advisory lock of whoever migrates (migrations/env.py).
MIGRATION_LOCK = 4207011
_MIGRATES = sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = :lock AND granted")
VERSIONS = Path(__file__).resolve().parents[2] / "migrations" / "versions"
Lack = Literal["migrating", "empty", "behind"]


@cache
def newest() -> str:
    """Their files are numbered in order."""
    return max(path.name[:4] for path in VERSIONS.glob("[0-9]*.py"))


def lack(session: Session) -> tuple[Lack, str] | None:
    """What is missing before this version can serve, and in words what to do; None for nothing. A newer one will do."""
    current = _revision(session)
    if current is not None and current >= newest():
        return None
    if _is_migrating(session):
        return "migrating", "beacon migrate is at work on the database"
    if current is None:
        return "empty", "the database answers and was never migrated; run beacon migrate"
    return "behind", f"the database is at revision {current}, this version needs {newest()}; run beacon migrate"


def _revision(session: Session) -> str | None:
    try:
        found: str | None = session.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    except DBAPIError as error:
        session.rollback()
        if database_errors.of(error).state != "not migrated":
            raise
        return None
    return found


def _is_migrating(session: Session) -> bool:
    """On SQLite a server migrates before it serves."""
    if session.get_bind().dialect.name == "sqlite":
        return False
    return bool(session.execute(_MIGRATES, {"lock": MIGRATION_LOCK}).scalar())
