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
from app.flags.document import ConfiguredState, Flag, Rollout
from app.flags.models import FlagRow
from app.flags.outcome import PLAIN_OUTCOME, RolloutOutcome
from app.infra.clock import utc_text

MAX_REASON_LENGTH = 500
# Of what an event says of the other rules: names in Unleash may be long.
MAX_OUTCOME_LENGTH = 500

Precondition = Callable[[Session, Rollout, Rollout], None]
"""Called in a change's own transaction, under `lock` and before anything is written, with where the flag stands and
what it is to be. What it raises stops the change; what it writes is committed with it."""


class InvalidRollout(ValueError):
    """The rollout cannot be set so; the text says what was expected."""


@dataclass(frozen=True, slots=True)
class StoredRollout:
    """Where a flag stands and who put it there; `actor` and `changed_at` are None for one that nobody touched.

    `level_since`: when more or fewer people were let in last, by the database's clock (seconds since 1970).
    """

    rollout: Rollout
    actor: str | None = None
    changed_at: str | None = None
    level_since: float = 0.0


@dataclass(frozen=True, slots=True)
class ExpectedState:
    """What somebody saw before deciding; None is whatever it may be. `changed_at`: since when it stood so, empty for a
    flag that nobody had touched; back at the same percentage is not where it was, as others decided that meanwhile."""

    percentage: float | None = None
    enabled: bool | None = None
    changed_at: str | None = None

    def matches(self, now: Rollout, changed_at: str | None) -> bool:
        if self.changed_at not in (None, changed_at or ""):
            return False
        return self.percentage in (None, now.percentage) and self.enabled in (None, now.enabled)


class StoredRolloutConflict(Exception):
    """The flag no longer stands where it was seen, but at `now`."""

    def __init__(self, now: StoredRollout) -> None:
        super().__init__(f"at {now.rollout.percentage} % by now")
        self.now = now


def parse_flag(name: str) -> Flag:
    try:
        return Flag(name)
    except ValueError:
        raise InvalidRollout(f"there is no flag {name}; there is {', '.join(Flag)}") from None


def load_rollout(session: Session, flag: Flag) -> StoredRollout:
    row = session.get(FlagRow, flag)
    return (
        StoredRollout(Rollout())
        if row is None
        else StoredRollout(_to_rollout(row), row.actor, row.changed_at, row.level_since)
    )


def load_rollout_with_reason(session: Session, flag: Flag) -> tuple[StoredRollout, str]:
    """Where it stands, and why."""
    row = session.get(FlagRow, flag)
    return load_rollout(session, flag), "" if row is None else row.reason


def load_all_rollouts(session: Session) -> dict[str, Rollout]:
    """Where each flag stands; one without a row was never touched and is at 0 %."""
    kept = {row.name: _to_rollout(row) for row in session.scalars(sa.select(FlagRow))}
    return {flag: kept.get(flag, Rollout()) for flag in Flag}


def validate_change(reason: str, percentage: float | None) -> None:
    """Raises `BadRollout`."""
    if percentage is not None and not 0 <= percentage <= 100:
        raise InvalidRollout("a percentage is a whole number from 0 to 100")
    if not reason.strip() or len(reason) > MAX_REASON_LENGTH:
        raise InvalidRollout(f"a reason has 1 to {MAX_REASON_LENGTH} characters: people will want to know why")


def change_rollout(
    session: Session,
    flag: Flag,
    actor: str,
    reason: str,
    percentage: float | None = None,
    enabled: bool | None = None,
    expected: ExpectedState | None = None,
    precondition: Precondition | None = None,
) -> Rollout:
    """Set what is given, keep the rest. Call it last inside `db.write()`.

    Raises `InvalidRollout`, `StoredRolloutConflict` if the flag is not as `expected`, and what `precondition` raises.
    Nothing is changed in these cases.
    """
    validate_change(reason, percentage)
    before = _lock_and_load(session, flag, expected)
    after = Rollout(
        before.enabled if enabled is None else enabled, before.percentage if percentage is None else percentage
    )
    if precondition is not None:
        precondition(session, before, after)
    write_rollout(session, flag, after, actor, reason)
    audit_change(session, flag, actor, reason, before, after)
    announce_change(session, flag, after, actor, reason)
    return after


def write_rollout(session: Session, flag: Flag, after: Rollout, actor: str, reason: str, at: str | None = None) -> None:
    """The row alone, and what is compared with later: first of what a change writes.

    `at` is the word of whoever changed it. Evidence is dated by the database's clock, so `level_since` is too; and
    setting what is set already starts no window anew, however often a program does it.
    """
    before, now = load_rollout(session, flag), session.scalar(sa.select(now_epoch())) or 0.0
    if before.rollout.level == 0 != after.level:
        error_baseline.record_baseline(session, flag, now, before.level_since)
    since = before.level_since if before.rollout.level == after.level else now
    changed = {"actor": actor, "reason": reason, "changed_at": at or utc_text(), "level_since": since}
    session.merge(FlagRow(name=flag, **_to_columns(after), **changed))


def audit_change(
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
            before=None if before is None else _to_columns(before),
            after=_to_columns(after),
            params={"reason": reason},
            logs=[failed] if failed else [],
        ),
    )


def announce_change(
    session: Session, flag: Flag, after: Rollout, actor: str, reason: str, outcome: RolloutOutcome = PLAIN_OUTCOME
) -> None:
    """The event: last of what a change writes. `outcome`: what other rules than switch and percentage say."""
    said = (
        None
        if outcome.is_plain
        else outcome.describe(ConfiguredState(after.enabled, after.percentage))[:MAX_OUTCOME_LENGTH]
    )
    payload = FlagChanged(
        flag=flag, enabled=after.enabled, percentage=after.percentage, actor=actor, reason=reason, outcome=said
    )
    append(session, [NewEvent("flag.changed", payload)])


def lock_flags(session: Session) -> None:
    """Nobody else moves a flag until this transaction ends: its row may not be there to be locked yet."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(sa.text("SELECT pg_advisory_xact_lock(4207003)"))


def _lock_and_load(session: Session, flag: Flag, expected: ExpectedState | None) -> Rollout:
    """Where the flag stands, and stays."""
    lock_flags(session)
    now = load_rollout(session, flag)
    if expected is not None and not expected.matches(now.rollout, now.changed_at):
        raise StoredRolloutConflict(now)
    return now.rollout


def _to_rollout(row: FlagRow) -> Rollout:
    return Rollout(row.enabled, row.percentage)


def _to_columns(rollout: Rollout) -> dict[str, float | bool | None]:
    return {"enabled": rollout.enabled, "percentage": rollout.percentage}
