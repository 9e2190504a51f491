"""Reads the history of a flag: who changed what, when and why, and which percentages it had."""

import math
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.flags.change_log import RolloutChange, to_change
from app.flags.document import Flag, Rollout
from app.flags.models import RolloutChangeRow

DEFAULT_ENTRIES = 50


def load_entries(session: Session, flag: Flag, limit: int = DEFAULT_ENTRIES) -> list[RolloutChange]:
    """The newest entries, newest first."""
    query = sa.select(RolloutChangeRow).where(RolloutChangeRow.flag == flag)
    return [to_change(row) for row in session.scalars(query.order_by(RolloutChangeRow.id.desc()).limit(limit))]


def load_percentages(session: Session, flag: Flag) -> list[float]:
    """The percentages before each of the newest changes, newest last, where known."""
    row = RolloutChangeRow
    query = sa.select(row.before_percentage).where(row.flag == flag, row.kind == "set", row.failed.is_(None))
    newest = session.scalars(query.order_by(row.id.desc()).limit(DEFAULT_ENTRIES)).all()
    return [percentage for percentage in reversed(newest) if percentage is not None]


def find_decrease(entries: Sequence[RolloutChange]) -> RolloutChange | None:
    """The last change of the effective percentage, if it was a decrease; None otherwise. Pure."""
    last = next((entry for entry in entries if entry.has_moved_users), None)
    if last is None or last.before is None or last.after is None:
        return None
    return last if is_lower(last.after, last.before) else None


def is_lower(one: Rollout, other: Rollout) -> bool:
    """True if fewer users are in. An unknown percentage counts as more than any known one."""
    return _sort_level(one) < _sort_level(other)


def _sort_level(rollout: Rollout) -> float:
    return math.inf if rollout.level is None else rollout.level


def find_first_increase(entries: Sequence[RolloutChange]) -> RolloutChange | None:
    """The increase that started the current rollout, or the one taken back last: the newest increase from 0.
    None if it is older than these entries. Pure."""
    begun = (
        entry for entry in entries if entry.has_moved_users and entry.before is not None and entry.after is not None
    )
    return next(
        (entry for entry in begun if entry.before and entry.after and _is_first_increase(entry.before, entry.after)),
        None,
    )


def _is_first_increase(before: Rollout, after: Rollout) -> bool:
    return before.level == 0 != after.level
