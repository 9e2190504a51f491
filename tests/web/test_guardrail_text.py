"""What `/rollout` says of the guardrail: what it judged, or why there is nothing that it could judge."""

import pytest
from flask import Flask

from app.config import Settings
from app.db import write
from app.flags.document import ConfiguredState
from app.flags.models import GuardrailRow
from app.rollout import client_reports
from app.rollout.client_reports import ReportTotals
from app.rollout.guardrail import GuardrailWindow
from app.rollout.plan_service import read_epoch
from app.web.rollout import guardrail_text
from app.web.rollout.guardrail_text import GuardrailText
from app.web.rollout.rollout_form import FLAG
from tests.web.test_rollout_page import Desk, desk

__all__ = ["desk"]


def test_the_guardrail_is_shown_and_refuses_in_words(cast: Flask, desk: Desk) -> None:
    assert "It holds the rollout when, of at least 30 attempts" in desk.part("guardrail")
    with cast.app_context(), write() as session:
        session.add(
            GuardrailRow(
                flag=FLAG,
                since=read_epoch(session),
                reason="9 of 40 attempts to connect failed",
                refusals=0,
                retry_at=0.0,
            )
        )
    assert "Holds trouble last seen" in desk.part("guardrail")
    assert "9 of 40 attempts to connect failed. Increases are blocked" in desk.part("guardrail")
    sent = desk.send(do="set", percentage="50", reason="more")
    assert (sent.status_code, "The guardrail holds" in sent.text) == (409, True)
    assert desk.send(do="set", percentage="5", reason="less").status_code == 303


def window_of(reports: int = 0, attempts: int = 0, failures: int = 0, lags: int = 0) -> GuardrailWindow:
    return GuardrailWindow(reports, attempts, failures, 0, lags, 0.25 if lags else None)


@pytest.mark.parametrize(
    ("window", "now", "override", "said"),
    [
        (window_of(), ConfiguredState(True, 50), None, "Too few to judge 0 of 30 attempts to connect."),
        (window_of(3, 3), ConfiguredState(True, 50), None, "Too few to judge 3 of 30 attempts to connect."),
        (
            window_of(1, 40),
            ConfiguredState(True, 50),
            None,
            "Too few to judge 40 attempts to connect, all in one report.",
        ),
        (window_of(9, 40), ConfiguredState(False, 50), None, "Nothing to judge The flag is off, so nobody is in."),
        (window_of(9, 40), ConfiguredState(True, 0), None, "Nothing to judge Nobody is in at 0 %."),
        (
            window_of(9, 40),
            ConfiguredState(True, None, "x"),
            None,
            "Nothing to judge No single percentage says how many",
        ),
        (window_of(9, 40), ConfiguredState(True, 50), "on", "Nothing to judge The setting decides who is in"),
        (window_of(9, 40, 9), ConfiguredState(True, 50), None, "Over the limit 9 of 40 attempts to connect failed"),
        (
            window_of(9, 40, 1, 50),
            ConfiguredState(True, 50),
            None,
            (
                "Within the limits 40 attempts to connect: 1 failed (2.5 %), 0 fell back to polling (0 %). "
                "Delivery lag, p95: 0.25 s."
            ),
        ),
        (window_of(9, 40, 1, 2), ConfiguredState(True, 50), None, "Delivery lag, p95: —, too few to judge (2 of 30)."),
    ],
)
def test_the_guardrail_says_what_it_found_or_why_it_finds_nothing(
    settings: Settings, window: GuardrailWindow, now: ConfiguredState, override: str | None, said: str
) -> None:
    found = GuardrailText.of(None, settings, now, window, override, "embedded")
    assert said in f"{found.word} {found.why}"
    assert (found.state == "success") == (found.word == "Within the limits")
    off = settings.model_copy(update={"guardrail_mode": "off"})
    assert GuardrailText.of(None, off, now, window, override, "embedded").word == "Off"


def test_the_page_counts_what_was_reported_since_the_change(cast: Flask, desk: Desk) -> None:
    assert "Too few to judge 0 of 30 attempts to connect." in desk.part("guardrail")
    with cast.app_context(), write() as session:
        for _ in range(2):
            client_reports.add_totals(
                session, "streaming", ReportTotals(reports=1, attempts=20, failures=1), read_epoch(session) + 120
            )
    assert "Within the limits 40 attempts to connect: 2 failed (5 %)" in desk.part("guardrail")


def test_a_hold_is_not_said_to_bind_unleash(settings: Settings) -> None:
    row = GuardrailRow(flag=FLAG, since=0.0, reason="they fail", refusals=0, retry_at=0.0)
    said = [
        GuardrailText.of(row, settings, ConfiguredState(True, 50), window_of(), None, mode).why
        for mode in ("embedded", "unleash")
    ]
    assert said[0].startswith("They fail. Increases are blocked; decreases")
    assert "Increases are blocked in Beacon, but not in Unleash;" in said[1]


def test_the_limits_of_the_guardrail_are_a_sentence(settings: Settings) -> None:
    assert guardrail_text.describe_limits(settings) == (
        "It holds the rollout when, of at least 30 attempts to connect within 5 min, more than 5 % fail or fall back "
        "to polling, or the p95 of the delivery lag passes 2 s. It never raises anything."
    )
    back = guardrail_text.describe_limits(settings.model_copy(update={"guardrail_mode": "step-back"}))
    assert back.startswith("It steps back to the percentage before when")
    off = guardrail_text.describe_limits(settings.model_copy(update={"guardrail_mode": "off"}))
    assert off.startswith("Nothing is watched")
