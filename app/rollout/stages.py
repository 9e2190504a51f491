"""Stores the stages of a rollout and their evidence. A stage begins when other people are let in, or when somebody
decides to go on after trouble; what was seen in the stages before is kept to compare with."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.flags.document import Flag
from app.flags.models import FlagRow, StageRow
from app.infra.clock import utc_text
from app.rollout import witnesses
from app.rollout.evidence import CohortEvidence, StepEvidence
from app.rollout.guardrail import NO_BAD_LOOKS, BadLooks
from app.rollout.witnesses import WHOLE_STAGE

MAX_STAGES_PER_FLAG = 200
# Within this time after the step of a plan the same percentage is that step, as it comes back from Unleash.
SEEN_WITHIN_MS = 60_000
# How many stages before the current one are compared with it.
COMPARED_STAGES = 5


def find_stage_start(session: Session, flag: Flag) -> int:
    """When the current stage began, in milliseconds since 1970 by the database's clock; 0 if the flag was never set."""
    flag_row = session.get(FlagRow, flag)
    changed = 0 if flag_row is None else int(flag_row.level_since * 1_000)
    newest = session.scalar(
        sa.select(StageRow).where(StageRow.flag == flag).order_by(StageRow.since_ms.desc()).limit(1)
    )
    if newest is None or flag_row is None:
        return changed if newest is None else newest.since_ms
    level = flag_row.percentage if flag_row.enabled else 0
    is_same_change = level == newest.percentage and changed - newest.since_ms < SEEN_WITHIN_MS
    return newest.since_ms if is_same_change else max(changed, newest.since_ms)


def ensure_stage(session: Session, flag: Flag, percentage: float | None) -> StageRow:
    """The row of the current stage; a new one closes those before. Call it inside `db.write()`."""
    return begin_stage(session, flag, find_stage_start(session, flag), percentage)


def begin_stage(session: Session, flag: Flag, since_ms: int, percentage: float | None) -> StageRow:
    """Begin a stage unless it has begun: from now on evidence is counted again. Call it inside `db.write()`."""
    there = session.get(StageRow, (flag, since_ms))
    if there is not None:
        return there
    open_rows = session.scalars(sa.select(StageRow).where(StageRow.flag == flag, StageRow.ended_at.is_(None))).all()
    for row in open_rows:
        _close_stage(session, flag, row, since_ms)
    row = StageRow(flag=flag, since_ms=since_ms, began_at=to_utc_text(since_ms), percentage=percentage)
    session.add(row)
    session.flush()
    _forget_old(session, flag, since_ms)
    return row


def find_stage(session: Session, flag: Flag) -> StageRow | None:
    """The row of the current stage; None until the controller has seen it."""
    return session.get(StageRow, (flag, find_stage_start(session, flag)))


def read_looks(row: StageRow | None) -> BadLooks:
    return NO_BAD_LOOKS if row is None else BadLooks(row.slow_looks, row.query_looks, row.query_value)


def had_trouble(session: Session, flag: Flag) -> bool:
    """True if the guardrail has found trouble in the current stage."""
    row = find_stage(session, flag)
    return row is not None and row.had_trouble


def load_step_evidence(
    session: Session, flag: Flag, window_s: float, now: float
) -> tuple[StepEvidence, CohortEvidence, StageRow | None]:
    """The evidence since the current stage began, what its streams reported within the guardrail's window, and the row
    of the stage as `find_stage` returns it."""
    since_ms = find_stage_start(session, flag)
    streaming, polling = (
        witnesses.load_cohort(session, flag, since_ms, cohort, [WHOLE_STAGE]) for cohort in ("streaming", "polling")
    )
    period = int(now // window_s)
    recent = witnesses.load_cohort(session, flag, since_ms, "streaming", [period - 1, period])
    row = session.get(StageRow, (flag, since_ms))
    minutes, reachable = (0.0, 0) if row is None else (row.stream_minutes, row.reachable)
    before = _load_before(session, flag, since_ms)
    return StepEvidence(streaming, polling, before, minutes, reachable), recent, row


def load_stages(session: Session, flag: Flag, since: float) -> list[dict[str, Any]]:
    """The stages that ended after `since` (seconds since 1970), oldest first, as plans that are over show them."""
    query = sa.select(StageRow).where(StageRow.flag == flag, StageRow.since_ms >= int(since * 1_000))
    return [_stage_as_json(session, flag, row) for row in session.scalars(query.order_by(StageRow.since_ms))]


def to_utc_text(since_ms: int) -> str:
    return utc_text(datetime.fromtimestamp(since_ms / 1_000, UTC))


def _load_before(session: Session, flag: Flag, since_ms: int) -> CohortEvidence:
    """Of the stages before, back to the last one in which nobody was in; those with trouble are no standard."""
    query = sa.select(StageRow).where(StageRow.flag == flag, StageRow.since_ms < since_ms)
    found = CohortEvidence()
    for row in session.scalars(query.order_by(StageRow.since_ms.desc()).limit(COMPARED_STAGES)):
        if row.percentage == 0:
            break
        if not row.had_trouble:
            found += CohortEvidence(**json.loads(row.evidence_json).get("streaming", {}))
    return found


def _close_stage(session: Session, flag: Flag, row: StageRow, ended_ms: int) -> None:
    row.ended_at = to_utc_text(ended_ms)
    row.evidence_json = json.dumps(_load_cohorts(session, flag, row.since_ms))


def _load_cohorts(session: Session, flag: Flag, since_ms: int) -> dict[str, Any]:
    return {
        cohort: asdict(witnesses.load_cohort(session, flag, since_ms, cohort, [WHOLE_STAGE]))
        for cohort in ("streaming", "polling")
    }


def _stage_as_json(session: Session, flag: Flag, row: StageRow) -> dict[str, Any]:
    cohorts = json.loads(row.evidence_json) if row.ended_at else _load_cohorts(session, flag, row.since_ms)
    seen = CohortEvidence(**cohorts.get("streaming", {}))
    return {
        "percentage": row.percentage,
        "beganAt": row.began_at,
        "endedAt": row.ended_at,
        "people": seen.people,
        "connects": seen.connects,
        "failures": seen.failures,
        "streamMinutes": int(row.stream_minutes),
        "events": seen.delivered,
        "hadTrouble": row.had_trouble,
    }


def _forget_old(session: Session, flag: Flag, since_ms: int) -> None:
    """Keep the people of the stage before: their late reports must not count for this one."""
    rows: Sequence[int] = session.scalars(
        sa.select(StageRow.since_ms).where(StageRow.flag == flag).order_by(StageRow.since_ms.desc())
    ).all()
    before = [one for one in rows if one < since_ms]
    if before:
        witnesses.delete_before(session, flag, before[0])
    if len(rows) > MAX_STAGES_PER_FLAG:
        oldest = rows[MAX_STAGES_PER_FLAG - 1]
        session.execute(sa.delete(StageRow).where(StageRow.flag == flag, StageRow.since_ms < oldest))
