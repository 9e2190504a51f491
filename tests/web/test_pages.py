"""The pages as plain HTML: what they say without a single script."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.db import write
from app.eventlog.append import NewEvent
from app.infra.clock import utc_text
from app.reconciliation.models import OpenItem, Service, ServiceState
from tests.support.any_service import ANY_KIND, NOWHERE
from tests.support.cast import ALICE, BOB, CHARLIE, Person, logged_in, publish
from tests.web.payloads import discrepancy, update


def watch(app: Flask, service: str, payload: dict[str, object] | None = None, *missing: str) -> None:
    """A service with what is believed of it, as `record` leaves it."""
    now = utc_text()
    with app.app_context(), write() as session:
        session.add(
            Service(id=service, name=service.title(), kind=ANY_KIND, url=NOWHERE, origin="admin", registered_at=now)
        )
        session.flush()
        if payload is not None:
            state = ServiceState(service_id=service, version=1, status=str(payload["status"]), counts_only=False)
            state.payload_json, state.checked_at, state.latency_ms = json.dumps(payload), now, 41
            session.add(state)
        for job_id in missing:
            item = OpenItem(id=job_id, service_id=service, job_id=job_id, kind="missing", since=now)
            item.last_state, item.queue = "running", "out"
            session.add(item)


def page(app: Flask, person: Person, path: str = "/") -> str:
    response = logged_in(app, person).get(path)
    assert response.status_code == 200, response.text
    return response.text


def test_the_first_page_says_what_to_do_when_nothing_is_watched(cast: Flask) -> None:
    text = page(cast, ALICE)
    assert "No service is watched yet" in text
    assert "No activity yet" in text


def test_a_service_is_shown_with_state_figures_age_and_latency(cast: Flask) -> None:
    watch(cast, "mail", update())
    text = page(cast, ALICE)
    assert "1 service verified" in text
    for part in ("Mail", "Verified", "12</span>", "waiting", "14</span>", "failed", "41 <span"):
        assert part in text, part


def test_a_discrepancy_names_both_sides_and_the_missing_jobs(cast: Flask) -> None:
    watch(cast, "mail", discrepancy("job_0a1b2c3d4e5f"))
    text = page(cast, ALICE)
    assert "Beacon knows 14 jobs, Mail reports 12" in text
    assert 'title="job_0a1b2c3d4e5f"' in text
    assert "<title>● 1 wrong · Beacon</title>" in text


def test_a_service_before_its_first_look_claims_nothing(cast: Flask) -> None:
    watch(cast, "mail")
    text = page(cast, ALICE)
    assert "Not checked yet" in text
    assert re.search(r"<dd[^>]*><span>0</span>", text) is None


def test_a_state_that_nobody_confirms_is_marked_on_the_first_render(cast: Flask) -> None:
    watch(cast, "mail", update())
    with cast.app_context(), write() as session:
        state = session.get(ServiceState, "mail")
        assert state is not None
        state.checked_at = utc_text(datetime.now(UTC) - timedelta(minutes=1))
    text = page(cast, ALICE)
    assert "data-aged>" in text
    assert "1 service: 1 stale" in text


def test_the_page_and_its_header_carry_the_cursor(cast: Flask) -> None:
    ids = publish(cast, NewEvent("test.broadcast", {"n": 1}), NewEvent("test.broadcast", {"n": 2}))
    response = logged_in(cast, ALICE).get("/")
    assert f'data-cursor="{ids[-1]}"' in response.text
    assert response.headers["Beacon-Cursor"] == str(ids[-1])


def test_the_newest_fifty_changes_stand_newest_first(cast: Flask) -> None:
    ids = publish(cast, *(NewEvent("test.broadcast", {"n": number}) for number in range(60)))
    shown = [int(found) for found in re.findall(r'id="change-(\d+)"', page(cast, ALICE))]
    assert shown == list(reversed(ids))[:50]


def test_nobody_sees_a_change_that_is_for_somebody_else(cast: Flask) -> None:
    publish(
        cast,
        NewEvent("test.broadcast", {"text": "for alice"}, "user:alice"),
        NewEvent("test.broadcast", {"text": "for operators"}, "role:operator"),
    )
    seen = {person.name: page(cast, person) for person in (ALICE, BOB, CHARLIE)}
    assert [name for name, text in seen.items() if "for alice" in text] == ["alice"]
    assert [name for name, text in seen.items() if "for operators" in text] == ["bob"]


def test_signals_and_unchanged_checks_are_no_changes(cast: Flask) -> None:
    checks = {"mail": {"checkedAt": "2026-11-21T12:03:05.000Z", "latencyMs": 4}}
    publish(cast, NewEvent("notification.changed", {}), NewEvent("reconciliation.verified", {"services": checks}))
    assert 'id="change-' not in page(cast, ALICE)


@pytest.mark.parametrize(("flag", "told"), [(True, "on"), (False, "off")])
def test_a_page_is_told_whether_it_may_stream(cast: Flask, flag: bool, told: str) -> None:
    cast.extensions["beacon"].flags.overrides["enable_sse_streaming"] = flag
    assert f'data-stream="{told}"' in page(cast, ALICE)


@pytest.mark.parametrize(("asked", "refreshes"), [("10", True), ("1", False), ("x", False), ("9999", False)])
def test_a_page_without_scripts_can_be_told_to_reload(cast: Flask, asked: str, refreshes: bool) -> None:
    assert ('http-equiv="refresh"' in page(cast, ALICE, f"/?refresh={asked}")) is refreshes


def test_the_page_says_that_it_is_not_live_until_scripts_say_otherwise(cast: Flask) -> None:
    assert "Not live" in page(cast, ALICE)


def test_nothing_in_a_page_is_inline(cast: Flask) -> None:
    watch(cast, "mail", discrepancy("a"), "a")
    for path in ("/", "/services/mail"):
        text = page(cast, BOB, path)
        assert not re.search(r'<style|\sstyle="|\son\w+="|<script(?![^>]*\ssrc=)', text)


def test_an_operator_may_accept_what_is_open(cast: Flask) -> None:
    watch(cast, "mail", discrepancy("job_1"), "job_1")
    text = page(cast, BOB, "/services/mail")
    assert 'action="/services/mail/discrepancies/accept"' in text
    assert 'name="jobIds" value="job_1"' in text
    assert "was running in queue out" in text
    assert "disabled aria-describedby" not in text


def test_a_viewer_sees_the_form_disabled_with_the_reason(cast: Flask) -> None:
    watch(cast, "mail", discrepancy("job_1"), "job_1")
    text = page(cast, ALICE, "/services/mail")
    assert "disabled aria-describedby" in text
    assert "Accepting needs the role operator; you are viewer." in text


def test_an_unknown_service_is_a_page_that_says_so(cast: Flask) -> None:
    response = logged_in(cast, ALICE).get("/services/nope", headers={"Accept": "text/html"})
    assert response.status_code == 404
    assert "No such service" in response.text


def test_the_environment_is_named_on_every_page(cast: Flask, client: FlaskClient) -> None:
    cast.extensions["beacon"].settings.environment_name = "production"
    for text in (client.get("/login").text, page(cast, ALICE)):
        assert 'data-environment="production"' in text
