"""Reads how a plan stands: its evidence, and what it waits for, as page, API and command line show it."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy.orm import Session

from app.config import Settings
from app.flags.document import Flag
from app.flags.models import PlanRow, StageRow
from app.flags.provider import FlagView
from app.rollout import evidence, guardrail, plan_service, stages
from app.rollout.evidence import CohortEvidence, StepEvidence
from app.rollout.guardrail import BadLooks
from app.rollout.guardrail_limits import load_limits
from app.rollout.plan_options import PlanOptions, PlanState
from app.rollout.plan_waits import PlanStatus, find_status


@dataclass(frozen=True, slots=True)
class FlagEvidence:
    """The evidence of a flag's current stage, and how its plan stands; None without a plan. `stage`: None until the
    controller has seen it."""

    found: StepEvidence
    recent: CohortEvidence
    status: PlanStatus | None
    stage: StageRow | None = None

    @property
    def looks(self) -> BadLooks:
        return stages.read_looks(self.stage)


def load_evidence(
    session: Session, flag: Flag, row: PlanRow | None, view: FlagView, settings: Settings
) -> FlagEvidence:
    now = plan_service.read_epoch(session)
    found, recent, stage = stages.load_step_evidence(session, flag, settings.guardrail_window_s, now)
    if row is None:
        return FlagEvidence(found, recent, None, stage)
    status = find_status(
        plan_service.to_plan(row),
        PlanOptions.parse(row.options_json),
        PlanState.parse(row.state_json),
        found,
        now,
        explain_unseen(view, settings.flag_overrides.get(flag)),
    )
    if row.step >= 0:
        query = guardrail.explain_query(load_limits(session, flag, settings).limits, stages.read_looks(stage))
        if query is not None:
            status = replace(status, waits=(*status.waits, query))
    return FlagEvidence(found, recent, status, stage)


def explain_unseen(view: FlagView, override: bool | None) -> str | None:
    """Why nothing that is reported says anything about the percentage; None if it does."""
    if override is not None:
        return "a setting decides for everybody, so nothing is seen of this percentage"
    if view.outcome.why_nobody is not None:
        return f"{view.outcome.why_nobody}: nobody is in"
    return None


def evidence_as_json(one: FlagEvidence) -> dict[str, Any]:
    """The evidence since the step began as the API returns it: counts, what is needed, and how sure the shares are."""
    status = one.status or PlanStatus()
    counts = {measure.name: {"there": measure.there, "needed": measure.needed} for measure in status.measures}
    return {
        "sentence": evidence.describe_evidence(status.measures) if status.measures else None,
        "measures": counts,
        "enough": not any(measure.missing for measure in status.measures),
        "waitsFor": list(status.waits),
        "reachable": one.found.reachable,
        "streaming": _cohort_as_json(one.found.streaming),
        "polling": _cohort_as_json(one.found.polling),
        "before": _cohort_as_json(one.found.before),
    }


def _cohort_as_json(found: CohortEvidence) -> dict[str, Any]:
    names = ("people", "connects", "failures", "delivered", "slow")
    counts = {name: value for name, value in asdict(found).items() if name in names}
    if not found.connects:
        return {**counts, "failedShare": None}
    share = guardrail.bound_failures(found)
    return {**counts, "failedShare": {"low": round(share.low, 4), "high": round(share.high, 4)}}
