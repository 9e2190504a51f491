"""A cause is muted for everybody until a time, by an operator: it stands apart, and who did it is recorded."""

import json
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from app.audit.models import AuditRow
from app.db import read, write
from app.eventlog.models import EventRow
from app.failures.grouping import MAX_TITLE_CHARS, find_group
from app.failures.models import FailureGroup
from app.infra.clock import utc_now, utc_text
from app.sources.protocol import JobError
from tests.support.cast import ALICE, BOB, Person, csrf_token, headers_of, logged_in
from tests.web.record_scene import watched
from tests.web.test_failure_pages import FUNCTION, LOST, fail, listed, page, words

GROUP = find_group("mail", FUNCTION, LOST).id
MUTE = f"/failures/{GROUP}/mute"


@pytest.fixture
def failing(cast: Flask) -> Flask:
    watched(cast, "mail", "shop")
    fail(cast, "mail", "m1", "m2")
    fail(cast, "shop", "s1")
    return cast


def mute(app: Flask, until: Any, person: Person = BOB) -> Any:
    return app.test_client().post(MUTE, json={"until": until}, headers=headers_of(app, person, "command"))


def in_an_hour() -> str:
    return utc_text(utc_now() + timedelta(hours=1))


def recorded(app: Flask) -> list[tuple[str, str, str]]:
    with app.app_context(), read() as session:
        rows = session.scalars(sa.select(AuditRow).where(AuditRow.action_type.contains("mute")).order_by(AuditRow.seq))
        return [(row.action_type, row.actor, row.target) for row in rows]


def told(app: Flask) -> list[dict[str, Any]]:
    with app.app_context(), read() as session:
        events = session.scalars(sa.select(EventRow.data_json).where(EventRow.type == "reconciliation.cause_muted"))
        return [json.loads(text) for text in events]


def test_a_muted_cause_stands_at_the_end_with_who_and_until_when(failing: Flask) -> None:
    until = in_an_hour()
    answer = mute(failing, until)
    assert answer.get_json() == {"group": GROUP, "muted": {"until": until, "by": "bob"}}
    assert [count for _, count in listed(failing)] == [1, 2]
    assert [count for _, count in listed(failing, muted="true")] == [2]
    assert [count for _, count in listed(failing, muted="false")] == [1]
    text = page(failing, "/failures")
    assert text.index(">Muted</h2>") < text.index(f"/failures/{GROUP}")
    assert "muted by bob until" in words(text)
    assert "Muted by bob until" in words(page(failing, f"/failures/{GROUP}"))


def test_muting_is_recorded_and_announced_with_both_states(failing: Flask) -> None:
    until = in_an_hour()
    mute(failing, until)
    mute(failing, None)
    assert recorded(failing) == [("mute-failures", "bob", "mail"), ("unmute-failures", "bob", "mail")]
    title = "SMTPServerDisconnected in mail.send"
    state = {"group": GROUP, "service": "mail", "title": title, "actor": "bob"}
    said = told(failing)
    assert [sorted(event) for event in said] == [sorted([*state, "until"]), sorted(state)]
    assert all(event.items() >= state.items() for event in said)
    change = words(page(failing, "/"))
    assert f"{title} muted until" in change
    assert f"{title} unmuted by bob" in change


def test_a_cause_with_an_endless_name_is_muted_too(failing: Flask) -> None:
    fail(failing, "mail", "m3", error=JobError("E" * 1_000_000, "", LOST.frame))
    group = find_group("mail", FUNCTION, JobError("E" * 1_000_000, "", LOST.frame)).id
    bob = headers_of(failing, BOB, "command")
    answer = failing.test_client().post(f"/failures/{group}/mute", json={"until": in_an_hour()}, headers=bob)
    assert answer.status_code == 200
    assert len(told(failing)[0]["title"]) == MAX_TITLE_CHARS


def test_what_is_not_muted_is_not_unmuted(failing: Flask) -> None:
    assert mute(failing, None).get_json() == {"group": GROUP, "muted": None}
    assert (recorded(failing), told(failing)) == ([], [])


def test_a_time_that_is_over_unmutes(failing: Flask) -> None:
    mute(failing, in_an_hour())
    assert mute(failing, "2026-01-01T00:00:00Z").get_json()["muted"] is None


def test_a_mute_ends_by_itself(failing: Flask) -> None:
    mute(failing, in_an_hour())
    with failing.app_context(), write() as session:
        session.execute(sa.update(FailureGroup).values(muted_until="2026-01-01T00:00:00.000Z"))
    assert listed(failing, muted="true") == []
    assert "muted by bob" not in words(page(failing, "/failures"))


@pytest.mark.parametrize("body", [{}, {"until": "soon"}, {"until": "2999-01-01T00:00:00Z"}, {"until": None, "x": 1}])
def test_anything_else_is_refused(failing: Flask, body: dict[str, Any]) -> None:
    answer = failing.test_client().post(MUTE, json=body, headers=headers_of(failing, BOB, "command"))
    assert answer.status_code == 400
    assert recorded(failing) == []


def test_a_viewer_sees_the_form_and_why_it_is_not_for_them(failing: Flask) -> None:
    text = page(failing, f"/failures/{GROUP}")
    assert "Muting needs the role operator; you are viewer." in words(text)
    assert mute(failing, in_an_hour(), ALICE).status_code == 403


def test_the_forms_of_both_pages_mute_and_unmute(failing: Flask) -> None:
    bob = logged_in(failing, BOB)
    accept = {"Accept": "text/html"}
    form = {"csrf_token": csrf_token(bob, "/"), "minutes": "60"}
    answer = bob.post(MUTE, data=form, headers=accept)
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/failures/{GROUP}")
    assert [count for _, count in listed(failing, muted="true")] == [2]
    again = {"csrf_token": csrf_token(bob, "/"), "minutes": "0", "next": "/failures?sort=last"}
    answer = bob.post(MUTE, data=again, headers=accept)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/failures?sort=last")
    assert listed(failing, muted="true") == []


def test_a_form_without_its_token_changes_nothing(failing: Flask) -> None:
    bob = logged_in(failing, BOB)
    assert bob.post(MUTE, data={"minutes": "60"}, headers={"Accept": "text/html"}).status_code == 400
    assert recorded(failing) == []
