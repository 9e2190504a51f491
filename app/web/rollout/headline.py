"""The sentence on top of the rollout page: where it stands, what the evidence says, what happens next. Pure."""

from dataclasses import dataclass
from typing import Self

from app.web.rollout.claimed_state import ClaimedState
from app.web.rollout.guardrail_text import GuardrailText
from app.web.rollout.rollout_summary import PlanView


@dataclass(frozen=True, slots=True)
class Headline:
    """`state` selects icon and colour, `word` names it. `until` is the time that follows `text`, if there is one."""

    state: str
    word: str
    text: str
    until: str | None = None

    @classmethod
    def of(cls, claim: ClaimedState, guardrail: GuardrailText, plan: PlanView | None) -> Self:
        stands = f"It stands at {claim.figure}."
        if guardrail.is_holding:
            return cls("warning", "Held", f"{stands} {guardrail.why} {_describe_wait_for_person(plan)}".strip())
        if plan is None:
            seen = f" {guardrail.why}" if guardrail.why else ""
            word = guardrail.word if guardrail.state in ("warning", "success") else "No plan"
            return cls(guardrail.state, word, f"{stands}{seen} Nothing is planned: it stays there.")
        if plan.paused:
            return cls("paused", "Paused", f"{stands} The plan is paused. Nothing is raised until somebody resumes it.")
        if plan.waits:
            return cls("timeout", "Waits", f"{stands} {_list_waits(plan)} {_describe_next(plan)}")
        return cls("running", "Goes on", f"{stands} {_describe_next(plan)}", plan.until)


def _list_waits(plan: PlanView) -> str:
    return " ".join(f"{one[:1].upper()}{one[1:]}." for one in plan.waits)


def _describe_next(plan: PlanView) -> str:
    following = next((words for words, state in plan.steps if state == "next"), None)
    what = f"Next: {following}" if following else "Next: the plan ends, and the flag stays"
    if plan.until is None:
        return f"{what}."
    return f"{what}, not before" if not plan.waits else f"{what}."


def _describe_wait_for_person(plan: PlanView | None) -> str:
    return "" if plan is None else "The plan waits for a person."
