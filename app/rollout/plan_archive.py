"""Keeps plans that are over, with their steps, their evidence and their end."""

import json
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.flags.document import Flag
from app.flags.models import PastPlanRow, PlanRow
from app.infra.clock import utc_text
from app.rollout import stages
from app.rollout.plan_options import PlanOptions, PlanState

MAX_PLANS_PER_FLAG = 50


def archive_plan(session: Session, flag: Flag, row: PlanRow, end: str, ended_by: str) -> None:
    """Keep the plan that is about to be deleted. `end`: `ended` by itself, `stopped` or `replaced` by a person, with
    the reason. Call it inside `db.write()`."""
    state = PlanState.parse(row.state_json)
    at = utc_text()
    plan = {
        "steps": json.loads(row.steps_json),
        "step": row.step,
        "actor": row.actor,
        "reason": row.reason,
        **PlanOptions.parse(row.options_json).as_json(),
        "startedAt": stages.to_utc_text(int(state.started_at * 1_000)) if state.started_at else None,
        "endedAt": at,
        "end": end,
        "endedBy": ended_by,
        "evidence": stages.load_stages(session, flag, state.started_at) if state.started_at else [],
    }
    session.add(PastPlanRow(flag=flag, ended_at=at, plan_json=json.dumps(plan)))
    session.flush()
    ids = sa.select(PastPlanRow.id).where(PastPlanRow.flag == flag).order_by(PastPlanRow.id.desc())
    surplus = ids.offset(MAX_PLANS_PER_FLAG).limit(1).scalar_subquery()
    session.execute(sa.delete(PastPlanRow).where(PastPlanRow.flag == flag, PastPlanRow.id <= surplus))


def load_last_plan(session: Session, flag: Flag) -> dict[str, Any] | None:
    """The plan that ended last, as the API returns it."""
    query = sa.select(PastPlanRow.plan_json).where(PastPlanRow.flag == flag).order_by(PastPlanRow.id.desc()).limit(1)
    text = session.scalar(query)
    return None if text is None else json.loads(text)
