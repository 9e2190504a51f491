"""What Beacon changes in Unleash, until it is seen to have arrived: whoever sees it knows whose it is, and why.

A change of switch and percentage arrives in two stages, and two people may be changing at once: each change has an id
of its own, and a row for every stage. What was made applies at once in every worker (`kept.in_force`), for as long as
Unleash says nothing: nobody knows how long it will be away.
"""

import uuid
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db import now_epoch
from app.flags.document import Flag, Rollout
from app.flags.models import PendingChangeRow
from app.infra.clock import parse_utc

# What is being made is over by then; and an Unleash that answers has said by then what was made.
PENDING_EXPIRY_S = 60.0


def record_pending(session: Session, flag: Flag, stages: Sequence[Rollout], actor: str, reason: str) -> str:
    """Beacon is about to make this change; returns its id."""
    at = session.scalar(sa.select(now_epoch())) or 0.0
    change = uuid.uuid4().hex
    for number, stage in enumerate(stages):
        figures = {"enabled": stage.enabled, "percentage": stage.percentage}
        row = PendingChangeRow(
            change=change, stage=number, flag=flag, **figures, actor=actor, reason=reason, at=at, is_made=False
        )
        session.add(row)
    return change


def mark_made(session: Session, change: str, stages: int) -> bool:
    """Unleash has taken so many stages of it; the others will not come. Call it under `store.lock`.

    False where it has been audited already: whoever saw the last stage arrive was first.
    """
    is_open = session.scalar(sa.select(sa.func.count()).where(PendingChangeRow.change == change)) != 0
    delete_stages(session, change, stages)
    session.execute(sa.update(PendingChangeRow).where(PendingChangeRow.change == change).values(is_made=True))
    return is_open


def delete_stages(session: Session, change: str, stage: int = 0) -> None:
    """From this stage on."""
    session.execute(
        sa.delete(PendingChangeRow).where(PendingChangeRow.change == change, PendingChangeRow.stage >= stage)
    )


def find_pending(session: Session, flag: Flag) -> PendingChangeRow | None:
    """The newest that was made and has not come back from Unleash yet, however long ago that was."""
    made = sa.select(PendingChangeRow).where(PendingChangeRow.flag == flag, PendingChangeRow.is_made)
    return session.scalar(made.order_by(PendingChangeRow.at.desc(), PendingChangeRow.stage.desc()).limit(1))


def expire_unfinished(session: Session) -> list[PendingChangeRow]:
    """Forget what was being made and is too old to come. Returns the last stages of what nobody finished: their workers
    died before they audited it. Call it under `store.lock`."""
    return _delete_old(session, ~PendingChangeRow.is_made)


def expire_made(session: Session) -> list[PendingChangeRow]:
    """Forget what was made and would have come by now; call it under `store.lock`, and only while Unleash answers.
    Returns the last stage of each change."""
    return _delete_old(session, PendingChangeRow.is_made.is_(True))


def _delete_old(session: Session, which: sa.ColumnElement[bool]) -> list[PendingChangeRow]:
    old = sa.and_(PendingChangeRow.at < now_epoch() - PENDING_EXPIRY_S, which)
    rows = session.scalars(sa.select(PendingChangeRow).where(old).order_by(PendingChangeRow.at, PendingChangeRow.stage))
    last = {row.change: row for row in rows}
    session.execute(sa.delete(PendingChangeRow).where(old))
    return [*last.values()]


def is_last_stage(session: Session, stage: PendingChangeRow) -> bool:
    """Whether no other stage of its change is to come."""
    later = sa.select(sa.func.count()).where(
        PendingChangeRow.change == stage.change, PendingChangeRow.stage > stage.stage
    )
    return session.scalar(later) == 0


def match_arrival(session: Session, flag: Flag, now: Rollout) -> PendingChangeRow | None:
    """Whose change it is that has come from Unleash; it and what was made before it are no longer waited for."""
    may_come = sa.or_(PendingChangeRow.is_made, PendingChangeRow.at > now_epoch() - PENDING_EXPIRY_S)
    here = sa.select(PendingChangeRow).where(
        PendingChangeRow.flag == flag, may_come, PendingChangeRow.enabled == now.enabled
    )
    same = here.where(PendingChangeRow.percentage == now.percentage)
    found = session.scalar(same.order_by(PendingChangeRow.at, PendingChangeRow.stage).limit(1))
    if found is not None:
        earlier = sa.and_(PendingChangeRow.change == found.change, PendingChangeRow.stage <= found.stage)
        older = sa.and_(PendingChangeRow.flag == flag, PendingChangeRow.is_made, PendingChangeRow.at < found.at)
        session.execute(sa.delete(PendingChangeRow).where(sa.or_(earlier, older)))
    return found


def delete_overtaken(session: Session, flag: Flag, at: str | None) -> None:
    """Somebody else has changed it in Unleash at `at` (None: just now): what was made before will not be seen.

    What is still being made stays: it may come afterwards.
    """
    gone = sa.delete(PendingChangeRow).where(PendingChangeRow.flag == flag, PendingChangeRow.is_made)
    session.execute(gone if at is None else gone.where(PendingChangeRow.at < parse_utc(at).timestamp()))
