"""The guardrail as the page of the rollout says it: what it found, or why there is nothing that it could find. Pure."""

from dataclasses import dataclass
from typing import Self

from app.config import Settings
from app.flags.document import Nominal
from app.flags.models import GuardRow
from app.flags.outcome import PLAIN, Outcome
from app.rollout import guardrail
from app.rollout.change_text import describe_minutes
from app.rollout.guardrail import MIN_REPORTS, Limits, Window
from app.web.rollout.charts import NOT_KNOWN, said_as
from app.web.rollout.rollout_summary import moment


@dataclass(frozen=True, slots=True)
class Guardrail:
    """`state` for the eye, `word` and `why` for everybody; `since` is when there was trouble last, and `limits` what it
    does, in a sentence."""

    state: str
    word: str
    why: str
    since: str | None
    limits: str

    @property
    def holds(self) -> bool:
        return self.since is not None

    @classmethod
    def of(
        cls,
        row: GuardRow | None,
        settings: Settings,
        now: Nominal,
        window: Window,
        override: str | None,
        mode: str,
        outcome: Outcome = PLAIN,
    ) -> Self:
        limits = limits_in_words(settings)
        if row is not None:
            return cls("warning", "Holds", _held(row.reason, mode), moment(row.since), limits)
        if settings.guardrail_mode == "off":
            return cls("stale", "Off", "", None, limits)
        state, word, why = _judged(settings, now, window, override, outcome)
        if outcome.limits and state != "unknown":
            why += f" They are of {outcome.describe(now)}."
        return cls(state, word, why, None, limits)


def _held(reason: str, mode: str) -> str:
    said = f"{reason[:1].upper()}{reason[1:]}. Nothing can be raised meanwhile; taking back is always possible."
    if mode != "unleash":
        return said
    return said.replace("Nothing can be raised meanwhile", "Nothing can be raised from here meanwhile, only in Unleash")


def _judged(
    settings: Settings, now: Nominal, window: Window, override: str | None, outcome: Outcome
) -> tuple[str, str, str]:
    nothing = _nothing(now, override, outcome)
    if nothing is not None:
        return "unknown", "Nothing to judge", nothing
    least = settings.guardrail_min_attempts
    if window.attempts < least:
        return "unknown", "Too few to judge", f"{window.attempts:,} of {least:,} attempts to connect."
    if window.reports < MIN_REPORTS:
        return "unknown", "Too few to judge", f"{window.attempts:,} attempts to connect, all in one report."
    mode: guardrail.Mode = settings.guardrail_mode
    limits = Limits(mode, settings.guardrail_max_failures, settings.guardrail_max_lag_s, least)
    verdict = guardrail.judge(limits, window, now.percentage or 0, ())
    if verdict.action != "go":
        return "warning", "Over the limit", f"{verdict.reason[:1].upper()}{verdict.reason[1:]}."
    return "success", "Within the limits", _figures(window, least)


def _nothing(now: Nominal, override: str | None, outcome: Outcome) -> str | None:
    """Why nobody's attempts could be this percentage's; None where they can."""
    if override is not None:
        return "The setting decides who is in, whatever stands here."
    if not now.enabled:
        return "The flag is off, so nobody is in."
    if outcome.why_nobody is not None or outcome.everybody is not None:
        said = outcome.describe(now)
        return f"{said[0].upper()}{said[1:]}."
    if now.percentage is None:
        return "No single percentage says how many are in."
    return "Nobody is in at 0 %." if now.percentage == 0 else None


def _figures(window: Window, least: int) -> str:
    """`40 attempts to connect: 1 failed (2.5 %), 0 fell back. Delivery lag, p95: 0.25 s.`"""

    def part(number: int, what: str) -> str:
        return f"{number:,} {what} ({said_as('share', number / window.attempts)})"

    lag = said_as("seconds", window.lag_s)
    if window.lags < least:
        lag = f"{NOT_KNOWN}, too few to judge ({window.lags:,} of {least:,})"
    failed, fell = part(window.failures, "failed"), part(window.fallbacks, "fell back to polling")
    return f"{window.attempts:,} attempts to connect: {failed}, {fell}. Delivery lag, p95: {lag}."


def limits_in_words(settings: Settings) -> str:
    if settings.guardrail_mode == "off":
        return "Nothing is watched (BEACON_GUARDRAIL_MODE is off)."
    does = "holds the rollout" if settings.guardrail_mode == "hold" else "steps back to the percentage before"
    most = f"{settings.guardrail_max_failures * 100:g} %"
    return (
        f"It {does} when, of at least {settings.guardrail_min_attempts} attempts to connect within "
        f"{describe_minutes(settings.guardrail_window_s / 60)}, more than {most} fail or fall back to polling, "
        f"or the p95 of the delivery lag passes {settings.guardrail_max_lag_s:g} s. It never raises anything."
    )
