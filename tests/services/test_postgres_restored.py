"""An older copy of a PostgreSQL database takes its place, by pg_dump's way or by `CREATE DATABASE … TEMPLATE`."""

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from flask import Flask

from app import create_app
from app.config import Settings
from app.db import write
from app.eventlog.append import NewEvent
from app.flags import embedded
from app.flags.evaluation import Flag
from tests.support.application import stop
from tests.support.cast import ALICE, headers_of, join, publish
from tests.support.postgres import Postgres
from tests.support.sse_client import open_stream

Start = Callable[[str], Flask]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """A server on this database; each with an instance folder of its own, as on hosts that keep none."""
    made: list[Flask] = []

    def started(address: str) -> Flask:
        folder = tmp_path / str(len(made))
        app = create_app(Settings(instance_dir=folder, database_url=address, secret_key="k", heartbeat_s=0.2))
        made.append(app)
        return app

    yield started
    for app in made:
        stop(app)


def events(app: Flask, count: int) -> list[int]:
    return publish(app, *(NewEvent("counted", {"n": n}) for n in range(count)))


def resets(app: Flask, headers: dict[str, str], cursor: int) -> tuple[list[str], int]:
    with open_stream(app.test_client(), headers={**headers, "Last-Event-ID": str(cursor)}) as stream:
        stream.until("hello")
        sent = publish(app, NewEvent("the.last", {}))
        heard = stream.until("the.last")
    return [frame.json()["reason"] for frame in heard if frame.event == "reset"], sent[0]


@pytest.mark.parametrize("way", ["template", "dump", "dump into the same place"])
def test_a_restored_database_gives_each_reader_from_before_exactly_one_reset(
    postgres: Postgres, start: Start, way: str
) -> None:
    address = postgres.migrated_database()
    app = start(address)
    join(app, ALICE)
    headers = headers_of(app, ALICE, "stream", "read")
    with app.app_context(), write() as session:
        embedded.change_rollout(session, Flag.SSE_STREAMING, "test", "a test", 100)
    app.extensions["beacon"].background.start()
    events(app, 20)
    stop(app)
    name = address.rpartition("/")[2]
    if way == "template":
        restored = postgres.new_database(name)
    else:
        dump = postgres.dump(name)
        restored = address if way == "dump into the same place" else postgres.new_database("template0")
    app = start(address)
    app.extensions["beacon"].background.start()
    cursor = events(app, 100)[-1]
    stop(app)
    if way != "template":
        if restored == address:
            with psycopg.connect(address, autocommit=True) as connection:
                connection.execute("DROP SCHEMA public CASCADE")
        postgres.load(restored.rpartition("/")[2], dump)
    with psycopg.connect(restored, autocommit=True) as outsider:
        for _ in range(150):  # the log has passed the cursor before Beacon is back
            outsider.execute("INSERT INTO event (type, data_json) VALUES ('by.hand', '{}')")
    app = start(restored)
    app.extensions["beacon"].background.start()
    reasons, after = resets(app, headers, cursor)
    assert reasons == ["generation"]
    assert resets(app, headers, after)[0] == []
