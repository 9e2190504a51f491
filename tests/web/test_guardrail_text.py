"""What `/rollout` says of the guardrail: what it judged, or why there is nothing that it could judge."""

from dataclasses import replace

import pytest
from flask import Flask

from app.config import Settings
from app.db import write
from app.flags.document import ConfiguredState
from app.flags.models import GuardrailRow
from app.rollout.client_reports import ClientReport
from app.rollout.evidence import CohortEvidence, StepEvidence
from app.rollout.guardrail_limits import read_settings
from app.rollout.plan_service import read_epoch
from app.web.rollout import guardrail_text
from app.web.rollout.guardrail_text import GuardrailText
from app.web.rollout.rollout_form import FLAG
from tests.web.test_rollout_page import PAGE, Desk, desk

__all__ = ["desk"]


def test_the_guardrail_is_shown_and_refuses_in_words(cast: Flask, desk: Desk) -> None:
    assert "It holds the rollout when it is sure that more than 5 %" in desk.part("guardrail")
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


def seen(connects: int = 0, failures: int = 0, polling: int = 0) -> StepEvidence:
    people = min(5, connects)
    streams = CohortEvidence(people, connects, failures, 0, 0, min(5, failures), 0, connects // 5, failures // 5)
    return StepEvidence(streams, CohortEvidence(5 if polling else 0, polling))


ON = ConfiguredState(True, 50)


@pytest.mark.parametrize(
    ("found", "now", "override", "said"),
    [
        (seen(), ON, None, "Nothing seen yet No page has reported a stream since the step began. That is no health."),
        (seen(3), ON, None, "Not sure yet 0 of 3 attempts to connect failed, of 3 people: surely between 0 % and"),
        (seen(40), ConfiguredState(False, 50), None, "Nothing to judge The flag is off, so nobody is in."),
        (seen(40), ConfiguredState(True, 0), None, "Nothing to judge Nobody is in at 0 %."),
        (seen(40), ConfiguredState(True, None, "x"), None, "Nothing to judge No single percentage says how many"),
        (seen(40), ON, "on", "Nothing to judge The setting decides who is in"),
        (seen(40, 20), ON, None, "Over the limit 20 of 40 attempts to connect failed (between 14 % and 86 %)"),
        (seen(400, 1, 90), ON, None, "Within the limits 1 of 400 attempts to connect failed, of 5 people: surely"),
        (seen(400, 1, 90), ON, None, "Polls: 0 of 90 failed."),
    ],
)
def test_the_guardrail_says_what_it_found_or_why_it_finds_nothing(
    settings: Settings, found: StepEvidence, now: ConfiguredState, override: str | None, said: str
) -> None:
    limits = read_settings(settings)
    text = GuardrailText.of(None, limits, now, found, CohortEvidence(), override, "embedded")
    assert said in f"{text.word} {text.why}"
    assert (text.state == "success") == (text.word == "Within the limits")
    off = replace(limits, mode="off")
    assert GuardrailText.of(None, off, now, found, CohortEvidence(), override, "embedded").word == "Off"


def test_the_page_counts_what_was_reported_since_the_change(cast: Flask, desk: Desk) -> None:
    assert "Nothing seen yet" in desk.part("guardrail")
    for user in ("ann", "bea", "cid", "dan", "eve"):
        for _ in range(3):
            cast.extensions["beacon"].report_buffer.add("streaming", user, ClientReport(attempts=12))
    cast.extensions["beacon"].report_buffer.flush()
    assert "Within the limits 0 of 180 attempts to connect failed, of 5 people" in desk.part("guardrail")


def test_a_hold_is_not_said_to_bind_unleash(settings: Settings) -> None:
    row = GuardrailRow(flag=FLAG, since=0.0, reason="they fail", refusals=0, retry_at=0.0)
    said = [
        GuardrailText.of(row, read_settings(settings), ON, seen(), CohortEvidence(), None, mode).why
        for mode in ("embedded", "unleash")
    ]
    assert said[0].startswith("They fail. Increases are blocked; decreases")
    assert "Increases are blocked in Beacon, but not in Unleash;" in said[1]


def test_the_limits_of_the_guardrail_are_a_sentence(settings: Settings) -> None:
    limits = read_settings(settings)
    assert guardrail_text.describe_limits(limits, 300) == (
        "It holds the rollout when it is sure that more than 5 % of the attempts to connect fail, or more than of the "
        "polls; when the p95 of the delivery lag passes 2 s in 3 looks in a row, a minute apart, within 5 min. It "
        "takes at least 2 people; it never raises anything."
    )
    for mode, said in (
        ("step-back", "It steps back to the percentage before when"),
        ("dry-run", "It only says that it would hold (a dry run) when"),
        ("off", "Nothing is watched"),
    ):
        assert guardrail_text.describe_limits(replace(limits, mode=mode), 300).startswith(said)


def test_limits_are_changed_on_the_page_by_who_saw_the_current_ones(desk: Desk) -> None:
    form = {"mode": "step-back", "maxFailures": "7.5", "maxLagS": "3", "minAttempts": "30", "limitsSeen": ""}
    assert desk.send(f"{PAGE}/limits", **form).status_code == 400
    assert desk.send(f"{PAGE}/limits", **{**form, "maxFailures": "lots"}, reason="x").status_code == 400
    assert desk.send(f"{PAGE}/limits", **form, reason="calmer nights").status_code == 303
    assert "It steps back to the percentage before when it is sure that more than 7.5 %" in desk.part("guardrail")
    assert "limits changed pia mode hold → step-back, maxFailures 0.05 → 0.075, maxLagS 2.0 → 3.0" in desk.part(
        "history"
    )
    late = desk.send(f"{PAGE}/limits", **form, reason="again")
    assert (late.status_code, "pia has changed the limits since" in late.text) == (409, True)
