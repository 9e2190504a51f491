"""The list of activity: everything that people read, and no check that only moved numbers unless they ask for it."""

import re
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from app.db import read
from app.eventlog import reader as log
from app.eventlog.append import NewEvent
from app.eventlog.audience import Viewer
from app.eventlog.models import build_activity_condition
from app.web.dashboard.change_rows import is_routine_check
from tests.support.cast import ALICE, logged_in, publish
from tests.web.payloads import discrepancy, update

UNSERVED = [{"kind": "no-worker", "jobIds": [], "since": "2026-11-21T12:03:05Z", "count": 3, "queues": ["out"]}]
CLAIMS = '"status":"verified","previousStatus":"verified"'


@pytest.mark.parametrize(
    ("payload", "is_read"),
    [
        (update(), False),
        (update(findings=[]), False),
        (discrepancy("a", previousStatus="discrepancy", change="figures"), False),
        (discrepancy("a", previousStatus="discrepancy", reason='"change":"figures"'), True),
        (update(findings=UNSERVED), True),
        (update(previousStatus="stale"), True),
        (update(previousStatus=None), True),
        (update(status="stale", counts={}, reason=CLAIMS), True),
        (discrepancy("a"), True),
        (discrepancy(CLAIMS, previousStatus="discrepancy", reason=CLAIMS), True),
    ],
)
def test_the_log_leaves_out_what_a_page_does_not_push(app: Flask, payload: dict[str, Any], is_read: bool) -> None:
    known = {name: value for name, value in payload.items() if value is not None}
    publish(app, NewEvent("reconciliation.update", known))
    with app.app_context(), read() as session:
        found = log.read_newest_before(session, Viewer("alice", "viewer"), None, 10, only_activity=True).events
    assert bool(found) is is_read
    assert is_routine_check(known) is not is_read


def test_the_list_has_what_happened_and_on_request_every_check(cast: Flask) -> None:
    publish(
        cast,
        NewEvent("reconciliation.update", update(previousStatus="stale")),
        *(NewEvent("reconciliation.update", update(latencyMs=n)) for n in range(3)),
        NewEvent("deploy.done", {"version": "4.12.0"}),
    )
    client = logged_in(cast, ALICE)

    def rows(address: str) -> list[str]:
        text = client.get(address, headers={"Accept": "text/html"}).text
        return re.findall(r'<tr id="change-(\d+)"', text)

    assert rows("/") == ["5", "1"]
    assert rows("/?checks=all") == ["5", "4", "3", "2", "1"]
    assert rows("/?checks=all&sort=time&order=asc") == ["1", "2", "3", "4", "5"]


def test_between_two_events_that_people_read_no_check_is_looked_at(app: Flask) -> None:
    with app.app_context(), read() as session:
        dialect = session.get_bind().dialect.name
        condition = build_activity_condition(dialect)
        plan = session.execute(sa.text(f"EXPLAIN QUERY PLAN SELECT id FROM event WHERE {condition} ORDER BY id DESC"))
        assert "ix_event_activity" in str(plan.all())
