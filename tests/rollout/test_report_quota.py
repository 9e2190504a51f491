"""Several reports are not several people: what one person reports within a window is bounded."""

import pytest
from flask import Flask

from app.config import Settings
from app.rollout import report_quota
from app.rollout.client_reports import ClientReport, ReportTotals
from app.rollout.guardrail import BOUNDS_MS
from app.rollout.report_buffer import ReportBuffer
from app.rollout.report_quota import FLUSH_SLACK_S, ReportQuota
from tests.rollout.test_client_reports import STREAMED, rows, send, set_share

WINDOW_S, MIN_ATTEMPTS = 300.0, 30
BROKEN = ClientReport.model_validate({"attempts": 12, "failures": 12, "fallbacks": 4, "lagMs": [9_000.0] * 20})
SLOW = ClientReport.model_validate({"lagMs": [9_000.0] * 20})


class Room:
    """What some logins report, every 30 s."""

    def __init__(self, min_attempts: int = MIN_ATTEMPTS) -> None:
        self._portions = ReportQuota(min_attempts, WINDOW_S)
        self.sum, self.now = ReportTotals(), 0.0

    def reports(self, login: str, report: ClientReport, times: int = 1) -> None:
        for _ in range(times):
            self.now += 30
            self.sum += ReportTotals.of(self._portions.limit(login, report, self.now), BOUNDS_MS)


def test_one_viewer_behind_a_broken_proxy_is_bounded_in_the_sums() -> None:
    room = Room()
    room.reports("one", BROKEN, times=10)
    assert (room.sum.attempts, room.sum.failures, room.sum.fallbacks) == (15, 15, 5)
    assert sum(room.sum.lag.values()) == 15
    room.reports("other", BROKEN, times=2)
    assert room.sum.attempts == 30


def test_lags_of_one_viewer_alone_are_too_few_to_judge() -> None:
    room = Room()
    room.reports("one", SLOW, times=10)
    assert sum(room.sum.lag.values()) < MIN_ATTEMPTS
    room.reports("other", SLOW, times=2)
    assert sum(room.sum.lag.values()) >= MIN_ATTEMPTS


def test_what_counts_keeps_its_proportions() -> None:
    figures = {"attempts": 12, "failures": 6, "fallbacks": 3, "lagMs": [20.0] * 10 + [9_000.0] * 10}
    room = Room(min_attempts=8)
    room.reports("one", ClientReport.model_validate(figures))
    assert (room.sum.attempts, room.sum.failures, room.sum.fallbacks) == (4, 2, 1)
    assert room.sum.lag == {"50": 2, "10000": 2}


def test_fallbacks_without_attempts_are_bounded_too() -> None:
    room = Room()
    room.reports("one", ClientReport(fallbacks=12), times=3)
    assert room.sum.fallbacks == 15


def test_a_window_later_it_counts_again() -> None:
    room = Room()
    room.reports("one", BROKEN, times=2)
    room.now += WINDOW_S + FLUSH_SLACK_S
    room.reports("one", BROKEN)
    assert room.sum.attempts == 15 + 12


def test_the_logins_that_are_told_apart_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_quota, "MAX_TRACKED_USERS", 3)
    made = ReportQuota(MIN_ATTEMPTS, WINDOW_S)
    for number in range(10):
        made.limit(f"login {number}", BROKEN, float(number))
    assert len(made._counted) == 3
    assert made.limit("login 9", BROKEN, 10.0).attempts == 3, "who reported last is remembered"


def test_logins_of_one_person_share_a_portion_and_polls_are_not_cut(cast: Flask, settings: Settings) -> None:
    few = settings.model_copy(update={"guardrail_min_attempts": 4})
    cast.extensions["beacon"].report_buffer = ReportBuffer(cast, few)
    set_share(cast, 100)
    for _ in range(2):  # each from a login of its own
        assert send(cast, STREAMED) == 204
    assert [(row.attempts, row.failures) for row in rows(cast)] == [(2, 1)]
    set_share(cast, 0)
    assert send(cast, {"attempts": 9}) == 204
    assert {row.cohort: row.attempts for row in rows(cast)} == {"streaming": 2, "polling": 9}
