"""Decides from what browsers report whether a rollout must hold or step back. Pure.

It only blocks or lowers; nothing here can raise a percentage.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from app.rollout import sequential_test
from app.rollout.evidence import CohortEvidence, StepEvidence
from app.rollout.sequential_test import ShareInterval

GuardrailMode = Literal["hold", "step-back", "dry-run", "off"]
TroubleAction = Literal["hold", "step-back", "start", "off"]
# Upper bounds of the histogram buckets, in milliseconds; longer times fall into a bucket above the last.
BOUNDS_MS: tuple[float, ...] = (50, 100, 250, 500, 1_000, 1_500, 2_000, 3_000, 5_000, 10_000, 30_000)

# How often trouble may be found in a healthy stage: over the whole stage, and, for what began lately, in each window.
STAGE_ALPHA, WINDOW_ALPHA = 0.005, 0.0001
# Streams may fail more often than polls, or than streams before, by this share before that alone is trouble.
BEARABLE_EXCESS = 0.02
MIN_FAILING_PEOPLE = 2
# A deploy or a pause of the database delays deliveries for a while: only several looks in a row count.
SLOW_LOOKS, SLOW_LOOK_EVERY_S = 3, 60.0
# The limit is also a bucket bound: converted from milliseconds to seconds, it must not exceed itself.
ROUNDING_TOLERANCE = 1 + 1e-9


@dataclass(frozen=True, slots=True)
class GuardrailLimits:
    """`query`: a Prometheus query whose value must not exceed `max_value`; empty if there is none."""

    mode: GuardrailMode
    max_failures: float
    max_lag_s: float
    min_attempts: int
    query: str = ""
    max_value: float = 0.0


@dataclass(frozen=True, slots=True)
class LagWindow:
    """The p95 of the delivery lag to streams over `lags` measurements within the window: None if nothing was delivered,
    infinite if it exceeds all bounds."""

    lags: int = 0
    lag_s: float | None = None


@dataclass(frozen=True, slots=True)
class GuardrailVerdict:
    """`go`, `hold` (no increases), `step-back` to `percentage`, or `off`; `reason` is for people. `is_dry`: that would
    be done, but the guardrail is only tried out."""

    action: Literal["go", "hold", "step-back", "off"]
    reason: str = ""
    percentage: float | None = None
    is_dry: bool = False


def decide(
    limits: GuardrailLimits,
    reason: str | None,
    now: float,
    before: Sequence[float],
    of_plan: TroubleAction | None = None,
    start: float | None = None,
) -> GuardrailVerdict:
    """What follows from trouble. `now` is the current percentage, `before` the previous ones, newest last. `of_plan`:
    what the plan says instead of the guardrail's mode; `start`: the percentage before the plan.

    If there was no lower percentage before, the guardrail holds instead of stepping back, because a person has to
    decide.
    """
    if reason is None or limits.mode == "off":
        return GuardrailVerdict("go")
    if limits.mode == "dry-run":
        return GuardrailVerdict("go", reason, is_dry=True)
    action = of_plan or limits.mode
    if action == "off":
        return GuardrailVerdict("off", reason)
    lower = next((one for one in reversed(before) if one < now), None)
    if action == "start" and start is not None and start < now:
        lower = start
    if action in ("step-back", "start") and lower is not None:
        return GuardrailVerdict("step-back", reason, lower)
    return GuardrailVerdict("hold", reason)


def find_failures(limits: GuardrailLimits, found: CohortEvidence, alpha: float = STAGE_ALPHA) -> str | None:
    """Why streams fail too often, if that is sure however often it is looked at, and also without the worst person."""
    if found.failing_people < MIN_FAILING_PEOPLE or not _is_surely_above(found, limits.max_failures, alpha):
        return None
    return f"{_describe_failures(found, alpha)}; the limit is {100 * limits.max_failures:g} %"


def find_excess(found: StepEvidence, alpha: float = STAGE_ALPHA) -> str | None:
    """Why streams fail more often than polls at the same time, or than streams before."""
    seen = found.streaming
    if seen.failing_people < MIN_FAILING_PEOPLE:
        return None
    for reference, what in ((found.polling, "polls"), (found.before, "streams before")):
        if reference.connects == 0:
            continue
        high = sequential_test.bound_share(reference.failures, reference.connects, alpha).high
        if high + BEARABLE_EXCESS < 1 and _is_surely_above(seen, high + BEARABLE_EXCESS, alpha):
            compared = f"{reference.failures:,} of {reference.connects:,} {what}"
            return f"{_describe_failures(seen, alpha)}, more than {compared}"
    return None


@dataclass(frozen=True, slots=True)
class BadLooks:
    """How many looks in a row, a minute apart, found deliveries too slow, and the Prometheus query too high."""

    slow: int = 0
    query: int = 0
    query_value: float | None = None


NO_BAD_LOOKS = BadLooks()


def find_trouble(
    limits: GuardrailLimits, found: StepEvidence, recent: CohortEvidence, looks: BadLooks = NO_BAD_LOOKS
) -> str | None:
    """What is wrong since the stage began, or `recent`ly, within the window. Lag and the query only after several looks
    in a row; plain failure at once."""
    return (
        find_failures(limits, recent, WINDOW_ALPHA)
        or find_failures(limits, found.streaming)
        or find_excess(found)
        or _find_bad_looks(limits, looks)
    )


def explain_query(limits: GuardrailLimits, looks: BadLooks) -> str | None:
    """Why the Prometheus query lets no step follow; None if it does, or if there is none."""
    if not limits.query:
        return None
    if looks.query_value is None:
        return "the Prometheus query has given no value since the step began"
    return _describe_query(limits, looks) if looks.query else None


def is_too_high(limits: GuardrailLimits, value: float | None) -> bool:
    return value is not None and value > limits.max_value


def _find_bad_looks(limits: GuardrailLimits, looks: BadLooks) -> str | None:
    if looks.slow >= SLOW_LOOKS:
        return f"p95 of the delivery lag passed {limits.max_lag_s:g} s in {looks.slow} looks in a row"
    if limits.query and looks.query >= SLOW_LOOKS:
        return f"{_describe_query(limits, looks)} in {looks.query} looks in a row"
    return None


def _describe_query(limits: GuardrailLimits, looks: BadLooks) -> str:
    return f"the Prometheus query is at {looks.query_value:g}, above {limits.max_value:g}"


def is_slow(limits: GuardrailLimits, window: LagWindow, recent: CohortEvidence) -> bool:
    """True if deliveries are too slow at this look, for more than one person. A slow upstream is not visible here: the
    lag is from the event log to the browser."""
    if window.lag_s is None or window.lags < limits.min_attempts or recent.slow_people < MIN_FAILING_PEOPLE:
        return False
    return window.lag_s > limits.max_lag_s * ROUNDING_TOLERANCE


def bound_failures(found: CohortEvidence) -> ShareInterval:
    """Where the true share of failures is, however often it is looked at."""
    return sequential_test.bound_share(found.failures, found.connects, STAGE_ALPHA)


def describe_share(share: float) -> str:
    """`0 %`, `0.4 %`, `12 %`"""
    return f"{100 * share:.1f} %" if 0 < share < 0.1 else f"{100 * share:.0f} %"


def describe_interval(failures: int, connects: int, alpha: float = STAGE_ALPHA) -> str:
    """`between 7.2 % and 39 %`: where the true share is, however often it is looked at."""
    found = sequential_test.bound_share(failures, connects, alpha)
    return f"between {describe_share(found.low)} and {describe_share(found.high)}"


def _is_surely_above(found: CohortEvidence, share: float, alpha: float) -> bool:
    others = found.without_worst
    return all(sequential_test.is_above(one.failures, one.connects, share, alpha) for one in (found, others))


def _describe_failures(found: CohortEvidence, alpha: float) -> str:
    share = describe_interval(found.failures, found.connects, alpha)
    return f"{found.failures:,} of {found.connects:,} attempts to connect failed ({share})"


def build_lag_bounds(max_lag_s: float) -> tuple[float, ...]:
    """The bucket bounds of lags. They include the limit, which could not be judged between or beyond two bounds."""
    return tuple(sorted({*BOUNDS_MS, max_lag_s * 1_000}))


def find_bucket(milliseconds: float, bounds_ms: Sequence[float] = BOUNDS_MS) -> str:
    """The histogram key for one measurement."""
    bound = next((bound for bound in bounds_ms if milliseconds <= bound), math.inf)
    return f"{bound:.0f}" if bound == round(bound, 0) else repr(bound)


def compute_quantile_s(histogram: Mapping[str, int], share: float) -> float | None:
    """The upper bound below which `share` of the measurements lie, even if they were counted with different bounds.
    Infinite beyond the last bound, None without measurements."""
    total, below = sum(histogram.values()), 0
    for bound, number in sorted((float(key), number) for key, number in histogram.items()):
        below += number
        if total and below >= share * total:
            return bound / 1_000
    return None


def compute_finite_quantile_s(histogram: Mapping[str, int], share: float) -> float | None:
    """The same, but the last of `BOUNDS_MS` instead of infinity, so that it can be drawn."""
    found = compute_quantile_s(histogram, share)
    return found if found is None or math.isfinite(found) else BOUNDS_MS[-1] / 1_000
