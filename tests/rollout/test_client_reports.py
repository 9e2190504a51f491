"""What browsers report, as it is counted: by the cohort that the server decides, bounded, and nothing of the person."""

import json
from collections import Counter
from typing import Any

import pytest
from flask import Flask
from sqlalchemy.exc import OperationalError, ProgrammingError

from app.config import Settings
from app.db import db, read, write
from app.flags import embedded
from app.flags.document import Flag, Rollout
from app.flags.models import ReportRow, WitnessRow
from app.rollout import client_reports
from app.rollout.client_reports import ClientReport, ReportTotals
from app.rollout.report_buffer import ReportBuffer
from tests.support.cast import ALICE, csrf_token, logged_in

URL = "/api/client-reports"
STREAMED = {"cohort": "streaming", "attempts": 3, "failures": 1, "reconnects": 2, "helloMs": [40], "lagMs": [12, 900]}


def send(app: Flask, body: dict[str, Any]) -> int:
    """As a page of Alice's sends it, from a login of its own."""
    browser = logged_in(app, ALICE)
    return browser.post(URL, json=body, headers={"X-CSRFToken": csrf_token(browser, "/")}).status_code


def set_share(app: Flask, percentage: int) -> None:
    with app.app_context(), write() as session:
        embedded.change_rollout(session, Flag.SSE_STREAMING, "test", "a test", percentage)
    app.extensions["beacon"].flags.load({Flag.SSE_STREAMING: Rollout(True, percentage)})


def rows(app: Flask) -> list[ReportRow]:
    app.extensions["beacon"].report_buffer.flush()
    with app.app_context(), read() as session:
        return list(session.scalars(db.select(ReportRow)))


def renamed(app: Flask, table: str, to: str) -> None:
    with app.app_context(), write() as session:
        session.execute(db.text(f"ALTER TABLE {table} RENAME TO {to}"))


def test_what_a_page_streamed_counts_as_the_streaming_cohorts(cast: Flask) -> None:
    set_share(cast, 100)
    assert send(cast, STREAMED) == 204
    [row] = rows(cast)
    assert (row.cohort, row.attempts, row.failures, row.reconnects) == ("streaming", 3, 1, 2)
    assert json.loads(row.lag_json) == {"50": 1, "1000": 1}


@pytest.mark.parametrize(("percentage", "measured"), [(100, "polling"), (0, "streaming")])
def test_what_was_measured_before_the_user_moved_counts_for_nobody(cast: Flask, percentage: int, measured: str) -> None:
    """Polls are seconds late by design: told as streams, they would trip the guardrail at every step up."""
    set_share(cast, percentage)
    assert send(cast, {"cohort": measured, "attempts": 6, "lagMs": [4_000] * 100}) == 204
    assert rows(cast) == []


def test_a_report_without_a_cohort_is_the_one_that_the_server_decides(cast: Flask) -> None:
    set_share(cast, 0)
    assert send(cast, {"attempts": 1}) == 204
    assert [row.cohort for row in rows(cast)] == ["polling"]


def test_an_unknown_cohort_is_refused(cast: Flask) -> None:
    assert send(cast, {"cohort": "alice"}) == 400


def test_reports_of_a_minute_add_up_and_never_hold_more_failures_than_attempts(cast: Flask) -> None:
    with cast.app_context(), write() as session:
        for _ in range(2):
            report = ClientReport.model_validate({"attempts": 2, "failures": 9, "lagMs": [-5.0]})
            client_reports.add_totals(session, "streaming", ReportTotals.of(report), 120.0)
    [row] = rows(cast)
    assert (row.minute, row.reports, row.attempts, row.failures) == (2, 2, 4, 4)
    assert json.loads(row.lag_json) == {"50": 2}


def test_one_report_alone_is_never_enough_and_keeps_its_proportions() -> None:
    most = {"attempts": 1_000, "failures": 500, "fallbacks": 1_000, "lagMs": [9.0] * 50 + [4e3] * 50}
    found = ReportTotals.of(ClientReport.model_validate(most))
    assert (found.attempts, found.failures, found.fallbacks, found.lag) == (12, 6, 12, {"50": 10, "5000": 10})
    without = ReportTotals.of(ClientReport.model_validate({"fallbacks": 1_000, "reconnects": 1_000}))
    assert (without.attempts, without.fallbacks, without.reconnects) == (0, 12, 12)


def test_reports_are_written_together_and_kept_while_the_database_is_away(cast: Flask) -> None:
    tally = cast.extensions["beacon"].report_buffer
    for login in ("one", "two", "three"):
        tally.add("streaming", login, ClientReport(attempts=2, failures=1))
    renamed(cast, "client_report", "away")
    with pytest.raises((OperationalError, ProgrammingError)):  # SQLite's and PostgreSQL's
        tally.flush()
    renamed(cast, "away", "client_report")
    tally.add("polling", "one", ClientReport(attempts=1))
    assert sorted((row.cohort, row.reports, row.attempts, row.failures) for row in rows(cast)) == [
        ("polling", 1, 1, 0),
        ("streaming", 3, 6, 3),
    ]


def test_people_are_written_a_few_hundred_at_a_time_and_each_once(cast: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    set_share(cast, 100)
    monkeypatch.setattr("app.rollout.report_buffer.PEOPLE_PER_TRANSACTION", 2)
    tally = cast.extensions["beacon"].report_buffer
    lags = {"lagMs": [10.0] * 20}
    for user in ("ann", "bea", "cid", "dan", "eve"):
        tally.add("streaming", user, ClientReport.model_validate({"attempts": 1, **lags}))
    renamed(cast, "rollout_witness", "away")
    with pytest.raises(OperationalError):
        tally.flush()
    renamed(cast, "away", "rollout_witness")
    tally.flush()
    tally.add("streaming", "ann", ClientReport.model_validate(lags))  # no more of her deliveries count in this period
    tally.flush()
    with cast.app_context(), read() as session:
        whole = session.scalars(db.select(WitnessRow).where(WitnessRow.period == 0)).all()
    assert [(row.connects, row.delivered) for row in whole] == [(1, 20)] * 5
    assert [row.reports for row in rows(cast)] == [6], "the sums were written once"


def test_lags_are_counted_by_the_limit_of_the_settings_too(cast: Flask, settings: Settings) -> None:
    tally = ReportBuffer(cast, settings.model_copy(update={"guardrail_max_lag_s": 4.0}))
    tally.add("streaming", "one", ClientReport.model_validate({"lagMs": [3_200.0]}))
    tally.flush()
    [row] = rows(cast)
    assert json.loads(row.lag_json) == {"4000": 1}


def test_what_was_reported_soon_after_a_change_says_nothing_of_it(cast: Flask) -> None:
    """A page tells of its last 33 s, and its report waits for a flush: the minute after a change is not enough."""
    changed = 119.0
    with cast.app_context(), write() as session:
        for at, lags in ((changed + 38, 100), (changed + 70, 1)):
            client_reports.add_totals(session, "streaming", ReportTotals(reports=1, lag=Counter({"50": lags})), at)
        session.flush()
        assert client_reports.load_lag_window(session, 200.0, 300.0, changed).lags == 1
        assert client_reports.load_lag_window(session, 200.0, 300.0).lags == 101


def test_the_share_of_pages_that_measure_stands_in_the_page(cast: Flask) -> None:
    assert 'data-report-share="1.0"' in logged_in(cast, ALICE).get("/").text
