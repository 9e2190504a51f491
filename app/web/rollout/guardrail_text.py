"""Text of the guardrail for the rollout page: its verdict, or why there is none. Pure."""

from dataclasses import dataclass
from typing import Self

from app.config import Settings
from app.flags.document import ConfiguredState
from app.flags.models import GuardrailRow
from app.flags.outcome import PLAIN_OUTCOME, RolloutOutcome
from app.rollout import guardrail
from app.rollout.change_text import describe_minutes
from app.rollout.guardrail import MIN_JUDGED_REPORTS, GuardrailLimits, GuardrailWindow
from app.web.rollout.charts import NOT_KNOWN, format_metric
from app.web.rollout.rollout_summary import epoch_to_utc


@dataclass(frozen=True, slots=True)
class GuardrailText:
    """`state` selects the colour, `word` and `why` are the text. `since` is when trouble was last seen. `limits` is one
    sentence about what the guardrail does."""

    state: str
    word: str
    why: str
    since: str | None
    limits: str

    @property
    def is_holding(self) -> bool:
        return self.since is not None

    @classmethod
    def of(
        cls,
        row: GuardrailRow | None,
        settings: Settings,
        now: ConfiguredState,
        window: GuardrailWindow,
        override: str | None,
        mode: str,
        outcome: RolloutOutcome = PLAIN_OUTCOME,
    ) -> Self:
        limits = describe_limits(settings)
        if row is not None:
            return cls("warning", "Holds", _describe_hold(row.reason, mode), epoch_to_utc(row.since), limits)
        if settings.guardrail_mode == "off":
            return cls("stale", "Off", "", None, limits)
        state, word, why = _describe_verdict(settings, now, window, override, outcome)
        if outcome.limit_words and state != "unknown":
            why += f" They are of {outcome.describe(now)}."
        return cls(state, word, why, None, limits)


def _describe_hold(reason: str, mode: str) -> str:
    blocked = "Increases are blocked in Beacon, but not in Unleash" if mode == "unleash" else "Increases are blocked"
    return f"{reason[:1].upper()}{reason[1:]}. {blocked}; decreases are always possible."


def _describe_verdict(
    settings: Settings, now: ConfiguredState, window: GuardrailWindow, override: str | None, outcome: RolloutOutcome
) -> tuple[str, str, str]:
    nothing = _explain_no_verdict(now, override, outcome)
    if nothing is not None:
        return "unknown", "Nothing to judge", nothing
    least = settings.guardrail_min_attempts
    if window.attempts < least:
        return "unknown", "Too few to judge", f"{window.attempts:,} of {least:,} attempts to connect."
    if window.reports < MIN_JUDGED_REPORTS:
        return "unknown", "Too few to judge", f"{window.attempts:,} attempts to connect, all in one report."
    mode: guardrail.GuardrailMode = settings.guardrail_mode
    limits = GuardrailLimits(mode, settings.guardrail_max_failures, settings.guardrail_max_lag_s, least)
    verdict = guardrail.judge_window(limits, window, now.percentage or 0, ())
    if verdict.action != "go":
        return "warning", "Over the limit", f"{verdict.reason[:1].upper()}{verdict.reason[1:]}."
    return "success", "Within the limits", _describe_figures(window, least)


def _explain_no_verdict(now: ConfiguredState, override: str | None, outcome: RolloutOutcome) -> str | None:
    """Why the reports say nothing about this percentage; None if they do."""
    if override is not None:
        return "The setting decides who is in, regardless of the rollout."
    if not now.enabled:
        return "The flag is off, so nobody is in."
    if outcome.why_nobody is not None or outcome.everybody is not None:
        said = outcome.describe(now)
        return f"{said[0].upper()}{said[1:]}."
    if now.percentage is None:
        return "No single percentage says how many are in."
    return "Nobody is in at 0 %." if now.percentage == 0 else None


def _describe_figures(window: GuardrailWindow, least: int) -> str:
    """`40 attempts to connect: 1 failed (2.5 %), 0 fell back. Delivery lag, p95: 0.25 s.`"""

    def part(number: int, what: str) -> str:
        return f"{number:,} {what} ({format_metric('share', number / window.attempts)})"

    lag = format_metric("seconds", window.lag_s)
    if window.lags < least:
        lag = f"{NOT_KNOWN}, too few to judge ({window.lags:,} of {least:,})"
    failed, fell = part(window.failures, "failed"), part(window.fallbacks, "fell back to polling")
    return f"{window.attempts:,} attempts to connect: {failed}, {fell}. Delivery lag, p95: {lag}."


def describe_limits(settings: Settings) -> str:
    if settings.guardrail_mode == "off":
        return "Nothing is watched (BEACON_GUARDRAIL_MODE is off)."
    does = "holds the rollout" if settings.guardrail_mode == "hold" else "steps back to the percentage before"
    most = f"{settings.guardrail_max_failures * 100:g} %"
    return (
        f"It {does} when, of at least {settings.guardrail_min_attempts} attempts to connect within "
        f"{describe_minutes(settings.guardrail_window_s / 60)}, more than {most} fail or fall back to polling, "
        f"or the p95 of the delivery lag passes {settings.guardrail_max_lag_s:g} s. It never raises anything."
    )
