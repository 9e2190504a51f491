"""Text of the guardrail for the rollout page: its verdict, or why there is none. Pure."""

from dataclasses import dataclass
from typing import Self

from app.flags.document import ConfiguredState
from app.flags.models import GuardrailRow
from app.flags.outcome import PLAIN_OUTCOME, RolloutOutcome
from app.rollout import guardrail
from app.rollout.change_text import describe_minutes
from app.rollout.evidence import CohortEvidence, StepEvidence
from app.rollout.guardrail import MIN_FAILING_PEOPLE, NO_BAD_LOOKS, BadLooks, GuardrailLimits
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
        limits: GuardrailLimits,
        now: ConfiguredState,
        found: StepEvidence,
        recent: CohortEvidence,
        override: str | None,
        mode: str,
        outcome: RolloutOutcome = PLAIN_OUTCOME,
        window_s: float = 300,
        looks: BadLooks = NO_BAD_LOOKS,
    ) -> Self:
        said = describe_limits(limits, window_s)
        if row is not None:
            return cls("warning", "Holds", _describe_hold(row.reason, mode), epoch_to_utc(row.since), said)
        if limits.mode == "off":
            return cls("stale", "Off", "", None, said)
        state, word, why = _describe_verdict(limits, now, found, recent, override, outcome, looks)
        if outcome.limit_words and state != "unknown":
            why += f" They are of {outcome.describe(now)}."
        return cls(state, word, why, None, said)


def _describe_hold(reason: str, mode: str) -> str:
    blocked = "Increases are blocked in Beacon, but not in Unleash" if mode == "unleash" else "Increases are blocked"
    return f"{reason[:1].upper()}{reason[1:]}. {blocked}; decreases are always possible."


def _describe_verdict(
    limits: GuardrailLimits,
    now: ConfiguredState,
    found: StepEvidence,
    recent: CohortEvidence,
    override: str | None,
    outcome: RolloutOutcome,
    looks: BadLooks,
) -> tuple[str, str, str]:
    nothing = _explain_no_verdict(now, override, outcome)
    if nothing is not None:
        return "unknown", "Nothing to judge", nothing
    seen = found.streaming
    if seen.connects == 0:
        return "unknown", "Nothing seen yet", "No page has reported a stream since the step began. That is no health."
    trouble = guardrail.find_trouble(limits, found, recent, looks)
    if trouble is not None:
        return "warning", "Over the limit", f"{trouble[:1].upper()}{trouble[1:]}. {_compare(found)}".strip()
    if guardrail.bound_failures(seen).high > limits.max_failures:
        return "unknown", "Not sure yet", f"{_describe_cohort(seen)} {_compare(found)}".strip()
    return "success", "Within the limits", f"{_describe_cohort(seen)} {_compare(found)}".strip()


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


def _describe_cohort(seen: CohortEvidence) -> str:
    """`1 of 40 attempts to connect failed, of 5 people: surely between 0.1 % and 17 %.`"""
    people = "1 person" if seen.people == 1 else f"{seen.people:,} people"
    share = guardrail.describe_interval(seen.failures, seen.connects)
    return f"{seen.failures:,} of {seen.connects:,} attempts to connect failed, of {people}: surely {share}."


def _compare(found: StepEvidence) -> str:
    """`Polls: 0 of 90 failed. Streams before: 2 of 300.`; empty without anything to compare with."""
    said = [
        f"{what}: {one.failures:,} of {one.connects:,} failed."
        for one, what in ((found.polling, "Polls"), (found.before, "Streams in the steps before"))
        if one.connects
    ]
    return " ".join(said)


def describe_limits(limits: GuardrailLimits, window_s: float) -> str:
    if limits.mode == "off":
        return "Nothing is watched: the guardrail is off."
    does = {
        "hold": "holds the rollout",
        "step-back": "steps back to the percentage before",
        "dry-run": "only says that it would hold (a dry run)",
    }[limits.mode]
    return (
        f"It {does} when it is sure that more than {limits.max_failures * 100:g} % of the attempts to connect fail, or "
        f"more than of the polls; when the p95 of the delivery lag passes {limits.max_lag_s:g} s in "
        f"{guardrail.SLOW_LOOKS} looks in a row, a minute apart, within {describe_minutes(window_s / 60)}. "
        f"It takes at least {MIN_FAILING_PEOPLE} people; it never raises anything."
        + (f" The Prometheus query must not exceed {limits.max_value:g} either." if limits.query else "")
    )
