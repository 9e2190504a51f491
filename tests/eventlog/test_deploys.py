"""Deploys are found by their time, and the one before something began is named."""

from datetime import timedelta

import pytest
import sqlalchemy as sa
from flask import Flask

from app.db import db, read, write
from app.eventlog import deploys
from app.eventlog.append import NewEvent
from app.eventlog.deploys import Deploy, find_cause, read_deploys
from app.infra.clock import utc_now
from tests.support.cast import publish

FIRST = "2026-11-21T16:21:00.000Z"


def deployed(at: str, service: str = "", number: int = 1) -> Deploy:
    return Deploy(number, "deploy.done", at, service, "4.12.0")


def test_deploys_of_a_time_are_read_oldest_first(app: Flask) -> None:
    publish(app, NewEvent("deploy.started", {"service": "mail", "version": "4.12.0"}))
    publish(app, NewEvent("deploy.secret", {}, audience="role:admin"))
    publish(app, NewEvent("deployment.other", {}))
    publish(app, NewEvent("deploy.done", {"version": 5}))
    now = utc_now()
    with app.app_context(), read() as session:
        found = read_deploys(session, now - timedelta(minutes=1), now + timedelta(minutes=1))
        assert [(one.name, one.service) for one in found] == [("deploy.started 4.12.0", "mail"), ("deploy.done 5", "")]
        assert read_deploys(session, now - timedelta(hours=3), now - timedelta(hours=2)) == []


def test_a_deploy_with_a_huge_payload_is_one_without_a_version(app: Flask) -> None:
    publish(app, NewEvent("deploy.done", {"version": "1", "notes": "n" * deploys.MAX_PAYLOAD_CHARS}))
    now = utc_now()
    with app.app_context(), read() as session:
        [found] = read_deploys(session, now - timedelta(minutes=1), now + timedelta(minutes=1))
    assert found.name == "deploy.done"


def test_a_deploy_that_was_written_by_hand_is_found_by_its_time(app: Flask) -> None:
    now = utc_now()
    with app.app_context(), write() as session:
        for minutes in (5, 90):
            at = f"{now - timedelta(minutes=minutes):%Y-%m-%d %H:%M:%S}"
            row = {"data": f'{{"version": "{minutes}"}}', "at": at}
            session.execute(
                sa.text("INSERT INTO event (type, data_json, created_at) VALUES ('deploy.x', :data, :at)"), row
            )
    with app.app_context(), read() as session:
        assert [one.version for one in read_deploys(session, now - timedelta(hours=1), now)] == ["5"]


@pytest.mark.sqlite("asks SQLite for its plan")
def test_the_query_reads_the_index_of_deploys(app: Flask) -> None:
    now = utc_now()
    with app.app_context(), read() as session:
        plans = []

        def explain(connection: sa.Connection, _cursor: object, statement: str, parameters: object, *_: object) -> None:
            if statement.startswith("SELECT event.id"):
                plans.extend(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all())  # type: ignore[call-overload]

        sa.event.listen(db.engine, "before_cursor_execute", explain)
        read_deploys(session, now - timedelta(minutes=1), now)
        sa.event.remove(db.engine, "before_cursor_execute", explain)
    assert any("ix_event_deploy" in str(plan) for plan in plans)


@pytest.mark.parametrize(
    ("known", "found"),
    [
        ([], None),
        ([deployed("2026-11-21T16:20:00.000Z")], 0),
        ([deployed("2026-11-21T10:00:00.000Z"), deployed("2026-11-21T16:20:00.000Z")], 1),
        ([deployed("2026-11-21T16:20:00.000Z"), deployed("2026-11-21T16:22:00.000Z")], 0),
        ([deployed("2026-11-20T16:20:59.000Z")], None),
        ([deployed("2026-11-21T10:00:00.000Z", "mail"), deployed("2026-11-21T16:20:00.000Z", "shop")], 0),
        ([deployed("2026-11-21T16:20:00.000Z", "shop")], None),
    ],
    ids=["none", "one", "the newest", "not one after it", "not one of the day before", "of its service", "of another"],
)
def test_what_began_is_new_since_the_newest_deploy_within_a_day_before(known: list[Deploy], found: int | None) -> None:
    assert find_cause(known, "mail", FIRST) == (None if found is None else known[found])
