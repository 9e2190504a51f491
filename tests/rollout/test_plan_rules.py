"""What a plan says beside its steps: minimums, approval, times."""

from datetime import UTC, datetime

import pytest

from app.rollout.evidence import CohortEvidence, Minimums, StepEvidence
from app.rollout.plan import Plan, PlanStep
from app.rollout.plan_options import PlanOptions, PlanState
from app.rollout.plan_text import describe_decisions, describe_options, find_short_holds
from app.rollout.plan_waits import find_status
from app.rollout.schedule import InvalidSchedule, QuietHours

STEPS = (PlanStep(10, 60), PlanStep(50, 60))
FIRST, LAST, NEW = Plan(STEPS, 0, 0), Plan(STEPS, 1, 0), Plan(STEPS, -1, 0)
ENOUGH = StepEvidence(CohortEvidence(people=10, connects=100), stream_minutes=100, reachable=10)


def epoch(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("begin", "end", "zone", "at", "ends"),
    [
        ("22:00", "06:00", "UTC", "2026-12-01T23:30", "2026-12-02T06:00"),
        ("22:00", "06:00", "UTC", "2026-12-01T05:59", "2026-12-01T06:00"),
        ("22:00", "06:00", "UTC", "2026-12-01T06:00", None),
        ("12:00", "13:00", "UTC", "2026-12-01T12:30", "2026-12-01T13:00"),
        ("22:00", "06:00", "Europe/Berlin", "2026-12-01T21:30", "2026-12-02T05:00"),
        ("22:00", "06:00", "Europe/Berlin", "2026-07-01T20:30", "2026-07-02T04:00"),
    ],
)
def test_quiet_hours_are_those_of_the_zone_also_over_midnight(
    begin: str, end: str, zone: str, at: str, ends: str | None
) -> None:
    quiet = QuietHours.parse(begin, end, zone)
    assert quiet.contains(epoch(at)) == (ends is not None)
    if ends is not None:
        assert quiet.find_end(epoch(at)) == epoch(ends)


@pytest.mark.parametrize(
    ("begin", "end", "zone"), [("late", "06:00", "UTC"), ("06:00", "06:00", "UTC"), ("1:00", "2:00", "X")]
)
def test_what_is_no_time_is_refused(begin: str, end: str, zone: str) -> None:
    with pytest.raises(InvalidSchedule):
        QuietHours.parse(begin, end, zone)


def test_rules_survive_being_stored_and_are_said() -> None:
    rules = {
        "minimums": {"people": 5, "streamMinutes": 60},
        "onTrouble": "start",
        "approval": True,
        "startAt": "2026-12-01T10:00:00+01:00",
        "quietHours": {"from": "22:00", "to": "06:00", "zone": "Europe/Berlin"},
    }
    options = PlanOptions.of(rules)
    assert options.as_json() == {**rules, "startAt": "2026-12-01T09:00:00.000Z"}
    assert PlanOptions.of(options.as_json()) == options
    assert describe_options(options) == (
        "each step needs at least 5 people, 60 stream-minutes",
        "in trouble: go back to the start",
        "another person approves each step",
        "not before 2026-12-01 09:00 UTC",
        "no step from 22:00 to 06:00 Europe/Berlin",
    )
    assert PlanOptions().as_json() == {}
    assert describe_options(PlanOptions()) == ()


def test_what_people_decided_survives_being_stored_and_counts_for_one_step() -> None:
    state = PlanState(waived_step=0, waived_by="ada", waived_reason="a quiet day", approved_step=1, approved_by="bob")
    assert PlanState.parse(state.serialize()) == state
    assert PlanState.parse('{"added_by_a_newer_version": 1}') == PlanState()
    assert describe_decisions(state, 0) == (
        "ada: this step goes on without the evidence: a quiet day",
        "the next step was approved by bob",
    )
    assert describe_decisions(state, 1) == ()


class TestWaits:
    def waits(
        self, plan: Plan, found: StepEvidence = ENOUGH, state: PlanState | None = None, **rules: object
    ) -> list[str]:
        options = PlanOptions.of(rules)
        return list(find_status(plan, options, state or PlanState(), found, epoch("2026-12-01T12:00")).waits)

    def test_with_enough_evidence_it_waits_for_nothing(self) -> None:
        assert [self.waits(plan) for plan in (NEW, FIRST, LAST)] == [[], [], []]

    def test_each_step_and_the_last_one_wait_for_evidence(self) -> None:
        assert self.waits(NEW, StepEvidence()) == []
        for plan in (FIRST, LAST):
            assert self.waits(plan, StepEvidence()) == ["waits for 57 connects, 2 people and 24 stream-minutes"]

    def test_a_person_may_let_one_step_go_on_without_it(self) -> None:
        waived = PlanState(waived_step=0)
        assert self.waits(FIRST, StepEvidence(), waived) == []
        assert self.waits(LAST, StepEvidence(), waived) != []

    def test_a_lasting_difference_holds_it_even_then(self) -> None:
        state = PlanState(waived_step=0, differs_since=1.0, difference="4 of 12 people poll")
        assert self.waits(FIRST, StepEvidence(), state) == ["4 of 12 people poll"]

    def test_where_nothing_can_be_seen_it_says_so(self) -> None:
        found = find_status(FIRST, PlanOptions(), PlanState(), StepEvidence(), 0, "off")
        assert found.waits == ("off",)

    def test_a_step_waits_for_approval_the_end_does_not(self) -> None:
        assert self.waits(FIRST, approval=True) == ["waits for the approval of another person"]
        assert self.waits(FIRST, state=PlanState(approved_step=1), approval=True) == []
        assert self.waits(FIRST, state=PlanState(approved_step=0), approval=True) != []
        assert self.waits(LAST, approval=True) == []

    def test_it_starts_at_its_time_and_makes_no_step_in_quiet_hours(self) -> None:
        assert self.waits(NEW, startAt="2026-12-01T12:01:00Z") == ["starts at 2026-12-01 12:01 UTC"]
        assert self.waits(NEW, startAt="2026-12-01T12:00:00Z") == []
        quiet = {"from": "11:00", "to": "13:00"}
        assert self.waits(FIRST, quietHours=quiet) == ["no step in the quiet hours, 11:00 to 13:00 UTC"]
        assert self.waits(LAST, quietHours=quiet) == []


def test_holds_that_are_shorter_than_the_evidence_can_take_are_said() -> None:
    hour = (PlanStep(10, 3_600), PlanStep(50, 3_600), PlanStep(100, 3_600))
    assert find_short_holds(hour, PlanOptions(), 0, None) == [
        "nobody is online now, so how long the evidence takes is unknown"
    ]
    assert find_short_holds(hour, PlanOptions(), 8, 2.0) == [
        "at 10 % about 1 of 8 online would be in; it needs 2 people",
        "at 50 % the evidence takes about 6 h 38 min, not 1 h",
        "at 100 % the evidence takes about 3 h 4 min, not 1 h",
    ]
    assert find_short_holds(hour, PlanOptions(), 2_000, 2.0) == []
    assert find_short_holds(hour, PlanOptions(minimums=Minimums(1, 1, 0)), 8, None) == []
