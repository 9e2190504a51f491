"""Changes that Beacon makes in Unleash, stored until they come back, so that their author and reason are known.

A change of switch and percentage comes back in two stages, and two people may change flags at once: each change has its
own id, and a row for every stage. A change that was made applies at once in every worker
(`snapshot_store.load_in_force`), until Unleash sends it: nobody knows how long Unleash may be unavailable.
"""

import uuid
from collections.abc import Sequence
from dataclasses import asdict

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db import now_epoch
from app.eventlog.event_types import ChangeCause
from app.flags.document import Flag, Rollout
from app.flags.models import PendingChangeRow
from app.infra.clock import parse_utc

# By then a change in progress is over, and an Unleash that responds has sent what was made.
PENDING_EXPIRY_S = 60.0


def record_pending(
    session: Session, flag: Flag, stages: Sequence[Rollout], actor: str, reason: str, cause: ChangeCause = "manual"
) -> str:
    """Record a change that Beacon is about to make; returns its id."""
    at = session.scalar(sa.select(now_epoch())) or 0.0
    change = uuid.uuid4().hex
    for number, stage in enumerate(stages):
        made = {"actor": actor, "reason": reason, "cause": cause, "at": at, "is_made": False}
        session.add(PendingChangeRow(change=change, stage=number, flag=flag, **asdict(stage), **made))
    return change


def mark_made(session: Session, change: str, stages: int) -> bool:
    """Record that Unleash accepted this many stages; the others will not come. Call it under `embedded.lock_flags`.

    False if the change is already audited, because a worker has seen its last stage come back.
    """
    is_open = session.scalar(sa.select(sa.func.count()).where(PendingChangeRow.change == change)) != 0
    delete_stages(session, change, stages)
    session.execute(sa.update(PendingChangeRow).where(PendingChangeRow.change == change).values(is_made=True))
    return is_open


def delete_stages(session: Session, change: str, stage: int = 0) -> None:
    """Delete the stages of a change, starting with this one."""
    session.execute(
        sa.delete(PendingChangeRow).where(PendingChangeRow.change == change, PendingChangeRow.stage >= stage)
    )


def find_pending(session: Session, flag: Flag) -> PendingChangeRow | None:
    """The newest change that was made and has not come back from Unleash, regardless of its age."""
    made = sa.select(PendingChangeRow).where(PendingChangeRow.flag == flag, PendingChangeRow.is_made)
    return session.scalar(made.order_by(PendingChangeRow.at.desc(), PendingChangeRow.stage.desc()).limit(1))


def expire_unfinished(session: Session) -> list[PendingChangeRow]:
    """Delete changes that were in progress and are too old to complete. Returns the last stage of each: their workers
    died before they audited them. Call it under `embedded.lock_flags`."""
    return _delete_old(session, ~PendingChangeRow.is_made)


def expire_made(session: Session) -> list[PendingChangeRow]:
    """Delete changes that were made and should have come back. Returns the last stage of each change. Call it under
    `embedded.lock_flags`, and only while Unleash responds."""
    return _delete_old(session, PendingChangeRow.is_made.is_(True))


def _delete_old(session: Session, which: sa.ColumnElement[bool]) -> list[PendingChangeRow]:
    old = sa.and_(PendingChangeRow.at < now_epoch() - PENDING_EXPIRY_S, which)
    rows = session.scalars(sa.select(PendingChangeRow).where(old).order_by(PendingChangeRow.at, PendingChangeRow.stage))
    last = {row.change: row for row in rows}
    session.execute(sa.delete(PendingChangeRow).where(old))
    return [*last.values()]


def is_last_stage(session: Session, stage: PendingChangeRow) -> bool:
    """True if no later stage of the change is stored."""
    later = sa.select(sa.func.count()).where(
        PendingChangeRow.change == stage.change, PendingChangeRow.stage > stage.stage
    )
    return session.scalar(later) == 0


def match_arrival(session: Session, flag: Flag, now: Rollout) -> PendingChangeRow | None:
    """The stored change that matches the state Unleash sent. It and older made changes are deleted."""
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
    """Delete made changes older than somebody else's change in Unleash at `at` (None: just now): they will not be seen.

    A change in progress stays: it may come afterwards.
    """
    gone = sa.delete(PendingChangeRow).where(PendingChangeRow.flag == flag, PendingChangeRow.is_made)
    session.execute(gone if at is None else gone.where(PendingChangeRow.at < parse_utc(at).timestamp()))
