"""A web worker whose database goes away in the middle of its start waits for it, and takes nobody down."""

import logging

import pytest
from flask import Flask
from sqlalchemy.exc import OperationalError

from app.background import StreamServices
from app.eventlog import reader
from app.eventlog.continuity import TailPosition
from tests.support.waiting import wait_for

GONE = OperationalError("SELECT", {}, Exception("unable to open database file"))


@pytest.fixture
def background(app: Flask) -> StreamServices:
    made: StreamServices = app.extensions["beacon"].background
    return made


def test_without_the_head_of_the_log_nothing_is_started_until_the_database_is_back(
    background: StreamServices, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, calls = background.tail._resume, list[int | None]()

    def resume(cursor: int | None) -> TailPosition:
        calls.append(cursor)
        if len(calls) <= 2:
            raise GONE
        return real(cursor)

    monkeypatch.setattr(background.tail, "_resume", resume)
    background.start_when_ready()
    assert not background.started
    assert background.tail._threads == []
    assert "this worker waits for its database: the database is unavailable" in caplog.text
    wait_for(lambda: background.started, "the second try after it")
    caplog.clear()  # an error is what this test is about


def test_without_the_newest_events_it_starts_all_the_same(
    background: StreamServices, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)

    def floor(_session: object) -> int:
        raise GONE

    with monkeypatch.context() as patch:
        patch.setattr(reader, "floor", floor)
        background.start_when_ready()
    assert background.started
    assert "cannot load the newest events" in caplog.text
