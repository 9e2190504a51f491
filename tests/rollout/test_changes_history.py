"""What became of a flag, as its history has it: from where to where, and when a rollout began and was taken back."""

from itertools import pairwise

import pytest
from flask import Flask

from app.db import read, write
from app.flags import change_log, embedded
from app.flags.change_log import RolloutChange, record_change
from app.flags.document import Flag, Rollout
from app.rollout import changes_history, plan_service
from app.rollout.change_text import describe_entry
from app.rollout.changes_history import find_decrease, find_first_increase

FLAG = Flag.SSE_STREAMING


def moved(*percentages: int) -> list[RolloutChange]:
    """Changes through these percentages, newest first; the time of each is its place."""
    entries = [
        RolloutChange("pia", "manual", "set", "why", Rollout(True, before), Rollout(True, after), at=f"{place}")
        for place, (before, after) in enumerate(pairwise(percentages))
    ]
    return entries[::-1]


def test_each_entry_says_who_why_and_from_where_to_where(cast: Flask) -> None:
    refused = RolloutChange("bob", "manual", "set", "more", Rollout(True, 10), Rollout(True, 90), "not allowed")
    with cast.app_context():
        with write() as session:
            embedded.change_rollout(session, FLAG, "pia", "a start", 10)
        with write() as session:
            plan_service.begin_plan(session, FLAG, "pia", "slowly", [{"percentage": 50, "holdMinutes": 60.0}])
        with write() as session:
            record_change(session, FLAG, refused)
        with read() as session:
            found = changes_history.load_entries(session, FLAG)
            assert len(changes_history.load_entries(session, FLAG, 2)) == 2
    failed, plan, first = found
    assert (first.actor, first.reason, first.before, first.after) == (
        "pia",
        "a start",
        Rollout(True, 0),
        Rollout(True, 10),
    )
    assert first.has_moved_users
    assert (plan.action, plan.steps, plan.has_moved_users) == (
        "rollout-plan-start",
        [{"percentage": 50, "holdMinutes": 60.0}],
        False,
    )
    assert (failed.failed, failed.has_moved_users) == ("not allowed", False)


def test_the_newest_entries_are_kept_and_secrets_are_not(cast: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_log, "MAX_ROWS_PER_FLAG", 2)
    with cast.app_context():
        for number in range(4):
            with write() as session:
                embedded.change_rollout(session, FLAG, "pia", f"{number}, token=hunter2", 10 * number)
        with read() as session:
            found = changes_history.load_entries(session, FLAG)
    assert [entry.reason for entry in found] == ["3, token=(hidden)", "2, token=(hidden)"]


def test_a_rollout_is_taken_back_while_its_last_move_went_down() -> None:
    back = find_decrease(moved(0, 10, 50, 0))
    assert back is not None
    assert back.at == "2"
    assert find_decrease(moved(0, 10, 50)) is None
    assert find_decrease([]) is None
    off = RolloutChange("pia", "manual", "set", "hurts", Rollout(True, 50), Rollout(False, 50))
    assert find_decrease([off, *moved(0, 50)]) is off
    nothing = RolloutChange("pia", "manual", "set", "again", Rollout(False, 50), Rollout(False, 40))
    assert find_decrease([nothing, off]) is off


def test_where_no_number_says_it_none_is_made_up(cast: Flask) -> None:
    nobody_knows = Rollout(True, None)
    with cast.app_context():
        with write() as session:
            for change in (
                RolloutChange("eve", "manual", "set", "two strategies", Rollout(True, 12.5), nobody_knows),
                RolloutChange("pia", "manual", "set", "kill", nobody_knows, Rollout(False, None)),
                RolloutChange("eve", "unleash", "set", "seen first", None, Rollout(True, 10)),
            ):
                record_change(session, FLAG, change)
        with read() as session:
            first, kill, two = changes_history.load_entries(session, FLAG)
            assert changes_history.load_percentages(session, FLAG) == [12.5]
    said = [describe_entry(entry) for entry in (two, kill, first)]
    assert said == ["12.5 % → —", "— → off (kept —)", "— → 10 %"]
    assert (two.before, kill.before, first.before) == (Rollout(True, 12.5), nobody_knows, None)
    assert find_decrease([kill, two]) is kill
    assert find_decrease([two]) is None, "whether fewer are in nobody can say"


def test_a_rollout_began_when_the_first_came_in_after_nobody_was() -> None:
    for percentages, at in (((0, 10, 50, 0), "0"), ((0, 10, 0, 5, 50, 25), "2")):
        first = find_first_increase(moved(*percentages))
        assert first is not None
        assert first.at == at
    assert find_first_increase(moved(10, 50, 25)) is None
