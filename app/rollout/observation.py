"""What the controller sees of a flag at one turn, and what the guardrail makes of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy.orm import Session

from app.config import Settings
from app.flags.document import Flag
from app.flags.models import GuardrailRow, PlanRow, StageRow
from app.flags.provider import FlagView, Provider
from app.rollout import changes_history, guardrail, plan_service, plan_status, stages
from app.rollout.evidence import CohortEvidence, StepEvidence
from app.rollout.guardrail import GuardrailLimits, GuardrailVerdict
from app.rollout.guardrail_limits import load_limits
from app.rollout.plan_options import PlanOptions, PlanState
from app.rollout.plan_waits import PlanStatus

JUDGED_FLAGS = frozenset({Flag.SSE_STREAMING})


class FencedLease(Protocol):
    def try_acquire(self) -> bool: ...
    def renew(self) -> bool: ...
    def guard(self, session: Session) -> None: ...


@dataclass(frozen=True, slots=True)
class ObservedFlag:
    """The state of a flag as read at `now` (seconds since 1970). `recent`: what was reported within the window.
    `status`: how its plan stands."""

    flag: Flag
    now: float
    view: FlagView
    before: Sequence[float]
    guard: GuardrailRow | None
    plan: PlanRow | None
    limits: GuardrailLimits
    evidence: StepEvidence
    recent: CohortEvidence
    status: PlanStatus
    stage: StageRow | None

    @property
    def is_judged(self) -> bool:
        """False if nobody is in, or the percentage is unknown."""
        state = self.view.state
        return bool(state.percentage) and state.enabled and self.view.outcome.why_nobody is None


class Observer:
    """Reads a flag and judges what it read."""

    def __init__(self, settings: Settings, provider: Provider) -> None:
        self._settings, self._provider = settings, provider

    def observe(self, session: Session, flag: Flag) -> ObservedFlag:
        view, now = self._provider.view(session, flag), plan_service.read_epoch(session)
        plan = session.get(PlanRow, flag)
        found = plan_status.load_evidence(session, flag, plan, view, self._settings)
        return ObservedFlag(
            flag,
            now,
            view,
            changes_history.load_percentages(session, flag),
            session.get(GuardrailRow, flag),
            plan,
            load_limits(session, flag, self._settings).limits,
            found.found,
            found.recent,
            found.status or PlanStatus(),
            found.stage,
        )

    def judge(self, seen: ObservedFlag) -> GuardrailVerdict:
        """Reports are about streams, so they say nothing about other flags, nor about the percentage while a setting
        overrides the flag for everyone. While it holds already, only what was reported lately counts."""
        if seen.flag not in JUDGED_FLAGS or seen.flag in self._settings.flag_overrides or not seen.is_judged:
            return GuardrailVerdict("go")
        looks = stages.read_looks(seen.stage)
        verdict = self._decide(seen, guardrail.find_trouble(seen.limits, seen.evidence, seen.recent, looks))
        if seen.guard is None or verdict.action != "hold":
            return verdict
        return self._decide(seen, guardrail.find_failures(seen.limits, seen.recent, guardrail.WINDOW_ALPHA))

    @staticmethod
    def _decide(seen: ObservedFlag, reason: str | None) -> GuardrailVerdict:
        of_plan, start = None, None
        if seen.plan is not None:
            of_plan = PlanOptions.parse(seen.plan.options_json).on_trouble
            start = PlanState.parse(seen.plan.state_json).started_at_percentage
        return guardrail.decide(seen.limits, reason, seen.view.state.percentage or 0, seen.before, of_plan, start)
