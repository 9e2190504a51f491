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
from app.flags.models import IntentRow
from app.infra.clock import parse_utc

# What is being made is over by then; and an Unleash that answers has said by then what was made.
LASTS_S = 60.0


def intend(session: Session, flag: Flag, stages: Sequence[Rollout], actor: str, reason: str) -> str:
    """Beacon is about to make this change; returns its id."""
    at = session.scalar(sa.select(now_epoch())) or 0.0
    change = uuid.uuid4().hex
    for number, stage in enumerate(stages):
        figures = {"enabled": stage.enabled, "percentage": stage.percentage}
        row = IntentRow(
            change=change, stage=number, flag=flag, **figures, actor=actor, reason=reason, at=at, is_made=False
        )
        session.add(row)
    return change


def made(session: Session, change: str, stages: int) -> bool:
    """Unleash has taken so many stages of it; the others will not come. Call it under `store.lock`.

    False where it has been audited already: whoever saw the last stage arrive was first.
    """
    is_open = session.scalar(sa.select(sa.func.count()).where(IntentRow.change == change)) != 0
    forget(session, change, stages)
    session.execute(sa.update(IntentRow).where(IntentRow.change == change).values(is_made=True))
    return is_open


def forget(session: Session, change: str, stage: int = 0) -> None:
    """From this stage on."""
    session.execute(sa.delete(IntentRow).where(IntentRow.change == change, IntentRow.stage >= stage))


def pending(session: Session, flag: Flag) -> IntentRow | None:
    """The newest that was made and has not come back from Unleash yet, however long ago that was."""
    made = sa.select(IntentRow).where(IntentRow.flag == flag, IntentRow.is_made)
    return session.scalar(made.order_by(IntentRow.at.desc(), IntentRow.stage.desc()).limit(1))


def expire(session: Session) -> list[IntentRow]:
    """Forget what was being made and is too old to come. Returns the last stages of what nobody finished: their workers
    died before they audited it. Call it under `store.lock`."""
    return _forget_old(session, ~IntentRow.is_made)


def expire_made(session: Session) -> list[IntentRow]:
    """Forget what was made and would have come by now; call it under `store.lock`, and only while Unleash answers.
    Returns the last stage of each change."""
    return _forget_old(session, IntentRow.is_made.is_(True))


def _forget_old(session: Session, which: sa.ColumnElement[bool]) -> list[IntentRow]:
    old = sa.and_(IntentRow.at < now_epoch() - LASTS_S, which)
    rows = session.scalars(sa.select(IntentRow).where(old).order_by(IntentRow.at, IntentRow.stage))
    last = {row.change: row for row in rows}
    session.execute(sa.delete(IntentRow).where(old))
    return [*last.values()]


def is_last(session: Session, stage: IntentRow) -> bool:
    """Whether no other stage of its change is to come."""
    later = sa.select(sa.func.count()).where(IntentRow.change == stage.change, IntentRow.stage > stage.stage)
    return session.scalar(later) == 0


def arrived(session: Session, flag: Flag, now: Rollout) -> IntentRow | None:
    """Whose change it is that has come from Unleash; it and what was made before it are no longer waited for."""
    may_come = sa.or_(IntentRow.is_made, IntentRow.at > now_epoch() - LASTS_S)
    here = sa.select(IntentRow).where(IntentRow.flag == flag, may_come, IntentRow.enabled == now.enabled)
    same = here.where(IntentRow.percentage == now.percentage)
    found = session.scalar(same.order_by(IntentRow.at, IntentRow.stage).limit(1))
    if found is not None:
        earlier = sa.and_(IntentRow.change == found.change, IntentRow.stage <= found.stage)
        older = sa.and_(IntentRow.flag == flag, IntentRow.is_made, IntentRow.at < found.at)
        session.execute(sa.delete(IntentRow).where(sa.or_(earlier, older)))
    return found


def overtaken(session: Session, flag: Flag, at: str | None) -> None:
    """Somebody else has changed it in Unleash at `at` (None: just now): what was made before will not be seen.

    What is still being made stays: it may come afterwards.
    """
    gone = sa.delete(IntentRow).where(IntentRow.flag == flag, IntentRow.is_made)
    session.execute(gone if at is None else gone.where(IntentRow.at < parse_utc(at).timestamp()))
