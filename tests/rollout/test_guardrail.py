"""The guardrail holds or steps back on evidence, and never raises anything."""

import math
from collections import Counter
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as some

from app.rollout.guardrail import (
    BOUNDS_MS,
    GuardrailLimits,
    GuardrailVerdict,
    GuardrailWindow,
    build_lag_bounds,
    compute_finite_quantile_s,
    compute_quantile_s,
    find_bucket,
    judge_window,
)

LIMITS = GuardrailLimits("step-back", max_failures=0.05, max_lag_s=2, min_attempts=30)
WELL = GuardrailWindow(9, attempts=100, failures=0, fallbacks=0, lags=100, lag_s=0.1)


def judged(
    window: GuardrailWindow, mode: Literal["hold", "step-back", "off"] = "step-back", before: tuple[int, ...] = (0, 10)
) -> GuardrailVerdict:
    return judge_window(GuardrailLimits(mode, 0.05, 2, 30), window, 50, before)


@pytest.mark.parametrize(
    "window", [WELL, GuardrailWindow(9, 100, 5, 5, 100, 2.0), GuardrailWindow(0, 0, 0, 0, 0, None)]
)
def test_what_stays_within_the_limits_goes_on(window: GuardrailWindow) -> None:
    assert judged(window) == GuardrailVerdict("go")


@pytest.mark.parametrize(
    ("window", "said"),
    [
        (GuardrailWindow(9, 100, 6, 0, 100, 0.1), "6 of 100 attempts to connect failed; the limit is 5%"),
        (GuardrailWindow(9, 100, 0, 6, 100, 0.1), "6 of 100 fell back to polling; the limit is 5%"),
        (GuardrailWindow(9, 30, 0, 0, 30, 3.0), "p95 of the delivery lag is 3 s; the limit is 2 s"),
    ],
)
def test_each_limit_steps_back_to_the_percentage_before_with_its_reason(window: GuardrailWindow, said: str) -> None:
    assert judged(window) == GuardrailVerdict("step-back", said, 10)
    assert judged(window, "hold") == GuardrailVerdict("hold", said)
    assert judged(window, "off") == GuardrailVerdict("go")


def test_a_tiny_sample_trips_nothing() -> None:
    assert judged(GuardrailWindow(9, 29, 29, 29, 100, 30.0)) == GuardrailVerdict("go")


def test_few_lags_and_one_report_trip_nothing() -> None:
    assert judged(GuardrailWindow(9, 100, 0, 0, 29, 30.0)) == GuardrailVerdict("go")
    assert judged(GuardrailWindow(1, 100, 100, 0, 0, None)) == GuardrailVerdict("go")


def test_where_nothing_lower_came_before_it_holds() -> None:
    assert judged(GuardrailWindow(9, 100, 50, 0, 0, None), before=(100, 75)).action == "hold"
    assert judged(GuardrailWindow(9, 100, 50, 0, 0, None), before=()).action == "hold"


@given(
    some.builds(GuardrailWindow, *[some.integers(0, 10_000)] * 5, some.none() | some.floats(0, 100)),
    some.integers(0, 100),
    some.lists(some.integers(0, 100)),
)
def test_no_evidence_ever_raises_a_percentage(window: GuardrailWindow, now: int, before: list[int]) -> None:
    verdict = judge_window(LIMITS, window, now, before)
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
    verdict = judge_window(GuardrailLimits("hold", 0.05, limit_s, 30), GuardrailWindow(9, 100, 0, 0, 50, told), 50, ())
    assert verdict.action == ("hold" if trips else "go")


def test_a_lag_beyond_every_bound_is_said_and_drawn_as_a_number() -> None:
    assert judged(GuardrailWindow(9, 100, 0, 0, 30, math.inf)).reason == (
        "p95 of the delivery lag is more than 30 s; the limit is 2 s"
    )
    assert compute_finite_quantile_s({"inf": 1}, 0.95) == 30
    assert compute_finite_quantile_s({"inf": 1, "45000": 30}, 0.95) == 45


def test_without_measurements_there_is_no_quantile() -> None:
    assert compute_quantile_s({}, 0.95) is None
