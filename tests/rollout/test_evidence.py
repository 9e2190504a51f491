"""How much must be seen of a step, and how that is said."""

import pytest

from app.rollout.evidence import (
    CohortEvidence,
    Minimums,
    StepEvidence,
    count_people_needed,
    describe_evidence,
    measure_evidence,
)


@pytest.mark.parametrize(
    ("reachable", "needed"), [(0, 2), (1, 2), (5, 5), (8, 8), (20, 19), (100, 45), (1_000, 57), (8_000, 59)]
)
def test_the_people_needed_grow_with_who_could_be_in(reachable: int, needed: int) -> None:
    """All of a few, enough to see 5 % of many, and never one alone."""
    assert count_people_needed(reachable) == needed


def test_what_is_there_and_what_is_missing_is_one_sentence() -> None:
    found = StepEvidence(CohortEvidence(people=4, connects=17), stream_minutes=212.7, reachable=5)
    assert describe_evidence(measure_evidence(found, Minimums(5, 30, 60), 10)) == (
        "17 of 30 connects, 4 of 5 people, 212 of 60 stream-minutes, 0 events delivered: "
        "waits for 13 connects and 1 person"
    )
    enough = StepEvidence(CohortEvidence(people=5, connects=30, delivered=7), stream_minutes=60)
    assert describe_evidence(measure_evidence(enough, Minimums(5, 30, 60), 10)).endswith("7 events delivered: enough")


def test_nobody_connected_is_never_enough_whatever_the_size() -> None:
    for reachable in (0, 1, 8, 8_000):
        measures = {one.name: one for one in measure_evidence(StepEvidence(reachable=reachable), Minimums(), 10)}
        assert measures["people"].missing >= 2
        assert measures["connects"].missing > 0
        assert measures["streamMinutes"].missing > 0


def test_one_person_counts_for_at_most_half_of_the_connects() -> None:
    assert CohortEvidence(people=1, connects=90, most_connects=90).counted_connects == 0
    assert CohortEvidence(people=2, connects=100, most_connects=90).counted_connects == 20
    assert CohortEvidence(people=2, connects=100, most_connects=50).counted_connects == 100


def test_at_0_nobody_can_be_in_and_nothing_is_needed() -> None:
    assert not any(one.needed for one in measure_evidence(StepEvidence(), Minimums(), 0))


def test_each_failure_asks_for_more_connects() -> None:
    def needed(failures: int) -> int:
        found = StepEvidence(CohortEvidence(people=2, connects=50, failures=failures))
        return measure_evidence(found, Minimums(), 10)[0].needed

    assert needed(0) < needed(1) < needed(5)


def test_minimums_of_the_plan_replace_the_defaults_one_by_one() -> None:
    found = StepEvidence(CohortEvidence(people=3, connects=9), stream_minutes=1, reachable=1_000)
    needed = [one.needed for one in measure_evidence(found, Minimums(people=3, events=4), 10)]
    assert needed == [57, 3, 36, 4]
    assert Minimums.of({"people": 3, "streamMinutes": 5}).as_json() == {"people": 3, "streamMinutes": 5}
