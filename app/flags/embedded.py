"""The rollout as it is kept in the database; a change is a row, an audit entry and an event in one commit."""

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import chain
from app.db import now_epoch
from app.eventlog.append import NewEvent, append
from app.eventlog.event_types import FlagChanged
from app.flags import error_baseline
from app.flags.document import Flag, Nominal, Rollout
from app.flags.models import FlagRow
from app.flags.outcome import PLAIN, Outcome
from app.infra.clock import utc_text

MAX_REASON = 500
# Of what an event says of the other rules: names in Unleash may be long.
MAX_OUTCOME = 500

Within = Callable[[Session, Rollout, Rollout], None]
"""Called in a change's own transaction, under `lock` and before anything is written, with where the flag stands and
what it is to be. What it raises stops the change; what it writes is committed with it."""


class BadRollout(ValueError):
    """The rollout cannot be set so; the text says what was expected."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a flag stands and who put it there; `actor` and `changed_at` are None for one that nobody touched.

    `level_since`: when more or fewer people were let in last, by the database's clock (seconds since 1970).
    """

    rollout: Rollout
    actor: str | None = None
    changed_at: str | None = None
    level_since: float = 0.0


@dataclass(frozen=True, slots=True)
class Expected:
    """What somebody saw before deciding; None is whatever it may be. `changed_at`: since when it stood so, empty for a
    flag that nobody had touched; back at the same percentage is not where it was, as others decided that meanwhile."""

    percentage: float | None = None
    enabled: bool | None = None
    changed_at: str | None = None

    def is_met_by(self, now: Rollout, changed_at: str | None) -> bool:
        if self.changed_at not in (None, changed_at or ""):
            return False
        return self.percentage in (None, now.percentage) and self.enabled in (None, now.enabled)


class Moved(Exception):
    """The flag no longer stands where it was seen, but at `now`."""

    def __init__(self, now: Standing) -> None:
        super().__init__(f"at {now.rollout.percentage} % by now")
        self.now = now


def flag_named(name: str) -> Flag:
    try:
        return Flag(name)
    except ValueError:
        raise BadRollout(f"there is no flag {name}; there is {', '.join(Flag)}") from None


def standing(session: Session, flag: Flag) -> Standing:
    row = session.get(FlagRow, flag)
    return Standing(Rollout()) if row is None else Standing(_rollout(row), row.actor, row.changed_at, row.level_since)


def reasoned(session: Session, flag: Flag) -> tuple[Standing, str]:
    """Where it stands, and why."""
    row = session.get(FlagRow, flag)
    return standing(session, flag), "" if row is None else row.reason


def every(session: Session) -> dict[str, Rollout]:
    """Where each flag stands; one without a row was never touched and is at 0 %."""
    kept = {row.name: _rollout(row) for row in session.scalars(sa.select(FlagRow))}
    return {flag: kept.get(flag, Rollout()) for flag in Flag}


def check(reason: str, percentage: float | None) -> None:
    """Raises `BadRollout`."""
    if percentage is not None and not 0 <= percentage <= 100:
        raise BadRollout("a percentage is a whole number from 0 to 100")
    if not reason.strip() or len(reason) > MAX_REASON:
        raise BadRollout(f"a reason has 1 to {MAX_REASON} characters: people will want to know why")


def change(
    session: Session,
    flag: Flag,
    actor: str,
    reason: str,
    percentage: float | None = None,
    enabled: bool | None = None,
    expected: Expected | None = None,
    within: Within | None = None,
) -> Rollout:
    """Set what is given and keep the rest; call it last inside `db.write()`.

    Raises `BadRollout`, `Moved` where the flag is not as `expected`, and what `within` raises; nothing is changed then.
    """
    check(reason, percentage)
    before = _locked(session, flag, expected)
    after = Rollout(
        before.enabled if enabled is None else enabled, before.percentage if percentage is None else percentage
    )
    if within is not None:
        within(session, before, after)
    move(session, flag, after, actor, reason)
    audited(session, flag, actor, reason, before, after)
    told(session, flag, after, actor, reason)
    return after


def move(session: Session, flag: Flag, after: Rollout, actor: str, reason: str, at: str | None = None) -> None:
    """The row alone, and what is compared with later: first of what a change writes.

    `at` is the word of whoever changed it. Evidence is dated by the database's clock, so `level_since` is too; and
    setting what is set already starts no window anew, however often a program does it.
    """
    before, now = standing(session, flag), session.scalar(sa.select(now_epoch())) or 0.0
    if before.rollout.level == 0 != after.level:
        error_baseline.keep(session, flag, now, before.level_since)
    since = before.level_since if before.rollout.level == after.level else now
    changed = {"actor": actor, "reason": reason, "changed_at": at or utc_text(), "level_since": since}
    session.merge(FlagRow(name=flag, **_figures(after), **changed))


def audited(
    session: Session,
    flag: Flag,
    actor: str,
    reason: str,
    before: Rollout | None,
    after: Rollout,
    *,
    failed: str | None = None,
    action: str = "rollout-set",
) -> None:
    """The entry of a change; `failed` says why one that was tried did not come about. `before` is None where nobody
    knows."""
    chain.record(
        session,
        chain.Entry(
            actor,
            action,
            flag,
            outcome="failure" if failed else "success",
            before=None if before is None else _figures(before),
            after=_figures(after),
            params={"reason": reason},
            logs=[failed] if failed else [],
        ),
    )


def told(session: Session, flag: Flag, after: Rollout, actor: str, reason: str, outcome: Outcome = PLAIN) -> None:
    """The event: last of what a change writes. `outcome`: what other rules than switch and percentage say."""
    said = None if outcome.is_plain else outcome.describe(Nominal(after.enabled, after.percentage))[:MAX_OUTCOME]
    payload = FlagChanged(
        flag=flag, enabled=after.enabled, percentage=after.percentage, actor=actor, reason=reason, outcome=said
    )
    append(session, [NewEvent("flag.changed", payload)])


def lock(session: Session) -> None:
    """Nobody else moves a flag until this transaction ends: its row may not be there to be locked yet."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(sa.text("SELECT pg_advisory_xact_lock(4207003)"))


def _locked(session: Session, flag: Flag, expected: Expected | None) -> Rollout:
    """Where the flag stands, and stays."""
    lock(session)
    now = standing(session, flag)
    if expected is not None and not expected.is_met_by(now.rollout, now.changed_at):
        raise Moved(now)
    return now.rollout


def _rollout(row: FlagRow) -> Rollout:
    return Rollout(row.enabled, row.percentage)


def _figures(rollout: Rollout) -> dict[str, float | bool | None]:
    return {"enabled": rollout.enabled, "percentage": rollout.percentage}
