"""Every error of the database driver is one that somebody handles: `503` says what is wrong with the database."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from app.db import db
from tests.support.cast import BOB, headers_of

ONE = {"type": "deploy.done", "data": {}}
PAGE_BYTES = 4096
# A mistake of Beacon's own, which an operator of the database cannot mend.
FAULT = (500, None)


def kinds_of(error: type[Exception]) -> list[type[Exception]]:
    return [error, *(below for kind in error.__subclasses__() for below in kinds_of(kind))]


def answer_to(app: Flask, orig: Exception, base: type[Exception]) -> tuple[int, str | None]:
    """What a request gets in which the driver raises this."""
    with app.test_request_context("/api/events", headers={"Accept": "application/json"}):
        error = sa.exc.DBAPIError.instance("SELECT 1", None, orig, base, dialect=db.engine.dialect)
        response = app.make_response(app.handle_user_exception(error))  # type: ignore[arg-type]
        return response.status_code, response.get_json().get("reason")


@pytest.mark.parametrize("driver", [sqlite3, psycopg], ids=["sqlite3", "psycopg"])
def test_every_class_of_both_drivers_is_handled(app: Flask, driver: Any) -> None:
    """A fault of a statement is one of Beacon's own, unless its class says what is wrong with the database."""
    faults = tuple(getattr(driver, f"{name}Error") for name in ("Programming", "Internal", "Integrity", "Data"))
    for kind in kinds_of(driver.Error):
        statuses = {answer_to(app, kind(words), driver.Error)[0] for words in ("something new", "")}
        if not issubclass(kind, (*faults, driver.NotSupportedError)):
            assert statuses == {503}, kind
        elif driver is sqlite3 or kind.__module__ == "psycopg":
            assert statuses == {500}, kind
        assert statuses <= {500, 503}


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (sqlite3.DatabaseError("database disk image is malformed"), (503, "damaged")),
        (sqlite3.DatabaseError("file is not a database"), (503, "damaged")),
        (sqlite3.DatabaseError("malformed database schema (event)"), (503, "damaged")),
        (sqlite3.OperationalError("unable to open database file"), (503, "unreachable")),
        (sqlite3.OperationalError("database is locked"), (503, "busy")),
        (sqlite3.OperationalError("no such table: event"), (503, "not-migrated")),
        (sqlite3.InterfaceError("bad parameter or other API misuse"), (503, "unreachable")),
        (sqlite3.IntegrityError("UNIQUE constraint failed: event.id"), FAULT),
        (sqlite3.ProgrammingError("Incorrect number of bindings supplied"), FAULT),
        (psycopg.errors.DataCorrupted("invalid page in block 7"), (503, "damaged")),
        (psycopg.errors.ReadOnlySqlTransaction("cannot execute INSERT"), (503, "read-only")),
        (psycopg.OperationalError(""), (503, "unreachable")),
        (psycopg.errors.UniqueViolation("duplicate key"), FAULT),
    ],
    ids=repr,
)
def test_what_is_wrong_is_named(app: Flask, error: Exception, answer: tuple[int, str | None]) -> None:
    base = sqlite3.Error if isinstance(error, sqlite3.Error) else psycopg.Error
    assert answer_to(app, error, base) == answer


def overwrite(file: Path, pages: range, part: bytes) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    raw = bytearray(file.read_bytes())
    for page in pages or range(1, len(raw) // PAGE_BYTES):
        raw[page * PAGE_BYTES : page * PAGE_BYTES + len(part)] = part
    file.write_bytes(bytes(raw))


def answers(client: FlaskClient, headers: dict[str, str]) -> list[tuple[int, str | None]]:
    """Of a read, a write, the audit and its export."""
    asked = [
        client.get("/api/events", headers=headers),
        client.post("/api/events", headers=headers, json=ONE),
        client.get("/reconciliation/audit", headers=headers),
        client.get("/reconciliation/audit?format=csv", headers=headers),
    ]
    return [(response.status_code, (response.get_json(silent=True) or {}).get("reason")) for response in asked]


@pytest.mark.parametrize(
    ("pages", "part"), [(range(2), b"x" * PAGE_BYTES), (range(0), b"\xff" * 64)], ids=["head", "pages"]
)
def test_a_damaged_file_is_said_to_be_that(
    cast: Flask, database: Path, pages: range, part: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    headers, client = headers_of(cast, BOB, "read", "publish"), cast.test_client()
    with cast.app_context():
        db.engine.dispose()
    overwrite(database, pages, part)
    assert answers(client, headers) == [(503, "damaged")] * 4
    assert "unexpected error" not in caplog.text


def test_a_file_that_is_gone_is_unreachable_for_the_audit_too(
    cast: Flask, move_database: Callable[[], Callable[[], None]], caplog: pytest.LogCaptureFixture
) -> None:
    headers, client = headers_of(cast, BOB, "read", "publish"), cast.test_client()
    client.get("/reconciliation/audit", headers=headers)
    back = move_database()
    assert answers(client, headers)[2:] == [(503, "unreachable")] * 2
    assert "unexpected error" not in caplog.text
    back()
