"""Of a source that is silent no page and no answer shows a number: unknown is a dash, or null with a reason."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from app.commands.models import CommandRow
from app.db import read, write
from app.infra.clock import utc_text
from app.reconciliation.models import CheckSample, KnownJob, Service, ServiceState
from tests.support.cast import ADA, BOB, headers_of, logged_in
from tests.web.payloads import update
from tests.web.test_one_verdict import checked, part, seen
from tests.web.test_pages import watch

# Numbers that stand nowhere else: what the source said when it was heard last.
LAST = {"queued": 7_171, "running": 7_272, "failed": 7_373}
NUMBERS = re.compile(r"(?<![\w-])7,?[123]7[123](?![\w-])")  # and no part of a hash
WORKERS = [{"id": "w1", "state": "idle", "queues": [], "job_id": None, "seen_at": None}]
SILENT = update(status="stale", counts={}, reason="answered 500", silentSince="2026-11-21T12:02:00.000Z")
# Streams have no end, and what was recorded of the past is no word on now.
NOT_READ = (
    "/api/stream",
    "/reconciliation/stream",
    "/api/events",
    "/api/sse",
    "/static",
    "/login",
    "/metrics",
    "/discrepancies",
    "/cost",  # Beacon's own
    "/trends",  # has a test of its own below
)
COMMAND = "intent-0001"
HISTORIES = ("/reconciliation/discrepancies", f"/commands/{COMMAND}")


def commanded(app: Flask) -> None:
    """A command, before which Mail did not tell its failed jobs."""
    row = CommandRow(id=COMMAND, body_hash="h", asked_json="{}", action="retry-job", service_id="mail", target="j1")
    row.actor, row.phase, row.total, row.verified = BOB.name, "success", 1, True
    row.created_at = row.started_at = row.ended_at = utc_text()
    row.before_json, row.after_json = '{"counts": {"queued": 5}}', '{"counts": {"queued": 4, "failed": 340}}'
    with app.app_context(), write() as session:
        session.add(row)


@pytest.fixture(params=["silent", "unchecked-for-long", "never-checked", "never-checked-for-long"])
def quiet(cast: Flask, request: pytest.FixtureRequest) -> Flask:
    """Mail, of which nothing is known now."""
    if request.param.startswith("never-checked"):
        watch(cast, "mail")
        if request.param.endswith("for-long"):
            with cast.app_context(), write() as session:
                session.get_one(Service, "mail").registered_at = "2026-11-21T12:00:00.000Z"
        commanded(cast)
        return cast
    is_silent = request.param == "silent"
    watch(cast, "mail", SILENT if is_silent else update(counts=LAST))
    long_ago = timedelta(minutes=3)
    failing = utc_text() if is_silent else None
    last = utc_text(datetime.now(UTC) - long_ago)
    checked(cast, long_ago, failing_since=failing, workers_json=json.dumps(WORKERS), last_answer_at=last)
    with cast.app_context(), write() as session:
        session.add(CheckSample(service_id="mail", at=last, ok=True, latency_ms=4, counts_json=json.dumps(LAST)))
        session.add(KnownJob(service_id="mail", job_id="j1", state="queued"))
    commanded(cast)
    return cast


def addresses(app: Flask) -> Iterator[str]:
    """All that can be read, with Mail where a service is asked for."""
    values = {"service_id": "mail", "job_id": "j1", "flag": "enable_sse_streaming", "command_id": COMMAND}
    for rule in app.url_map.iter_rules():
        known = rule.arguments <= values.keys()
        if "GET" in (rule.methods or ()) and known and not rule.rule.startswith(NOT_READ):
            yield re.sub(r"<(?:\w+:)?(\w+)>", lambda found: values[found[1]], rule.rule)


def fields(data: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield key, value
            yield from fields(value, key)
    elif isinstance(data, list):
        for one in data:
            yield from fields(one, name)


def test_no_page_shows_a_number_of_a_silent_source(quiet: Flask) -> None:
    client = logged_in(quiet, ADA)
    shown = {}
    for address in addresses(quiet):
        answer = client.get(address, headers={"Accept": "text/html"})
        if answer.mimetype != "text/html" or answer.status_code >= 500:
            continue
        # Scripts age a tile in the page: its figures stand in the markup, covered by a dash. A trend says until when.
        text = re.sub(r"<article[^>]*data-aged.*?</article>", "", answer.text, flags=re.DOTALL)
        text = re.sub(r'<p class="tile-trend".*?</p>|<footer.*?</footer>', "", text, flags=re.DOTALL)
        if found := NUMBERS.findall(text) or re.findall(r"<(?:dd|b|span|td)[^>]*>(?:<span>)?0</", text):
            shown[address] = found
    assert shown == {}


def test_no_answer_for_programs_holds_a_number_of_a_silent_source(quiet: Flask) -> None:
    client, headers = quiet.test_client(), headers_of(quiet, ADA, "read")
    held = {}
    for address in addresses(quiet):
        answer = client.get(address, headers={**headers, "Accept": "application/json"})
        if not answer.is_json or address in HISTORIES:
            continue
        found = list(fields(answer.json))
        counts = [value for key, value in found if key == "counts" and value is not None]
        if counts or NUMBERS.search(answer.text):
            held[address] = counts
    assert held == {}


def test_the_tabs_of_the_jobs_say_why_they_have_no_number(quiet: Flask) -> None:
    text = logged_in(quiet, BOB).get("/services/mail/jobs", headers={"Accept": "text/html"}).text
    tabs = part(text, r'<nav class="states".*?</nav>')
    assert re.findall(r'<span class="muted" title="the service [^"]+">(.*?)</span>', tabs) == ["—"] * 3
    assert 'name="expectedCount" value=""' in text


def test_programs_are_told_why(quiet: Flask) -> None:
    answer = quiet.test_client().get("/services/mail/jobs", headers=headers_of(quiet, BOB, "read"))
    meta = (answer.json or {})["meta"]
    assert meta["counts"] is None
    assert meta["countsReason"].startswith("the service ")


def test_a_state_that_a_service_does_not_count_has_no_number_either(cast: Flask) -> None:
    watch(cast, "mail", update(counts={"queued": 3}))
    checked(cast, timedelta(0))
    tabs = part(_jobs(logged_in(cast, BOB)), r'<nav class="states".*?</nav>')
    assert 'title="the service does not count failed jobs">—</span>' in tabs
    assert ">3</span>" in tabs


def test_a_number_that_is_older_than_the_check_is_told_with_its_time(cast: Flask) -> None:
    at = "2026-11-21T12:01:00.000Z"
    watch(cast, "mail", update(counts={"queued": 3, "failed": 340}, countsAsOf={"failed": at}))
    checked(cast, timedelta(0))
    tabs = part(_jobs(logged_in(cast, BOB)), r'<nav class="states".*?</nav>')
    assert "Failed 340 as of 12:01:00" in seen(tabs)
    assert seen(tabs).count("as of") == 1
    answer = cast.test_client().get("/services/mail/jobs", headers=headers_of(cast, BOB, "read"))
    assert (answer.json or {})["meta"]["countsAsOf"] == {"failed": at}


def test_nobody_says_of_a_silent_service_that_none_of_its_jobs_is_failed(quiet: Flask) -> None:
    client = logged_in(quiet, ADA)
    texts = {address: client.get(address, headers={"Accept": "text/html"}).text for address in addresses(quiet)}
    assert [address for address, text in texts.items() if "No job is failed" in text] == []


def test_workers_of_a_silent_service_are_told_as_of_its_last_answer(quiet: Flask) -> None:
    text = logged_in(quiet, BOB).get("/services/mail").text
    with quiet.app_context(), write() as session:
        state = session.get(ServiceState, "mail")
        was_heard = state is not None and state.last_answer_at is not None
    workers = seen(part(text, r'<section class="service-part" aria-labelledby="workers-title".*?</section>'))
    assert ("The current state of the workers is not known" in workers) is was_heard


def test_the_line_of_a_silent_service_says_until_when(quiet: Flask) -> None:
    trend = part(logged_in(quiet, BOB).get("/").text, r'<p class="tile-trend".*?</p>')
    with quiet.app_context(), read() as session:
        was_heard = session.scalar(sa.select(CheckSample.id).limit(1)) is not None
    assert re.search(r"failed at 7,373 until \d min ago", trend) if was_heard else not NUMBERS.search(trend)


def _jobs(client: FlaskClient) -> str:
    return client.get("/services/mail/jobs", headers={"Accept": "text/html"}).text
