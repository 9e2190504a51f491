"""When a rollout must not grow, or must go back: decided from what browsers reported within one window. Pure.

It takes back and blocks; nothing here can raise a percentage.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

GuardrailMode = Literal["hold", "step-back", "off"]
# Upper bounds of the histograms, in milliseconds; what is longer counts above the last.
BOUNDS_MS: tuple[float, ...] = (50, 100, 250, 500, 1_000, 1_500, 2_000, 3_000, 5_000, 10_000, 30_000)

# However few attempts the settings ask for: one report is one page's word.
MIN_JUDGED_REPORTS = 2
# The limit is a bound in milliseconds, and is not beyond itself when it comes back as seconds.
ROUNDING_TOLERANCE = 1 + 1e-9


@dataclass(frozen=True, slots=True)
class GuardrailLimits:
    mode: GuardrailMode
    max_failures: float
    max_lag_s: float
    min_attempts: int


@dataclass(frozen=True, slots=True)
class GuardrailWindow:
    """What the streaming cohort reported. `lag_s` is the p95 of delivery over `lags` measurements, None where nothing
    was delivered, infinite where it is beyond all bounds."""

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
    """`now` is the percentage, `before` the ones it had, newest last.

    Few attempts say nothing, and few lags nothing of the lag. A slow upstream does not show here: the lag is from the
    log to the browser. Where no lower percentage came before, stepping back means holding: somebody has to decide.
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
            return f"{number} of {window.attempts} {what}; at most {limits.max_failures:.0%} may"
    if (
        window.lag_s is not None
        and window.lags >= limits.min_attempts
        and window.lag_s > limits.max_lag_s * ROUNDING_TOLERANCE
    ):
        beyond = max(BOUNDS_MS[-1] / 1_000, limits.max_lag_s)
        lag = f"{window.lag_s:g} s" if math.isfinite(window.lag_s) else f"more than {beyond:g} s"
        return f"p95 of the delivery lag is {lag}; at most {limits.max_lag_s:g} s may be"
    return None


def build_lag_bounds(max_lag_s: float) -> tuple[float, ...]:
    """The bounds of lags, the limit among them: between two others, or beyond them, it could not be judged."""
    return tuple(sorted({*BOUNDS_MS, max_lag_s * 1_000}))


def find_bucket(milliseconds: float, bounds_ms: Sequence[float] = BOUNDS_MS) -> str:
    """The histogram's key for one measurement."""
    bound = next((bound for bound in bounds_ms if milliseconds <= bound), math.inf)
    return f"{bound:.0f}" if bound == round(bound, 0) else repr(bound)


def compute_quantile_s(histogram: Mapping[str, int], share: float) -> float | None:
    """The upper bound below which `share` of the measurements lie, whatever the bounds were when each was counted;
    infinite beyond the last, None where there are none."""
    total, below = sum(histogram.values()), 0
    for bound, number in sorted((float(key), number) for key, number in histogram.items()):
        below += number
        if total and below >= share * total:
            return bound / 1_000
    return None


def compute_finite_quantile_s(histogram: Mapping[str, int], share: float) -> float | None:
    """The same as a number that can be drawn: the last of `BOUNDS_MS` stands for what is longer than all."""
    found = compute_quantile_s(histogram, share)
    return found if found is None or math.isfinite(found) else BOUNDS_MS[-1] / 1_000
