"""What browsers reported, beside the changes; and whether the error rate is back at what it was."""

import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from flask import Flask

from app.db import db, now_epoch, read, write
from app.flags import embedded
from app.flags.document import Flag
from app.flags.models import FlagRow, ReportRow
from app.infra.clock import utc_text
from app.rollout import client_metrics, client_reports
from app.rollout.client_metrics import ErrorRate
from app.rollout.client_reports import ReportTotals
from app.rollout.guardrail import find_bucket
from tests.rollout.test_rollout_api import URL
from tests.support.cast import PIA, headers_of


def reported(app: Flask, ago: int, cohort: str = "streaming", **figures: Any) -> None:
    """So many minutes ago."""
    hello, lag = (Counter(find_bucket(one) for one in figures.pop(name, [])) for name in ("helloMs", "lagMs"))
    with app.app_context(), write() as session:
        client_reports.add_totals(
            session, cohort, ReportTotals(reports=1, hello=hello, lag=lag, **figures), time.time() - 60 * ago
        )


def ask(app: Flask, query: str = "") -> Any:
    return app.test_client().get(f"{URL}/evidence{query}", headers=headers_of(app, PIA, "rollout"))


def test_the_evidence_has_each_known_minute_of_each_cohort_and_the_changes(cast: Flask) -> None:
    reported(cast, 90, attempts=1)
    reported(cast, 2, attempts=10, failures=1, helloMs=[80.0], lagMs=[300.0])
    reported(cast, 2, "polling", fallbacks=1)
    with cast.app_context(), write() as session:
        embedded.change_rollout(session, Flag.SSE_STREAMING, "pia", "a start", 10)
    found = ask(cast).get_json()
    assert (found["flag"], found["minutes"]) == (Flag.SSE_STREAMING, 60)
    [streaming] = found["cohorts"]["streaming"]
    assert streaming.pop("at") < utc_text()
    assert streaming == {
        "reports": 1,
        "attempts": 10,
        "failures": 1,
        "fallbacks": 0,
        "reconnects": 0,
        "helloP95S": 0.1,
        "lagP95S": 0.5,
    }
    [polling] = found["cohorts"]["polling"]
    assert (polling["fallbacks"], polling["helloP95S"]) == (1, None)
    [change] = found["changes"]
    assert (change["actor"], change["percentage"], change["enabled"]) == ("pia", 10, True)
    assert len(ask(cast, "?minutes=120").get_json()["cohorts"]["streaming"]) == 2


@pytest.mark.parametrize("minutes", ["0", "1441", "x", "-1", "1.5", "²"])
def test_other_minutes_are_refused(cast: Flask, minutes: str) -> None:
    assert ask(cast, f"?minutes={minutes}").status_code == 400


@pytest.mark.parametrize(
    ("now", "before", "verdict"),
    [(None, 0.1, "unknown"), (0.1, None, "unknown"), (0.2, 0.1, "higher"), (0.105, 0.1, "back"), (0.0, 0.0, "back")],
)
def test_the_error_rate_is_back_once_it_is_close_to_what_it_was(
    now: float | None, before: float | None, verdict: str
) -> None:
    assert ErrorRate(now, before).verdict == verdict


def test_the_error_rate_now_is_of_what_came_after_the_step_back(cast: Flask) -> None:
    reported(cast, 40, attempts=100, failures=2)
    reported(cast, 20, attempts=100, failures=50)
    began, back = (utc_text(datetime.fromtimestamp(time.time() - 60 * ago, UTC)) for ago in (30, 3))
    with cast.app_context(), read() as session:
        assert client_metrics.load_error_rate(session, Flag.SSE_STREAMING, began, back) == ErrorRate(None, 0.02)
        assert client_metrics.load_error_rate(session, Flag.SSE_STREAMING, None, back) == ErrorRate(None, None)
    reported(cast, 1, attempts=29, failures=0)
    with cast.app_context(), read() as session:
        found = client_metrics.load_error_rate(session, Flag.SSE_STREAMING, began, back)
    assert found == ErrorRate(None, 0.02), "so few attempts are no recovery"
    reported(cast, 1, attempts=1, failures=3)
    with cast.app_context(), read() as session:
        assert client_metrics.load_error_rate(session, Flag.SSE_STREAMING, began, back) == ErrorRate(0.1, 0.02)


def test_what_it_was_before_the_rollout_is_known_when_the_reports_of_then_are_gone(cast: Flask) -> None:
    def put(percentage: int) -> str:
        with cast.app_context(), write() as session:
            embedded.change_rollout(session, Flag.SSE_STREAMING, "pia", "a step", percentage)
            return embedded.load_rollout(session, Flag.SSE_STREAMING).changed_at or ""

    reported(cast, 40, attempts=100, failures=2)
    put(10)
    reported(cast, 2, attempts=100, failures=50)
    put(50)
    with cast.app_context(), write() as session:
        session.execute(db.delete(ReportRow))
    back = put(0)
    with cast.app_context(), read() as session:
        assert client_metrics.load_error_rate(session, Flag.SSE_STREAMING, None, back).before == 0.02


class TestOnAgain:
    """Fifty of a hundred fail, the kill switch, and on again while the hour before is still full of failures."""

    def after(self, app: Flask, off_for_minutes: float, **since: int) -> float | None:
        """What is kept as before the rollout, where this was reported while it was off."""
        with app.app_context(), write() as session:
            embedded.change_rollout(session, Flag.SSE_STREAMING, "pia", "a step", 50)
        reported(app, 10, attempts=100, failures=50)
        with app.app_context(), write() as session:
            embedded.change_rollout(session, Flag.SSE_STREAMING, "pia", "it hurts", enabled=False)
            session.execute(db.update(FlagRow).values(level_since=now_epoch() - 60 * off_for_minutes))
        reported(app, 1, "polling", **since)
        with app.app_context(), write() as session:
            embedded.change_rollout(session, Flag.SSE_STREAMING, "pia", "once more", enabled=True)
        with app.app_context(), read() as session:
            return client_metrics.load_error_rate(session, Flag.SSE_STREAMING, utc_text(), utc_text()).before

    def test_what_was_before_the_first_time_stays(self, cast: Flask) -> None:
        reported(cast, 40, attempts=100, failures=2)
        assert self.after(cast, 5, attempts=1) == 0.02

    def test_what_was_reported_while_nobody_was_in_counts_once_it_is_enough(self, cast: Flask) -> None:
        reported(cast, 40, attempts=100, failures=2)
        assert self.after(cast, 5, attempts=50, failures=2) == 0.04

    def test_where_nothing_was_known_before_it_its_own_failures_are_not_it(self, cast: Flask) -> None:
        assert self.after(cast, 5, attempts=1) is None
