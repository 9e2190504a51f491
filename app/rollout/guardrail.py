"""When a rollout must not grow, or must go back: decided from what browsers reported within one window. Pure.

It takes back and blocks; nothing here can raise a percentage.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Mode = Literal["hold", "step-back", "off"]
# Upper bounds of the histograms, in milliseconds; what is longer counts above the last.
BOUNDS_MS = (50, 100, 250, 500, 1_000, 1_500, 2_000, 3_000, 5_000, 10_000, 30_000)

# However few attempts the settings ask for: one report is one page's word.
MIN_REPORTS = 2


@dataclass(frozen=True, slots=True)
class Limits:
    mode: Mode
    max_failures: float
    max_lag_s: float
    min_attempts: int


@dataclass(frozen=True, slots=True)
class Window:
    """What the streaming cohort reported. `lag_s` is the p95 of delivery over `lags` measurements, None where nothing
    was delivered."""

    reports: int
    attempts: int
    failures: int
    fallbacks: int
    lags: int
    lag_s: float | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """`go`, `hold` (no increases) or `step-back` to `percentage`; `reason` is for people."""

    action: Literal["go", "hold", "step-back"]
    reason: str = ""
    percentage: int | None = None


def judge(limits: Limits, window: Window, now: int, before: Sequence[int]) -> Verdict:
    """`now` is the percentage, `before` the ones it had, newest last.

    Few attempts say nothing, and few lags nothing of the lag. A slow upstream does not show here: the lag is from the
    log to the browser. Where no lower percentage came before, stepping back means holding: somebody has to decide.
    """
    reason = _trouble(limits, window)
    if limits.mode == "off" or reason is None:
        return Verdict("go")
    lower = next((one for one in reversed(before) if one < now), None)
    if limits.mode == "step-back" and lower is not None:
        return Verdict("step-back", reason, lower)
    return Verdict("hold", reason)


def _trouble(limits: Limits, window: Window) -> str | None:
    if window.attempts < limits.min_attempts or window.reports < MIN_REPORTS:
        return None
    allowed = limits.max_failures * window.attempts
    for number, what in ((window.failures, "attempts to connect failed"), (window.fallbacks, "fell back to polling")):
        if number > allowed:
            return f"{number} of {window.attempts} {what}; at most {limits.max_failures:.0%} may"
    if window.lag_s is not None and window.lags >= limits.min_attempts and window.lag_s > limits.max_lag_s:
        return f"p95 of the delivery lag is {window.lag_s:g} s; at most {limits.max_lag_s:g} s may be"
    return None


def bucket(milliseconds: float) -> str:
    """The histogram's key for one measurement."""
    return next((str(bound) for bound in BOUNDS_MS if milliseconds <= bound), "inf")


def quantile_s(histogram: Mapping[str, int], share: float) -> float | None:
    """The upper bound below which `share` of the measurements lie; None where there are none."""
    total = sum(histogram.values())
    if not total:
        return None
    below = 0
    for bound in BOUNDS_MS:
        below += histogram.get(str(bound), 0)
        if below >= share * total:
            return bound / 1_000
    return BOUNDS_MS[-1] / 1_000
