"""An older database is put back: every reader from before gets one reset, also once the log has passed its cursor."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from app import create_app
from app.background import BackgroundServices
from app.config import Settings
from app.db import db, read
from app.eventlog import generation
from app.eventlog import reader as log
from app.eventlog.append import NewEvent
from app.eventlog.continuity import Continuity, LogReplaced
from app.eventlog.high_water_mark import HighWaterMark
from tests.support.application import stop
from tests.support.cast import ALICE, headers_of, logged_in, publish
from tests.support.sse_client import open_stream
from tests.support.waiting import wait_for

INSERT = "INSERT INTO event (type, data_json) VALUES ('by.hand', '{}')"


@pytest.fixture
def headers(live_app: Flask) -> dict[str, str]:
    return headers_of(live_app, ALICE, "stream", "read")


@pytest.fixture
def again(live_app: Flask, settings: Settings) -> Iterator[Flask]:
    """The next server on the same database, not started yet."""
    made = create_app(settings)
    yield made
    stop(made)


def backup(app: Flask, database: Path) -> Path:
    """The whole of it in one file, made by SQLite itself."""
    path = database.with_name("backup.db")
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(path)) as target:
        source.backup(target)
    return path


def put_back(backup: Path, database: Path) -> None:
    for end in ("-wal", "-shm"):
        database.with_name(database.name + end).unlink(missing_ok=True)
    shutil.copyfile(backup, database)


def by_hand(database: Path, times: int) -> None:
    with closing(sqlite3.connect(database)) as outsider, outsider:
        for _ in range(times):
            outsider.execute(INSERT)


def events(app: Flask, count: int) -> list[int]:
    return publish(app, *(NewEvent("counted", {"n": n}) for n in range(count)))


def resets(app: Flask, headers: dict[str, str], cursor: int) -> tuple[list[str], int]:
    """The reasons that a stream from this cursor gives, and the cursor that it leaves behind after one event more."""
    with open_stream(app.test_client(), headers={**headers, "Last-Event-ID": str(cursor)}) as stream:
        stream.until("hello")
        sent = publish(app, NewEvent("the.last", {}))
        heard = stream.until("the.last")
    assert int(heard[-1].id or 0) == sent[0]
    return [frame.json()["reason"] for frame in heard if frame.event == "reset"], sent[0]


@pytest.mark.parametrize("grown", [0, 300], ids=["not grown", "grown past the cursor"])
def test_a_restored_file_gives_each_reader_from_before_exactly_one_reset(
    live_app: Flask, again: Flask, database: Path, headers: dict[str, str], grown: int
) -> None:
    events(live_app, 100)
    kept = backup(live_app, database)
    cursor = events(live_app, 200)[-1]
    wait_for(lambda: live_app.extensions["beacon"].background.tail.cursor == cursor)
    stop(live_app)
    put_back(kept, database)
    by_hand(database, grown)  # another program writes before Beacon does
    again.extensions["beacon"].background.start()
    reasons, after = resets(again, headers, cursor)
    assert reasons == ["generation"]
    assert resets(again, headers, after)[0] == []


def test_a_file_restored_under_a_running_server_is_noticed_too(
    live_app: Flask, database: Path, headers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    live: BackgroundServices = live_app.extensions["beacon"].background
    kept = backup(live_app, database)
    with open_stream(live_app.test_client(), headers=headers) as stream:
        stream.until("hello")
        cursor = events(live_app, 50)[-1]
        wait_for(lambda: stream.until("counted")[-1].id == str(cursor), "all of them")
        with closing(sqlite3.connect(kept)) as source, closing(sqlite3.connect(database)) as target:
            source.backup(target)
        assert stream.until("bye")[-1].json()["reason"] == "drain"
    wait_for(lambda: not live.is_degraded(), "the tail to go on")
    reasons, after = resets(live_app, headers, cursor)
    assert reasons == ["generation"]
    assert resets(live_app, headers, after)[0] == []
    assert sum("an older database was restored: the log ends" in line for line in caplog.messages) == 1


def test_another_worker_follows_to_the_generation_that_the_first_one_began(
    live_app: Flask, again: Flask, database: Path, headers: dict[str, str]
) -> None:
    kept = backup(live_app, database)
    cursor = events(live_app, 20)[-1]
    again.extensions["beacon"].background.start()
    with closing(sqlite3.connect(kept)) as source, closing(sqlite3.connect(database)) as target:
        source.backup(target)
    both = [app.extensions["beacon"].background.tail for app in (live_app, again)]
    wait_for(lambda: all(tail.cursor > 10**15 and not tail.degraded for tail in both), "both to read the new one")
    with live_app.app_context(), read() as session:
        assert len(session.scalars(db.select(generation.EventGeneration)).all()) == 2
    assert resets(again, headers, cursor)[0] == ["generation"]
    new = events(live_app, 1)[0]
    wait_for(lambda: [tail.cursor for tail in both] == [new, new], "both to read on")


def test_recording_the_head_does_not_hide_a_generation_that_another_worker_began(
    app: Flask, settings: Settings, database: Path
) -> None:
    """Recording runs every second beside the tail: it can meet the new generation before the tail does."""
    kept = backup(app, database)
    cursor = events(app, 20)[-1]
    first, second = Continuity(app, settings), Continuity(app, settings)
    assert [first.resume(None).after, second.resume(None).after] == [cursor, cursor]
    with closing(sqlite3.connect(kept)) as source, closing(sqlite3.connect(database)) as target:
        source.backup(target)
    began = first.resume(cursor)
    second.record_head()
    with app.app_context(), read() as session, pytest.raises(LogReplaced):
        second.check(session, cursor, log.read_after(session, cursor))
    assert second.resume(cursor) == began
    assert began.rewound_to == 0


def test_a_restart_without_a_restore_keeps_generation_and_cursors(
    live_app: Flask, again: Flask, headers: dict[str, str]
) -> None:
    cursor = events(live_app, 5)[-1]
    with live_app.app_context(), read() as session:
        before = log.bounds(session)
    stop(live_app)
    again.extensions["beacon"].background.start()
    with again.app_context(), read() as session:
        assert log.bounds(session) == before
    assert resets(again, headers, cursor) == ([], cursor + 1)


def test_a_file_that_was_served_and_has_lost_its_mark_is_not_trusted(
    live_app: Flask, again: Flask, database: Path, settings: Settings, headers: dict[str, str]
) -> None:
    """As after moving a copy to another host: what was handed out there is not known here."""
    cursor = events(live_app, 5)[-1]
    stop(live_app)
    database.with_name(database.name + "-mark").unlink()
    again.extensions["beacon"].background.start()
    assert resets(again, headers, cursor)[0] == ["generation"]
    assert HighWaterMark(settings).read() is not None


def test_programs_that_poll_get_one_reset_and_the_generation(
    live_app: Flask, again: Flask, database: Path, headers: dict[str, str]
) -> None:
    kept = backup(live_app, database)
    cursor = events(live_app, 20)[-1]
    client = live_app.test_client()
    old = client.get(f"/api/events?after={cursor}", headers=headers).get_json()["meta"]["generation"]
    wait_for(lambda: live_app.extensions["beacon"].background.tail.cursor == cursor)
    stop(live_app)
    put_back(kept, database)
    again.extensions["beacon"].background.start()
    events(again, 30)
    client = again.test_client()

    def asked(query: str) -> dict[str, Any]:
        meta: dict[str, Any] = client.get(f"/api/events?{query}", headers=headers).get_json()["meta"]
        return meta

    lost = asked(f"after={cursor}")
    assert (lost["reset"], lost["generation"] != old) == ("generation", True)
    assert asked(f"after={lost['head']}")["reset"] is None
    assert asked(f"after={lost['head']}&generation={lost['generation']}")["reset"] is None
    assert asked(f"after={lost['head']}&generation={old}")["reset"] == "generation"
    frames = client.get(f"/api/events/frames?after={cursor}", headers=headers)
    assert frames.headers["Beacon-Generation"] == lost["generation"]
    assert frames.text.count("event: reset") == 1


def test_each_of_two_restores_is_noticed(
    live_app: Flask, again: Flask, database: Path, headers: dict[str, str], settings: Settings
) -> None:
    kept = backup(live_app, database)
    first = events(live_app, 20)[-1]
    wait_for(lambda: live_app.extensions["beacon"].background.tail.cursor == first)
    stop(live_app)
    put_back(kept, database)
    again.extensions["beacon"].background.start()
    second = events(again, 20)[-1]
    wait_for(lambda: again.extensions["beacon"].background.tail.cursor == second)
    stop(again)
    put_back(kept, database)
    third = create_app(settings)
    try:
        third.extensions["beacon"].background.start()
        events(third, 100)
        assert resets(third, headers, first)[0] == ["generation"]
        assert resets(third, headers, second)[0] == ["generation"]
    finally:
        stop(third)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", json.dumps({"generation": "a"}), "\x00" * 40])
def test_a_mark_of_no_use_is_none(settings: Settings, database: Path, text: str) -> None:
    database.with_name(database.name + "-mark").write_text(text)
    assert HighWaterMark(settings).read() is None


def test_an_eventsource_whose_address_names_the_old_generation_gets_one_reset_only(
    live_app: Flask, headers: dict[str, str]
) -> None:
    """Its header has the newer cursor, its address the generation of its first request for ever."""
    cursor = events(live_app, 3)[-1]
    address = f"/api/stream/events?lastEventId={cursor}&generation=0ld0ld00"
    with open_stream(live_app.test_client(), address, headers=headers) as stream:
        assert stream.until("reset")[-1].json() == {"reason": "generation", "head": cursor}
    with open_stream(live_app.test_client(), address, headers={**headers, "Last-Event-ID": str(cursor)}) as stream:
        assert [frame.event for frame in stream.until("heartbeat")] == ["hello", "heartbeat"]


def test_a_page_carries_its_generation(live_app: Flask) -> None:
    page = logged_in(live_app, ALICE).get("/", headers={"Accept": "text/html"})
    with live_app.app_context(), read() as session:
        name = log.bounds(session).generation
    assert f'data-generation="{name}"' in page.text
    assert page.headers["Beacon-Generation"] == name


def test_a_log_in_which_nothing_happens_costs_no_query_and_a_new_head_is_recorded(
    app: Flask, settings: Settings
) -> None:
    asked: list[str] = []
    made = Continuity(app, settings)
    head = made.resume(None).after
    with app.app_context(), read() as session:
        made.check(session, head, log.read_after(session, head))
        sa.event.listen(db.engine, "before_cursor_execute", note := lambda *call: asked.append(str(call[2])))
    made.record_head()
    assert asked == []
    [new] = events(app, 1)
    with app.app_context(), read() as session:
        made.check(session, head, log.read_after(session, head))
    made.record_head()
    with app.app_context():
        sa.event.remove(db.engine, "before_cursor_execute", note)
    recorded = HighWaterMark(settings).read()
    assert recorded is not None
    assert recorded.head == new
