"""Rollouts stored in Beacon's database: a change writes a row, an audit entry and an event in one commit."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db import now_epoch
from app.eventlog.append import NewEvent, append
from app.eventlog.event_types import ChangeCause, FlagChanged
from app.flags import error_baseline
from app.flags.change_log import RolloutChange, record_change
from app.flags.document import ConfiguredState, Flag, Rollout
from app.flags.models import FlagRow
from app.flags.outcome import PLAIN_OUTCOME, RolloutOutcome
from app.infra.clock import utc_text

MAX_REASON_LENGTH = 500
# Limit for an event's description of other rules, because names in Unleash may be long.
MAX_OUTCOME_LENGTH = 500

Precondition = Callable[[Session, Rollout, Rollout], None]
"""Called in the transaction of a change, under `lock_flags` and before any write, with the old and the new state.
An exception stops the change. Its own writes are committed together with the change."""


class InvalidRollout(ValueError):
    """The requested rollout is invalid; the text says what was expected."""


@dataclass(frozen=True, slots=True)
class StoredRollout:
    """The stored state of a flag and who set it. `actor` and `changed_at` are None if it was never changed.

    `level_since`: when the effective percentage last changed, by the database's clock (seconds since 1970).
    """

    rollout: Rollout
    actor: str | None = None
    changed_at: str | None = None
    level_since: float = 0.0


@dataclass(frozen=True, slots=True)
class ExpectedState:
    """The state that a caller saw before deciding; None matches anything. `changed_at` is the time of the change they
    saw, empty for a flag that was never changed. It is compared because a flag that is back at the same percentage has
    still been changed by somebody else."""

    percentage: float | None = None
    enabled: bool | None = None
    changed_at: str | None = None

    def matches(self, now: Rollout, changed_at: str | None) -> bool:
        if self.changed_at not in (None, changed_at or ""):
            return False
        return self.percentage in (None, now.percentage) and self.enabled in (None, now.enabled)


class StoredRolloutConflict(Exception):
    """The flag no longer has the expected state; `now` is the current one."""

    def __init__(self, now: StoredRollout) -> None:
        super().__init__(f"now at {now.rollout.percentage} %")
        self.now = now


def parse_flag(name: str) -> Flag:
    try:
        return Flag(name)
    except ValueError:
        raise InvalidRollout(f"unknown flag {name}; known flags: {', '.join(Flag)}") from None


def load_rollout(session: Session, flag: Flag) -> StoredRollout:
    row = session.get(FlagRow, flag)
    return (
        StoredRollout(Rollout())
        if row is None
        else StoredRollout(_to_rollout(row), row.actor, row.changed_at, row.level_since)
    )


def load_rollout_with_reason(session: Session, flag: Flag) -> tuple[StoredRollout, str]:
    """The stored state and the reason of its last change."""
    row = session.get(FlagRow, flag)
    return load_rollout(session, flag), "" if row is None else row.reason


def load_all_rollouts(session: Session) -> dict[str, Rollout]:
    """The state of every flag. A flag without a row was never changed and is at 0 %."""
    kept = {row.name: _to_rollout(row) for row in session.scalars(sa.select(FlagRow))}
    return {flag: kept.get(flag, Rollout()) for flag in Flag}


def validate_change(reason: str, percentage: float | None) -> None:
    """Raises `InvalidRollout`."""
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
    cause: ChangeCause = "manual",
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
    change = RolloutChange(actor, cause, "set", reason, before, after)
    record_change(session, flag, change)
    announce_change(session, flag, after, change)
    return after


def write_rollout(session: Session, flag: Flag, after: Rollout, actor: str, reason: str, at: str | None = None) -> None:
    """Write the row, and the error baseline if the flag goes up from 0. The first write of a change.

    `at` is the time the author of the change gives. `level_since` uses the database's clock, like the client reports.
    Setting the value that is already set does not restart the guardrail's window.
    """
    before, now = load_rollout(session, flag), session.scalar(sa.select(now_epoch())) or 0.0
    if before.rollout.level == 0 != after.level:
        error_baseline.record_baseline(session, flag, now, before.level_since)
    since = before.level_since if before.rollout.level == after.level else now
    changed = {"actor": actor, "reason": reason, "changed_at": at or utc_text(), "level_since": since}
    session.merge(FlagRow(name=flag, **asdict(after), **changed))


def announce_change(
    session: Session, flag: Flag, now: Rollout, change: RolloutChange, outcome: RolloutOutcome = PLAIN_OUTCOME
) -> None:
    """Append the event: the last write of a change. `now` is the flag's current state. `outcome`: the effect of rules
    besides switch and percentage."""
    said = (
        None
        if outcome.is_plain
        else outcome.describe(ConfiguredState(now.enabled, now.percentage))[:MAX_OUTCOME_LENGTH]
    )
    payload = FlagChanged(
        flag=flag,
        **asdict(now),
        actor=change.actor,
        reason=change.reason,
        cause=change.cause,
        kind=change.kind,
        outcome=said,
        nobody_in=True if now.enabled and outcome.why_nobody else None,
    )
    append(session, [NewEvent("flag.changed", payload)])


def lock_flags(session: Session) -> None:
    """Block other flag changes until this transaction ends. An advisory lock, because the row may not exist yet."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(sa.text("SELECT pg_advisory_xact_lock(4207003)"))


def _lock_and_load(session: Session, flag: Flag, expected: ExpectedState | None) -> Rollout:
    """Lock the flags and return the current state of this one. Raises `StoredRolloutConflict`."""
    lock_flags(session)
    now = load_rollout(session, flag)
    if expected is not None and not expected.matches(now.rollout, now.changed_at):
        raise StoredRolloutConflict(now)
    return now.rollout


def _to_rollout(row: FlagRow) -> Rollout:
    return Rollout(row.enabled, row.percentage)
