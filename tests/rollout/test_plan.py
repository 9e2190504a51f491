"""A staged plan takes one step at a time, upwards, and gives way to people and to the guardrail."""

import pytest

from app.rollout.plan import Plan, PlanDecision, PlanStep, decide_next, find_problem, pause_plan, resume_plan

STEPS = (PlanStep(10, 60), PlanStep(50, 120), PlanStep(100, 0))
NEW = Plan(STEPS, -1, 0)


def test_its_last_step_is_held_as_asked_before_it_ends() -> None:
    last = Plan((PlanStep(10, 60), PlanStep(50, 120)), 1, 1_000)
    assert decide_next(last, 1_119, 50, blocked=False) == PlanDecision(last)
    assert decide_next(last, 1_119, 20, blocked=False).ended == "the flag was moved to 20 %"
    assert decide_next(last, 1_120, 50, blocked=False).ended == "its last step was held"


def test_it_goes_step_by_step_and_ends() -> None:
    first = decide_next(NEW, 1_000, 0, blocked=False)
    assert (first.percentage, first.plan.step) == (10, 0)
    assert decide_next(first.plan, 1_059, 10, blocked=False) == PlanDecision(first.plan)
    second = decide_next(first.plan, 1_060, 10, blocked=False)
    assert second.percentage == 50
    third = decide_next(second.plan, 1_180, 50, blocked=False)
    assert third.percentage == 100
    assert decide_next(third.plan, 1_181, 100, blocked=False).ended == "its last step was held"


def test_after_a_long_stop_one_step_comes_at_a_time() -> None:
    late = decide_next(decide_next(NEW, 0, 0, blocked=False).plan, 1_000_000, 10, blocked=False)
    assert late.percentage == 50
    assert decide_next(late.plan, 1_000_001, 50, blocked=False).percentage is None


def test_the_guardrail_holds_it_and_it_goes_on_afterwards() -> None:
    first = decide_next(NEW, 0, 0, blocked=False).plan
    assert decide_next(first, 500, 10, blocked=True) == PlanDecision(first)
    assert decide_next(first, 501, 10, blocked=False).percentage == 50


@pytest.mark.parametrize("percentage", [0, 9, 11, 100])
def test_a_flag_that_was_moved_by_hand_ends_it_and_is_left_alone(percentage: int) -> None:
    first = decide_next(NEW, 0, 0, blocked=False).plan
    found = decide_next(first, 500, percentage, blocked=False)
    assert found.percentage is None
    assert found.ended == f"the flag was moved to {percentage} %"


def test_it_lowers_nothing() -> None:
    found = decide_next(NEW, 0, 75, blocked=False)
    assert found.percentage is None
    assert found.ended is not None


def test_paused_time_does_not_count_as_held() -> None:
    first = decide_next(NEW, 0, 0, blocked=False).plan
    stopped = pause_plan(first, 50)
    assert decide_next(stopped, 10_000, 10, blocked=False) == PlanDecision(stopped)
    assert pause_plan(stopped, 60) == stopped
    going = resume_plan(stopped, 10_000)
    assert decide_next(going, 10_009, 10, blocked=False).percentage is None
    assert decide_next(going, 10_010, 10, blocked=False).percentage == 50
    assert resume_plan(going, 20_000) == going


@pytest.mark.parametrize(
    "steps",
    [
        (),
        (PlanStep(10, 1), PlanStep(10, 1)),
        (PlanStep(50, 1), PlanStep(10, 1)),
        tuple(PlanStep(n, 1) for n in range(21)),
    ],
)
def test_what_is_no_plan_is_said(steps: tuple[PlanStep, ...]) -> None:
    assert find_problem(steps)


def test_a_plan_is_one() -> None:
    assert find_problem(STEPS) is None
