"""The rollout as it is kept in the database; a change is a row, an audit entry and an event in one commit."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import chain
from app.clock import utc_text
from app.eventlog.append import NewEvent, append
from app.eventlog.payloads import FlagChanged
from app.rollout.flags import Flag, Rollout
from app.rollout.models import FlagRow

MAX_REASON = 500


class BadRollout(ValueError):
    """The rollout cannot be set so; the text says what was expected."""


def flag_named(name: str) -> Flag:
    try:
        return Flag(name)
    except ValueError:
        raise BadRollout(f"there is no flag {name}; there is {', '.join(Flag)}") from None


def every(session: Session) -> dict[str, Rollout]:
    """Where each flag stands; one without a row was never touched and is at 0 %."""
    kept = {row.name: Rollout(row.enabled, row.percentage) for row in session.scalars(sa.select(FlagRow))}
    return {flag: kept.get(flag, Rollout()) for flag in Flag}


def change(
    session: Session, flag: Flag, actor: str, reason: str, percentage: int | None = None, enabled: bool | None = None
) -> Rollout:
    """Set what is given and keep the rest; call it last inside `db.write()`. Raises `BadRollout`."""
    if percentage is not None and not 0 <= percentage <= 100:
        raise BadRollout("a percentage is a whole number from 0 to 100")
    if not reason.strip() or len(reason) > MAX_REASON:
        raise BadRollout(f"a reason has 1 to {MAX_REASON} characters: people will want to know why")
    before = every(session)[flag]
    after = Rollout(
        before.enabled if enabled is None else enabled, before.percentage if percentage is None else percentage
    )
    session.merge(FlagRow(name=flag, **_figures(after), actor=actor, reason=reason, changed_at=utc_text()))
    entry = chain.Entry(actor, "rollout-set", flag, before=_figures(before), after=_figures(after))
    chain.record(session, entry)
    payload = FlagChanged(flag=flag, enabled=after.enabled, percentage=after.percentage, actor=actor, reason=reason)
    append(session, [NewEvent("flag.changed", payload)])
    return after


def _figures(rollout: Rollout) -> dict[str, int | bool]:
    return {"enabled": rollout.enabled, "percentage": rollout.percentage}
