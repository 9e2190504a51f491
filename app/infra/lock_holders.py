"""Finds the processes that block others in the database, as far as possible, for the log and `beacon doctor`."""

import os
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from app.db import db

# Bytes of SQLite's shared memory: a writer locks the first, readers lock the others.
WRITER_BYTE, READER_BYTES = 120, range(123, 128)
# Each open connection locks this one.
OPEN_BYTE = 128
MAX_SHOWN_HOLDERS = 5
PROC = Path("/proc")

# Sessions that have written without committing, or hold an advisory lock by which Beacon's own writers take turns.
_SELECT_HOLDERS = sa.text("""
SELECT a.pid, coalesce(nullif(a.application_name, ''), a.usename, 'a program') AS name,
  coalesce(host(a.client_addr), 'this host') AS host, a.state,
  extract(epoch FROM clock_timestamp() - a.xact_start)::int AS age
FROM pg_stat_activity a
WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.xact_start IS NOT NULL
  AND (a.backend_xid IS NOT NULL OR EXISTS (
    SELECT 1 FROM pg_locks l WHERE l.pid = a.pid AND l.granted AND l.locktype = 'advisory'))
  AND cardinality(pg_blocking_pids(a.pid)) = 0
ORDER BY a.xact_start LIMIT 5
""")


@dataclass(frozen=True, slots=True)
class LockHolder:
    pid: int
    name: str
    doing: str
    age_s: int | None = None
    """How long it has been doing so, if the database says."""

    def __str__(self) -> str:
        since = "" if self.age_s is None else f" for {self.age_s} s"
        return f"{self.name} (pid {self.pid}), {self.doing}{since}"


def find_writers() -> list[LockHolder]:
    """Find the sessions that block other writers. Needs the application context; raises the driver's errors."""
    if db.engine.dialect.name == "sqlite":
        return _find_file_holders(db.engine.url.database or "", range(WRITER_BYTE, WRITER_BYTE + 1), "writing")
    with db.engine.connect() as connection:
        return _find_postgres_holders(connection)


def find_readers(path: str) -> list[LockHolder]:
    """Find the readers that block a checkpoint of this SQLite file."""
    return _find_file_holders(path, READER_BYTES, "reading")


def find_users(path: str) -> list[LockHolder]:
    """Find the other processes that have this SQLite file open, reading or not."""
    return _find_file_holders(path, range(OPEN_BYTE, OPEN_BYTE + 1), "has it open")


def describe_holders(holders: list[LockHolder]) -> str:
    shown = "; ".join(map(str, holders[:MAX_SHOWN_HOLDERS]))
    return shown or "unknown"


def _find_postgres_holders(connection: Connection) -> list[LockHolder]:
    rows = connection.execute(_SELECT_HOLDERS).all()
    return [LockHolder(row.pid, f"{row.name} from {row.host}", row.state or "hidden", row.age) for row in rows]


def _find_file_holders(address: str, held: range, doing: str) -> list[LockHolder]:
    """Find holders by their locks on SQLite's shared memory, which the kernel lists with process ids."""
    path = address.removeprefix("file:").partition("?")[0]
    try:
        inode = os.stat(f"{path}-shm").st_ino  # noqa: PTH116 -- a text that is built here
        lines = (PROC / "locks").read_text().splitlines()
    except OSError:
        return []
    pids = sorted({pid for line in lines if (pid := _parse_holder_pid(line, inode, held))})
    return [LockHolder(pid, _process_name(pid), doing) for pid in pids if pid != os.getpid()]


def _parse_holder_pid(line: str, inode: int, held: range) -> int | None:
    """Parse `1: POSIX  ADVISORY  READ 3212 08:01:5376 124 124`; the pid of another container is 0 or less."""
    parts = line.split()
    if len(parts) != 8 or not parts[5].endswith(f":{inode}") or not parts[6].isdecimal():
        return None
    first, last = int(parts[6]), int(parts[7]) if parts[7].isdecimal() else READER_BYTES.stop
    overlaps = first < held.stop and last >= held.start
    return int(parts[4]) if overlaps and parts[4].isdecimal() and int(parts[4]) > 0 else None


def _process_name(pid: int) -> str:
    try:
        words = (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return "a program"
    # Without the arguments, which may contain secrets.
    return Path(words[0].decode(errors="replace")).name or "a program"
