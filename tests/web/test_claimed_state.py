"""What was written and what is in force are two figures; the page claims of the one only what the other bears out."""

import json
import re
from dataclasses import asdict

import pytest
from flask import Flask

from app.db import write
from app.flags.document import ConfiguredState
from app.flags.models import FlagRow, WorkerStateRow
from app.flags.outcome import RolloutOutcome
from app.flags.provider import FlagView
from app.flags.worker_state import WorkerAgreement, WorkerGroup
from app.rollout.plan_service import read_epoch
from app.stream.models import PresenceRow
from app.web.rollout.claimed_state import ClaimedState, describe_in_force
from app.web.rollout.rollout_form import FLAG
from tests.web.test_rollout_page import Desk, desk

__all__ = ["desk"]

ON_AT_50, OFF_AT_50 = ConfiguredState(True, 50), ConfiguredState(False, 50)


def holds(desk: Desk, *states: ConfiguredState) -> None:
    """A worker for each of these."""
    with desk.app.app_context(), write() as session:
        for number, one in enumerate(states):
            said = json.dumps({FLAG: asdict(one)})
            session.merge(WorkerStateRow(worker=f"w{number}", version="v", nominal_json=said, seen=read_epoch(session)))


def streams(desk: Desk, user: str) -> None:
    with desk.app.app_context(), write() as session:
        session.merge(PresenceRow(worker="w", user=user, count=1, seen=read_epoch(session)))


def kill_button(desk: Desk) -> tuple[str, bool]:
    """What it says, and whether it can be pressed."""
    found = re.search(r'<button class="button danger"[^>]*value="off"([^>]*)>([^<]*)<', desk.get())
    assert found
    return found[2], "disabled" not in found[1]


def test_a_kill_that_a_worker_does_not_hold_is_not_claimed_and_the_button_stays(desk: Desk) -> None:
    desk.put(50)
    desk.put(enabled=False)
    holds(desk, OFF_AT_50, ON_AT_50)
    standing, bar = desk.part("standing"), desk.part("bar")
    assert "50 % kept; switched off, and not in force yet: off in 1 worker, 50 % in 1" in standing
    assert "Written off (kept 50 %)" in standing
    assert "In force off in 1 worker, 50 % in 1" in standing
    assert "nobody is in" not in standing
    assert "No lasting difference" not in standing
    assert "Not off yet in force: off in 1 worker, 50 % in 1" in bar
    assert kill_button(desk) == ("Switch off for everybody", True)
    holds(desk, OFF_AT_50, OFF_AT_50)
    assert "50 % kept; switched off, nobody is in" in desk.part("standing")
    assert "In force off in all 2 workers" in desk.part("standing")
    assert kill_button(desk) == ("Off for everybody", False)


def test_a_stream_of_somebody_who_is_out_is_said_before_it_has_lasted(desk: Desk) -> None:
    holds(desk, ConfiguredState(True, 10))
    assert "No lasting difference" in desk.part("standing")
    desk.put(enabled=False)
    holds(desk, ConfiguredState(False, 10))
    streams(desk, "zoe")
    found = desk.part("standing")
    assert "Not settled yet 1 should not stream but still does. After 30 s this counts as a discrepancy." in found
    assert "No lasting difference" not in found


def test_a_worker_that_has_not_followed_for_long_is_a_difference_and_nothing_beside_it_says_otherwise(
    desk: Desk,
) -> None:
    holds(desk, ON_AT_50)
    with desk.app.app_context(), write() as session:
        session.get_one(FlagRow, FLAG).changed_at = "2026-01-01T00:00:00.000Z"
    found = desk.part("standing")
    assert "1 of 1 workers has been out of date for more than 30 s." in found
    assert "No lasting difference" not in found
    assert "Not settled yet" not in found


def test_the_api_has_both_figures(desk: Desk) -> None:
    desk.put(25)
    strategies = ConfiguredState(True, None, "it has 2 strategies")
    holds(desk, ConfiguredState(True, 25), ConfiguredState(True, 25), ConfiguredState(True, 12.5), strategies)
    found = desk.client.get(f"/api/rollout/{FLAG}").get_json()
    assert (found["percentage"], found["workers"]) == (25, {"holding": 2, "total": 4})
    assert found["inForce"] == [
        {"enabled": True, "percentage": 25, "workers": 2},
        {"enabled": True, "percentage": 12.5, "workers": 1},
        {"enabled": True, "percentage": None, "workers": 1},
    ]


@pytest.mark.parametrize(
    ("view", "words"),
    [
        (FlagView(ConfiguredState(True, 50)), "50 % of users are in"),
        (FlagView(ConfiguredState(True, 12.5)), "12.5 % of users are in"),
        (
            FlagView(ConfiguredState(True, 100), outcome=RolloutOutcome(nobody="parent checkout is off")),
            "100 % parent checkout is off: nobody is in",
        ),
        (
            FlagView(ConfiguredState(True, 100), outcome=RolloutOutcome(limits=("segment beta",))),
            "100 % of those whom segment beta lets in",
        ),
        (FlagView(ConfiguredState(True, None, "it has 2 strategies")), "— no single percentage says who is in"),
        (FlagView(ConfiguredState(False, None, "it has 2 strategies")), "— kept; switched off, nobody is in"),
    ],
)
def test_the_sentence_is_the_outcome_of_all_rules(view: FlagView, words: str) -> None:
    claim = ClaimedState.of(view, None, None)
    assert f"{claim.figure} {claim.words}" == words


def test_what_is_on_and_lets_nobody_in_is_not_green(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = desk.app.extensions["beacon"].provider
    view = FlagView(ConfiguredState(True, 100), "bea", outcome=RolloutOutcome(nobody="parent checkout is off"))
    monkeypatch.setattr(provider, "view", lambda *_: view)
    assert "On, nobody is in 100 %" in desk.part("bar")
    assert "100 % parent checkout is off: nobody is in" in desk.part("standing")
    assert desk.client.get(f"/api/rollout/{FLAG}").get_json()["outcome"] == "parent checkout is off: nobody is in"


def test_how_many_workers_hold_what_is_said(cast: Flask) -> None:
    assert describe_in_force(None) == "—"
    assert describe_in_force(WorkerAgreement(1, 1, in_force=[WorkerGroup(True, 50, 1)])) == "50 % in the only worker"
    assert describe_in_force(WorkerAgreement(4, 4, in_force=[WorkerGroup(True, 50, 4)])) == "50 % in all 4 workers"
    held = [WorkerGroup(False, 50, 3), WorkerGroup(True, None, 1)]
    assert describe_in_force(WorkerAgreement(3, 4, in_force=held)) == "off in 3 workers, — in 1"
