"""Backs up and restores a SQLite database, with SQLite's own backup, which blocks no writer."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from app.infra import lock_holders
from app.infra.backup_file import BackupError, replace_file

_BUSY_TIMEOUT_S = 5.0
# What SQLite keeps beside a database.
_LOGS = ("-wal", "-shm", "-journal")


def back_up(database: Path, target: Path) -> None:
    """Copy the database as it is at one moment into `target`, one file that needs no write-ahead log."""
    if not database.exists():
        raise BackupError(f"there is no database at {database}; check BEACON_INSTANCE_DIR and BEACON_DATABASE_URL")
    if target.resolve() in (_beside(database.resolve(), end) for end in ("", *_LOGS, "-mark")):
        raise BackupError(f"{target} is the database itself, or a part of it: name another file")
    with replace_file(target) as partial:
        try:
            with closing(_open(database, "ro")) as source, closing(_open(partial, "rw")) as copy:
                source.backup(copy)
                copy.execute("PRAGMA journal_mode=DELETE")
        except sqlite3.Error as error:
            raise BackupError(f"the backup failed: {error}; {target} is unchanged") from error
        check_file(partial, f"the database {database}")


def check_file(path: Path, what: str) -> None:
    """Check that SQLite can read all of the file. Raises `BackupError`."""
    try:
        with closing(_open(path, "ro&immutable=1")) as copy:
            found = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        found = str(error)
    if found != "ok":
        raise BackupError(f"{what} is damaged: {found}; use an older backup")


def require_complete(path: Path) -> None:
    """Refuse a copy of a database as it is in use: its newest changes are in another file. Raises `BackupError`."""
    for log in (_beside(path, "-wal"), _beside(path, "-journal")):
        if log.exists() and log.stat().st_size:
            raise BackupError(
                f"{path} is no backup but a database, whose newest changes are in {log.name}: "
                "make a backup of it with beacon backup, and restore that"
            )


def read_revision(path: Path) -> str | None:
    """Return the revision of the schema in a backup; None if it has none."""
    try:
        with closing(_open(path, "ro&immutable=1")) as copy:
            found = copy.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error:
        return None
    return None if found is None else str(found[0])


def is_empty(database: Path) -> bool:
    """True if there is no database, or one without a table. A damaged one is not empty."""
    if not database.exists() or not database.stat().st_size:
        return True
    try:
        with closing(_open(database, "ro")) as connection:
            return not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    except sqlite3.Error:
        return False


def find_users(database: Path) -> str:
    """Describe the programs that have the database open; empty if there are none."""
    if is_empty(database):
        return ""
    try:
        with closing(_open(database, "rw")) as connection:
            connection.execute("PRAGMA journal_mode=DELETE")  # allowed only if no other connection is open
            connection.execute("PRAGMA journal_mode=WAL")
    except sqlite3.Error as error:  # a damaged file cannot be queried, but the kernel knows who has it open
        holders = lock_holders.find_users(str(database))
        return lock_holders.describe_holders(holders) if holders or "locked" in str(error) else ""
    return ""


def restore(source: Path, database: Path) -> None:
    """Replace the database by a copy of the backup."""
    database = database.resolve()  # the file itself, wherever a symbolic link points
    with replace_file(database) as partial:
        try:
            shutil.copyfile(source, partial)
        except OSError as error:
            raise BackupError(f"{source} cannot be copied: {error.strerror}; {database} is unchanged") from error
        for end in _LOGS:  # of the former database: SQLite would apply them to this one
            _beside(database, end).unlink(missing_ok=True)


def _beside(database: Path, end: str) -> Path:
    return database.with_name(database.name + end)


def _open(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path))}?mode={mode}", uri=True, timeout=_BUSY_TIMEOUT_S)
