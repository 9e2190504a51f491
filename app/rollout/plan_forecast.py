"""Says, when a plan is made, which of its holds are shorter than the evidence can take."""

from collections.abc import Sequence

import sqlalchemy as sa

from app.db import now_epoch, read
from app.flags.models import PollingRow, ReportRow
from app.rollout.online_users import load_polling_users, online_users
from app.rollout.plan import PlanStep
from app.rollout.plan_options import PlanOptions
from app.rollout.plan_text import find_short_holds

PACE_MINUTES = 60


def forecast_waits(steps: Sequence[PlanStep], options: PlanOptions) -> list[str]:
    """In words, by the pages that are open now and the pace of the last hour. The caller must not hold a database
    connection."""
    with read() as session:
        streaming = online_users().list_streaming(session)
        people = streaming | load_polling_users(session, PollingRow.seen).keys()
        minute = int((session.scalar(sa.select(now_epoch())) or 0.0) // 60) - PACE_MINUTES
        recent = (ReportRow.cohort == "streaming", ReportRow.minute > minute)
        attempts = session.scalar(sa.select(sa.func.sum(ReportRow.attempts)).where(*recent)) or 0
    return find_short_holds(steps, options, len(people), attempts / len(streaming) if streaming else None)
