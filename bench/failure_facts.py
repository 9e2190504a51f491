"""Millions of facts of failed jobs, put straight into SQLite or PostgreSQL as the tracker would have left them."""

import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg

from app import create_app
from app.accounts import users
from app.config import Settings
from app.db import db, write
from app.infra import database_upgrade
from app.infra.clock import utc_text

SERVICES, GROUPS, QUEUES, WORKERS, KNOWN_JOBS = 20, 2_000, 40, 400, 1_000
BEGAN = datetime(2026, 11, 1, tzinfo=UTC)
BATCH = 10_000
SECRET_KEY = "bench"
COMMON_WORDS = (
    *("connection", "unexpectedly", "closed", "refused", "timeout", "reset", "peer", "limit", "exceeded", "invalid"),
    *("payment", "declined", "missing", "template", "decode", "payload", "constraint", "violates", "duplicate", "lock"),
)
TYPES = ("KeyError", "ValueError", "smtplib.SMTPServerDisconnected", "TimeoutError", "shop.errors.PaymentDeclined")
FACTS = (
    *("service_id", "job_id", "seen_at", "read_at", "failed_at", "group_id", "queue", "worker", "message"),
    *("attempt", "max_attempts", "run_s", "text_id"),
)
Rows = Iterable[Sequence[Any]]


def kept_sqlite(count: int) -> Settings:
    """On a file outside of the repository that is kept between runs; built where it is not there yet."""
    folder = Path(tempfile.gettempdir()) / f"beacon-bench-search-{count}"
    settings = Settings(instance_dir=folder, secret_key=SECRET_KEY)
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        _prepare(settings)
        with closing(sqlite3.connect(folder / "beacon.db", isolation_level=None)) as connection:
            fill_sqlite(connection, count)
        (folder / "done").touch()
    return settings


def fill_postgres(settings: Settings, count: int) -> None:
    _prepare(settings)
    address = settings.database_url.replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(address, autocommit=True) as connection:
        indexes = connection.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'failed_job' AND indexname LIKE 'ix%'"
        ).fetchall()
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}".encode())
        for table, columns, rows in _tables(count):
            with connection.cursor().copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN".encode()) as copy:
                for row in rows:
                    copy.write_row(row)
        for _, definition in indexes:
            connection.execute(definition.encode())
        connection.execute("VACUUM ANALYZE")


def fill_sqlite(connection: sqlite3.Connection, count: int) -> None:
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -400000")
    rules = connection.execute(
        "SELECT type, name, sql FROM sqlite_master WHERE tbl_name = 'failed_job' AND sql IS NOT NULL"
        " AND type IN ('trigger', 'index') ORDER BY type, name"
    ).fetchall()
    for kind, name, _ in rules:
        connection.execute(f"DROP {kind} {name}")
    for table, columns, rows in _tables(count):
        marks = ", ".join("?" * len(columns))
        statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 -- our own names
        for some in _batches(rows):
            connection.execute("BEGIN")
            connection.executemany(statement, some)
            connection.execute("COMMIT")
    connection.execute("INSERT INTO failure_text (rowid, message) SELECT text_id, message FROM failed_job")
    for _, _, sql in rules:
        connection.execute(sql)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _prepare(settings: Settings) -> None:
    """Migrated, with somebody who may search."""
    app = create_app(settings)
    database_upgrade.migrate_database(app, settings)
    with app.app_context():
        with write() as session:
            users.add(session, "alice", "viewer", "correct horse battery", "bench")
        db.engine.dispose()


def _tables(count: int) -> Iterator[tuple[str, Sequence[str], Rows]]:
    kind, address = "palantir", "http://127.0.0.1:1"
    services = ([f"service-{n}", f"Service {n}", kind, address, "admin", utc_text()] for n in range(SERVICES))
    yield "service", ("id", "name", "kind", "url", "origin", "registered_at"), services
    known = (
        [f"service-{n % SERVICES}", f"known-{n}", "queued", f"q{n % QUEUES}"] for n in range(KNOWN_JOBS * SERVICES)
    )
    yield "known_job", ("service_id", "job_id", "state", "queue"), known
    yield (
        "failure_group",
        ("id", "service_id", "function", "error_type", "message", "jobs", "first_at", "last_at"),
        (
            [
                f"{n:020x}",
                f"service-{n % SERVICES}",
                f"shop.part{n % 50}.task_{n}",
                TYPES[n % 5],
                _message(n),
                1,
                *_span(n),
            ]
            for n in range(GROUPS)
        ),
    )
    locations = [("queue", f"queue-{n}") for n in range(QUEUES)] + [("worker", f"worker-{n}") for n in range(WORKERS)]
    yield (
        "failure_location",
        ("service_id", "kind", "name", "last_at"),
        ([f"service-{n % SERVICES}", *location, _at(n)] for n, location in enumerate(locations)),
    )
    yield "failed_job", FACTS, map(_fact, range(count))


def _fact(n: int) -> Sequence[Any]:
    mixed = n * 2_654_435_761 % 4_294_967_296
    at, group = _at(n), mixed % GROUPS
    names = [f"{group:020x}", f"queue-{mixed % QUEUES}", f"worker-{mixed % WORKERS}", _message(n)]
    return [f"service-{group % SERVICES}", f"{mixed:08x}{n:024x}", at, at, at, *names, 1, 3, 0.5, n + 1]


def _message(n: int) -> str:
    """Some 100 characters: words that half of all have, one in 3,000, and two that no other has."""
    mixed = n * 2_654_435_761 % 4_294_967_296
    words = " ".join(COMMON_WORDS[(mixed >> shift) % len(COMMON_WORDS)] for shift in (0, 5, 10, 15, 20))
    return f"{words} in zone{mixed % 3_000:04}: order {n} at https://host{mixed % 500}.example.com/api/{mixed:08x}"


def _at(n: int) -> str:
    return utc_text(BEGAN + timedelta(seconds=2 * n))


def _span(n: int) -> tuple[str, str]:
    return _at(n), _at(n + 1_000)


def _batches(rows: Rows) -> Iterator[list[Sequence[Any]]]:
    left = iter(rows)
    while some := list(islice(left, BATCH)):
        yield some
