"""A valid audit of millions of entries, built straight into SQLite: `build(path, count)`; kept between runs."""

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import islice
from pathlib import Path

from app import create_app
from app.audit.chain import GENESIS_HASH, SEALED_COLUMNS
from app.config import Settings
from app.db import db
from app.infra import database_upgrade

ACTORS = ("ada", "bob", "carol", "dave", "erin", "cron", "cli:root", "rare")
ACTIONS = (
    "retry-job",
    "delete-job",
    "login",
    "login-failed",
    "rollout-set",
    "service-change",
    "refused",
    "purge-queue",
)
SERVICES = ("mail", "invoices", "thumbnails", "search")
BEGAN = datetime(2021, 1, 1, tzinfo=UTC)
BATCH = 10_000
COLUMNS = (*SEALED_COLUMNS, "hash", "origin")


def kept(count: int) -> Path:
    """The instance folder of such an audit, outside of the repository; built where it is not there yet."""
    folder = Path(tempfile.gettempdir()) / f"beacon-bench-audit-{count}"
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        build(folder, count)
        (folder / "done").touch()
    return folder


def build(folder: Path, count: int) -> None:
    settings = Settings(instance_dir=folder, secret_key="bench")
    app = create_app(settings)
    database_upgrade.migrate_database(app, settings)
    with app.app_context():
        db.engine.dispose()
    with closing(sqlite3.connect(folder / "beacon.db", isolation_level=None)) as connection:
        rules = connection.execute(
            "SELECT type, name, sql FROM sqlite_master WHERE tbl_name = 'command_audit' AND sql IS NOT NULL"
            " AND type IN ('trigger', 'index') ORDER BY type, name"
        ).fetchall()
        for kind, name, _ in rules:
            connection.execute(f"DROP {kind} {name}")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -400000")
        _insert(connection, count)
        for _, _, sql in rules:
            connection.execute(sql)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _insert(connection: sqlite3.Connection, count: int) -> None:
    marks = ", ".join("?" * len(COLUMNS))
    statement = f"INSERT INTO command_audit ({', '.join(COLUMNS)}) VALUES ({marks})"  # noqa: S608 -- our own names
    rows = _rows(count)
    for _ in range(0, count, BATCH):
        connection.execute("BEGIN")
        connection.executemany(statement, islice(rows, BATCH))
        connection.execute("COMMIT")


def _rows(count: int) -> Iterator[tuple[str | int | None, ...]]:
    """What `chain.record` would have written, one entry every 20 s."""
    head = GENESIS_HASH
    for seq in range(1, count + 1):
        mixed = seq * 2_654_435_761 % 4_294_967_296
        actor = ACTORS[7] if mixed % 100_003 == 0 else ACTORS[mixed % 7]
        action, service = ACTIONS[(mixed >> 8) % 8], SERVICES[(mixed >> 16) % 4]
        outcome = "failure" if mixed % 11 == 0 else "timeout" if mixed % 97 == 0 else "success"
        at = (BEGAN + timedelta(seconds=20 * seq)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        target = service if mixed % 3 else f"{service}/job-{mixed % 500_000:06}"
        before, after = f'{{"failed": {mixed % 50}}}', f'{{"failed": {mixed % 49}, "queued": {mixed % 9}}}'
        params = f'{{"service": "{service}", "why": "run {mixed % 1000}"}}'
        key = f"{mixed:08x}{seq:024x}"
        values = (key, seq, at, actor, action, target, "result", outcome, None, before, after, params, None, head)
        origin = f"10.0.{seq % 200}.7"
        parts = [b"-" if one is None else b"=" + str(one).encode() for one in (*values, origin)]
        head = sha256(b"".join(b"%d:%b" % (len(part), part) for part in parts)).hexdigest()
        yield (*values, head, origin)


if __name__ == "__main__":
    import sys

    print(kept(int(sys.argv[1])))
