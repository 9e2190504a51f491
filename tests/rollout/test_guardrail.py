"""The guardrail holds or steps back on evidence, and never raises anything."""

import math
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as some

from app.rollout.evidence import CohortEvidence, StepEvidence
from app.rollout.guardrail import (
    BOUNDS_MS,
    NO_BAD_LOOKS,
    SLOW_LOOKS,
    BadLooks,
    GuardrailLimits,
    GuardrailMode,
    GuardrailVerdict,
    LagWindow,
    TroubleAction,
    build_lag_bounds,
    compute_finite_quantile_s,
    compute_quantile_s,
    decide,
    explain_query,
    find_bucket,
    find_trouble,
    is_slow,
)

LIMITS = GuardrailLimits("step-back", max_failures=0.05, max_lag_s=2, min_attempts=30)
NOTHING = CohortEvidence()


def cohort(connects: int, failures: int, people: int = 10, worst: tuple[int, int] | None = None) -> CohortEvidence:
    """The failures are spread over as many people as there can be, unless the worst has more."""
    worst = worst or (math.ceil(connects / people), math.ceil(failures / people))
    return CohortEvidence(people, connects, failures, 0, 0, min(people, failures), 0, *worst)


def trouble(found: StepEvidence, recent: CohortEvidence = NOTHING, looks: BadLooks = NO_BAD_LOOKS) -> str | None:
    return find_trouble(LIMITS, found, recent, looks)


@pytest.mark.parametrize(
    "seen", [NOTHING, cohort(100, 0), cohort(100, 5), cohort(30, 2), cohort(1_000, 30), cohort(2, 2, people=2)]
)
def test_what_may_be_chance_is_no_trouble(seen: CohortEvidence) -> None:
    assert trouble(StepEvidence(seen)) is None


@pytest.mark.parametrize("seen", [cohort(12, 12, people=2), cohort(100, 20), cohort(1_000, 100), cohort(40, 12)])
def test_sure_failure_is_trouble_with_its_interval(seen: CohortEvidence) -> None:
    said = trouble(StepEvidence(seen))
    assert said is not None
    assert said.startswith(f"{seen.failures:,} of {seen.connects:,} attempts to connect failed (between ")
    assert said.endswith("; the limit is 5 %")


def test_plain_failure_of_two_people_is_trouble_at_once() -> None:
    assert trouble(StepEvidence(cohort(12, 12, people=2))) is not None


def test_no_viewer_decides_alone() -> None:
    """Also not if somebody else failed once by chance."""
    alone = CohortEvidence(5, 200, 40, 0, 0, 1, 0, 40, 40)
    assert trouble(StepEvidence(alone)) is None
    assert trouble(StepEvidence(replace(alone, failures=41, failing_people=2))) is None


def test_streams_that_fail_more_than_polls_or_than_before_are_trouble_below_the_limit() -> None:
    seen, calm = cohort(2_000, 90), cohort(4_000, 4)
    assert trouble(StepEvidence(seen)) is None
    assert "more than 4 of 4,000 polls" in (trouble(StepEvidence(seen, polling=calm)) or "")
    assert "more than 4 of 4,000 streams before" in (trouble(StepEvidence(seen, before=calm)) or "")
    assert trouble(StepEvidence(seen, polling=cohort(4_000, 180))) is None, "the network is bad for everybody"
    assert trouble(StepEvidence(seen, polling=cohort(5, 0))) is None, "too little to compare with"


def test_what_began_lately_is_seen_in_the_window_although_it_was_calm_for_long() -> None:
    calm = StepEvidence(cohort(5_000, 60))
    assert trouble(calm) is None
    assert "60 of 100" in (trouble(calm, recent=cohort(100, 60)) or "")


def test_lag_is_trouble_only_after_several_looks_in_a_row() -> None:
    well = StepEvidence(cohort(100, 0))
    assert trouble(well, looks=BadLooks(SLOW_LOOKS - 1)) is None
    assert trouble(well, looks=BadLooks(SLOW_LOOKS)) == "p95 of the delivery lag passed 2 s in 3 looks in a row"


def test_a_query_that_says_nothing_lets_no_step_follow_and_too_high_a_value_is_trouble() -> None:
    limits, well = replace(LIMITS, query="rate(errors[5m])", max_value=5), StepEvidence(cohort(100, 0))

    def explained(looks: BadLooks) -> tuple[bool, str | None]:
        return find_trouble(limits, well, NOTHING, looks) is not None, explain_query(limits, looks)

    assert explain_query(LIMITS, NO_BAD_LOOKS) is None, "there is no query"
    assert explained(NO_BAD_LOOKS) == (False, "the Prometheus query has given no value since the step began")
    assert explained(BadLooks(query_value=5.0)) == (False, None)
    assert explained(BadLooks(query=1, query_value=7.25)) == (False, "the Prometheus query is at 7.25, above 5")
    assert explained(BadLooks(query=SLOW_LOOKS, query_value=7.25))[0]


@pytest.mark.parametrize(
    ("mode", "of_plan", "expected"),
    [
        ("hold", None, GuardrailVerdict("hold", "why")),
        ("step-back", None, GuardrailVerdict("step-back", "why", 10)),
        ("off", "off", GuardrailVerdict("go")),
        ("dry-run", "off", GuardrailVerdict("go", "why", is_dry=True)),
        ("hold", "step-back", GuardrailVerdict("step-back", "why", 10)),
        ("step-back", "hold", GuardrailVerdict("hold", "why")),
        ("hold", "start", GuardrailVerdict("step-back", "why", 5)),
        ("hold", "off", GuardrailVerdict("off", "why")),
    ],
)
def test_what_follows_is_what_the_plan_says_or_else_the_mode(
    mode: GuardrailMode, of_plan: TroubleAction | None, expected: GuardrailVerdict
) -> None:
    limits = replace(LIMITS, mode=mode)
    assert decide(limits, "why", 50, (0, 10), of_plan, 5) == expected
    assert decide(limits, None, 50, (0, 10), of_plan, 5) == GuardrailVerdict("go")


def test_where_nothing_lower_came_before_it_holds() -> None:
    assert decide(LIMITS, "why", 50, (100, 75)).action == "hold"
    assert decide(LIMITS, "why", 50, (), "start", 50).action == "hold"


@given(
    some.sampled_from(["hold", "step-back", "dry-run", "off"]),
    some.sampled_from([None, "hold", "step-back", "start", "off"]),
    some.integers(0, 100),
    some.lists(some.integers(0, 100)),
    some.none() | some.integers(0, 100),
)
def test_no_evidence_ever_raises_a_percentage(
    mode: GuardrailMode, of_plan: TroubleAction | None, now: int, before: list[int], start: int | None
) -> None:
    verdict = decide(replace(LIMITS, mode=mode), "why", now, before, of_plan, start)
    assert verdict.percentage is None or verdict.percentage < now


BOUNDS = some.sampled_from([BOUNDS_MS, build_lag_bounds(4), build_lag_bounds(0.0004), build_lag_bounds(45)])


@given(some.lists(some.tuples(some.floats(0, 60_000), BOUNDS), min_size=1), some.floats(0.01, 1))
def test_a_quantile_is_never_told_as_less_than_it_was(
    counted: list[tuple[float, tuple[float, ...]]], share: float
) -> None:
    """Whatever the bounds were when each was counted: what is kept outlives a setting."""
    told = compute_quantile_s(Counter(find_bucket(value, bounds) for value, bounds in counted), share)
    assert told is not None
    below = sum(value <= told * 1_000 * (1 + 1e-9) for value, _ in counted)
    assert below >= share * len(counted) - 1e-6


@pytest.mark.parametrize(
    ("limit_s", "lag_s", "trips"),
    [
        (4, 3.2, False),
        (4, 4.0, False),
        (4, 4.1, True),
        (45, 40, False),
        (45, 90, True),
        (30, 90, True),
        (2.5, 2.4, False),
        (1.0010001234, 1.0010001, False),
        (0.0000003, 0.0000002, False),
    ],
)
def test_the_limit_itself_decides_whatever_the_other_bounds_are(limit_s: float, lag_s: float, trips: bool) -> None:
    told = compute_quantile_s({find_bucket(lag_s * 1_000, build_lag_bounds(limit_s)): 50}, 0.95)
    recent = CohortEvidence(people=9, slow_people=2)
    assert is_slow(GuardrailLimits("hold", 0.05, limit_s, 30), LagWindow(50, told), recent) == trips


@pytest.mark.parametrize(("lags", "slow_people"), [(29, 5), (50, 1)])
def test_few_lags_and_one_person_are_not_slow(lags: int, slow_people: int) -> None:
    assert not is_slow(LIMITS, LagWindow(lags, 9.0), CohortEvidence(people=9, slow_people=slow_people))


def test_a_lag_beyond_every_bound_is_drawn_as_a_number() -> None:
    assert is_slow(LIMITS, LagWindow(30, math.inf), CohortEvidence(slow_people=2))
    assert compute_finite_quantile_s({"inf": 1}, 0.95) == 30
    assert compute_finite_quantile_s({"inf": 1, "45000": 30}, 0.95) == 45


def test_without_measurements_there_is_no_quantile() -> None:
    assert compute_quantile_s({}, 0.95) is None
