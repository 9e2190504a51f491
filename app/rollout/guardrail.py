"""Decides from the client reports of one window whether a rollout must hold or step back. Pure.

It only blocks or lowers; nothing here can raise a percentage.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

GuardrailMode = Literal["hold", "step-back", "off"]
# Upper bounds of the histogram buckets, in milliseconds; longer times fall into a bucket above the last.
BOUNDS_MS: tuple[float, ...] = (50, 100, 250, 500, 1_000, 1_500, 2_000, 3_000, 5_000, 10_000, 30_000)

# Applies however few attempts the settings require: a single report comes from a single page.
MIN_JUDGED_REPORTS = 2
# The limit is also a bucket bound: converted from milliseconds to seconds, it must not exceed itself.
ROUNDING_TOLERANCE = 1 + 1e-9


@dataclass(frozen=True, slots=True)
class GuardrailLimits:
    mode: GuardrailMode
    max_failures: float
    max_lag_s: float
    min_attempts: int


@dataclass(frozen=True, slots=True)
class GuardrailWindow:
    """The reports of the streaming cohort. `lag_s` is the p95 of the delivery lag over `lags` measurements: None if
    nothing was delivered, infinite if it exceeds all bounds."""

    reports: int
    attempts: int
    failures: int
    fallbacks: int
    lags: int
    lag_s: float | None


@dataclass(frozen=True, slots=True)
class GuardrailVerdict:
    """`go`, `hold` (no increases) or `step-back` to `percentage`; `reason` is for people."""

    action: Literal["go", "hold", "step-back"]
    reason: str = ""
    percentage: float | None = None


def judge_window(
    limits: GuardrailLimits, window: GuardrailWindow, now: float, before: Sequence[float]
) -> GuardrailVerdict:
    """`now` is the current percentage, `before` the previous ones, newest last.

    Too few attempts give no verdict, and too few lags give none on the lag. A slow upstream is not visible here: the
    lag is from the event log to the browser. If there was no lower percentage before, the guardrail holds instead of
    stepping back, because a person has to decide.
    """
    reason = _find_trouble(limits, window)
    if limits.mode == "off" or reason is None:
        return GuardrailVerdict("go")
    lower = next((one for one in reversed(before) if one < now), None)
    if limits.mode == "step-back" and lower is not None:
        return GuardrailVerdict("step-back", reason, lower)
    return GuardrailVerdict("hold", reason)


def _find_trouble(limits: GuardrailLimits, window: GuardrailWindow) -> str | None:
    if window.attempts < limits.min_attempts or window.reports < MIN_JUDGED_REPORTS:
        return None
    allowed = limits.max_failures * window.attempts
    for number, what in ((window.failures, "attempts to connect failed"), (window.fallbacks, "fell back to polling")):
        if number > allowed:
            return f"{number} of {window.attempts} {what}; the limit is {limits.max_failures:.0%}"
    if (
        window.lag_s is not None
        and window.lags >= limits.min_attempts
        and window.lag_s > limits.max_lag_s * ROUNDING_TOLERANCE
    ):
        beyond = max(BOUNDS_MS[-1] / 1_000, limits.max_lag_s)
        lag = f"{window.lag_s:g} s" if math.isfinite(window.lag_s) else f"more than {beyond:g} s"
        return f"p95 of the delivery lag is {lag}; the limit is {limits.max_lag_s:g} s"
    return None


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
