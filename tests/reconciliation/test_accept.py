"""An operator accepts what is missing: who may, what it changes, and what everyone sees of it."""

import re
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from werkzeug.test import TestResponse

from app.audit.models import AuditRow
from app.audit.verify import verify
from app.db import read
from app.infra.clock import utc_now, utc_text
from app.reconciliation.item_digests import item_digest
from app.reconciliation.models import OpenItem
from tests.reconciliation.desk import SERVICE, Book, Desk
from tests.reconciliation.values import look
from tests.support.cast import ADA, ALICE, BOB, PIA, Person, csrf_token, headers_of, log_in

PATH = f"/services/{SERVICE}/discrepancies/accept"
REASON = "deleted by hand during the migration"


@pytest.fixture
def lost(believing: Flask) -> Flask:
    """Two of three jobs are missing."""
    with believing.app_context():
        desk = Desk()
        desk.observe(look(queued=["a", "b", "c"]))
        desk.observe(look(queued=["c"]))
    return believing


def accept(app: Flask, body: Any, person: Person = BOB, *scopes: str, path: str = PATH) -> TestResponse:
    return app.test_client().post(path, json=body, headers=headers_of(app, person, *(scopes or ("command",))))


def test_accepting_one_keeps_the_other_open(lost: Flask) -> None:
    response = accept(lost, {"jobIds": ["a"], "reason": REASON})
    assert (response.status_code, response.get_json()) == (200, {"closed": ["a"]})
    with lost.app_context():
        book = Book()
        assert (book.items, book.closed) == ({"b": "missing"}, {"a": "accepted"})
        assert (book.told["status"], book.told["discrepancyDetails"]["missingJobIds"]) == ("discrepancy", ["b"])


def test_accepting_all_is_the_one_recovery_in_record_and_log(lost: Flask) -> None:
    assert accept(lost, {"all": True, "reason": REASON}).get_json() == {"closed": ["a", "b"]}
    with lost.app_context():
        book = Book()
        event, row = book.events()[-1], book.record[-1]
        assert [r.status for r in book.record] == ["verified", "discrepancy", "verified"]
        assert (event["eventId"], event["status"], event["previousStatus"]) == (row.id, "verified", "discrepancy")
        assert "closedAt" in event["lastDiscrepancy"]
        assert event["checkedAt"] == book.events()[-2]["checkedAt"], "nobody has looked"


def test_all_of_a_page_leaves_open_what_has_opened_since(lost: Flask) -> None:
    before, after = utc_text(utc_now() - timedelta(minutes=5)), utc_text(utc_now() + timedelta(minutes=5))
    wanted = {"all": True, "reason": REASON}
    assert accept(lost, {**wanted, "asOf": before}).get_json() == {"closed": []}
    assert accept(lost, {**wanted, "asOf": after}).get_json() == {"closed": ["a", "b"]}


def test_what_of_the_chosen_ids_is_not_accepted_is_said_with_the_reason(believing: Flask) -> None:
    with believing.app_context():
        desk = Desk()
        for queued in (["a", "b", "c"], ["c"], ["b", "c"]):
            desk.observe(look(queued=queued))
    lost = believing
    answer = accept(lost, {"jobIds": ["a", "b", "z"], "reason": REASON}).get_json()
    assert answer["closed"] == ["a"]
    found, never = answer["notAccepted"]
    assert found["jobId"] == "b"
    assert found["why"].startswith("the service shows it again at ")
    assert never == {"jobId": "z", "why": "it is not open"}
    again = accept(lost, {"jobIds": ["a"], "reason": REASON}).get_json()
    assert again["closed"] == []
    assert again["notAccepted"][0]["why"].startswith("accepted by bob at ")


def test_chosen_ids_that_opened_after_they_were_looked_at_stay_open(lost: Flask) -> None:
    before = utc_text(utc_now() - timedelta(minutes=5))
    answer = accept(lost, {"jobIds": ["a"], "asOf": before, "reason": REASON}).get_json()
    assert answer["closed"] == []
    (left,) = answer["notAccepted"]
    assert left["jobId"] == "a"
    assert re.fullmatch(r"missing since \S+ UTC on \S+, which is not what you saw", left["why"])
    with lost.app_context():
        assert Book().items == {"a": "missing", "b": "missing"}


def test_chosen_ids_are_bound_to_the_items_that_were_seen(believing: Flask) -> None:
    lost = believing
    with lost.app_context():
        desk = Desk()
        for queued in (["a", "b", "c"], ["c"]):
            desk.observe(look(queued=queued))
    with lost.app_context(), read() as session:
        seen = {
            item.job_id: item_digest(item.job_id, item.kind, item.since)
            for item in session.scalars(sa.select(OpenItem))
        }
    with lost.app_context():
        desk.observe(look(queued=["a", "c"]))
        desk.observe(look(queued=["c"]))
    wanted = {"jobIds": ["a", "b"], "reason": REASON, "seen": f"{seen['a']} {seen['b']}"}
    answer = accept(lost, wanted).get_json()
    assert (answer["closed"], [left["jobId"] for left in answer["notAccepted"]]) == (["b"], ["a"])
    with lost.app_context():
        assert Book().items == {"a": "missing"}


def test_who_accepted_and_why_is_kept_and_audited(lost: Flask) -> None:
    accept(lost, {"jobIds": ["a"], "reason": f"  {REASON} "})
    with lost.app_context(), read() as session:
        item = session.scalars(sa.select(OpenItem).where(OpenItem.job_id == "a")).one()
        assert (item.closed_by, item.close_reason) == ("bob", REASON)
        entry = session.scalars(sa.select(AuditRow).where(AuditRow.action_type == "accept-discrepancy")).one()
        assert (entry.actor, entry.target, entry.outcome) == ("bob", SERVICE, "success")
        assert entry.before_state_json == '{"missing": ["a"]}'
        assert REASON in (entry.command_params_json or "")
        assert verify().broken is None


def test_a_second_press_closes_nothing_and_tells_nobody(lost: Flask) -> None:
    accept(lost, {"all": True, "reason": REASON})
    with lost.app_context():
        events = len(Book().events())
    assert accept(lost, {"all": True, "reason": REASON}).get_json() == {"closed": []}
    with lost.app_context():
        assert len(Book().events()) == events


def test_a_form_goes_back_to_the_page_of_the_service(lost: Flask) -> None:
    client = lost.test_client()
    log_in(client, BOB)
    form = {"csrf_token": csrf_token(client, "/"), "jobIds": ["a", "b"], "reason": REASON}
    response = client.post(PATH, data=form)
    assert (response.status_code, response.headers["Location"]) == (303, f"/services/{SERVICE}")
    with lost.app_context():
        assert Book().items == {}


def test_a_form_without_its_token_changes_nothing(lost: Flask) -> None:
    client = lost.test_client()
    log_in(client, BOB)
    assert client.post(PATH, data={"all": "1", "reason": REASON}).status_code == 400
    with lost.app_context():
        assert set(Book().items) == {"a", "b"}


@pytest.mark.parametrize(
    ("person", "scopes", "status"),
    [
        (BOB, ("command",), 200),
        (ADA, ("command",), 200),
        (BOB, ("read",), 403),
        (ALICE, ("command",), 403),
        (PIA, ("command",), 403),
    ],
)
def test_only_operators_with_the_scope_may(lost: Flask, person: Person, scopes: tuple[str, ...], status: int) -> None:
    assert accept(lost, {"all": True, "reason": REASON}, person, *scopes).status_code == status
    with lost.app_context():
        assert bool(Book().items) is (status != 200)


def test_the_anonymous_may_not(lost: Flask) -> None:
    assert lost.test_client().post(PATH, json={"all": True, "reason": REASON}).status_code == 401


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"all": True}, "reason"),
        ({"all": True, "reason": "   "}, "reason"),
        ({"all": True, "reason": "x" * 501}, "reason"),
        ({"jobIds": [], "reason": REASON}, "jobIds"),
        ({"jobIds": "a", "reason": REASON}, "jobIds"),
        ({"jobIds": ["a" * 1_001], "reason": REASON}, "jobIds.0"),
        ({"jobIds": ["a"], "all": True, "reason": REASON}, "body"),
        ({"reason": REASON}, "body"),
        ({"all": True, "reason": REASON, "more": 1}, "more"),
        ([], "body"),
    ],
)
def test_bad_input_is_named_and_changes_nothing(lost: Flask, body: Any, field: str) -> None:
    response = accept(lost, body)
    assert (response.status_code, response.mimetype) == (400, "application/problem+json")
    assert field in response.get_json()["errors"]
    with lost.app_context():
        assert set(Book().items) == {"a", "b"}


def test_a_service_that_is_not_watched_is_404(lost: Flask) -> None:
    response = accept(lost, {"all": True, "reason": REASON}, path="/services/nowhere/discrepancies/accept")
    assert response.status_code == 404
