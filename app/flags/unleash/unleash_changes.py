"""The database side of a change in Unleash: recorded before the request, audited and announced after it."""

import time
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.db import write
from app.eventlog.event_types import ChangeCause
from app.flags import embedded
from app.flags.change_log import RolloutChange, record_change
from app.flags.document import Flag, Rollout
from app.flags.embedded import Precondition
from app.flags.unleash import pending_changes, snapshot_store


@dataclass(frozen=True, slots=True)
class FlagChange:
    """A requested change and its reason; `before` is the state that Unleash's Admin API returned."""

    flag: Flag
    actor: str
    reason: str
    before: Rollout
    after: Rollout
    cause: ChangeCause = "manual"

    @property
    def stages(self) -> list[Rollout]:
        """Switching off comes first and switching on last, so that nobody is let in between the stages."""
        before, after = self.before, self.after
        if before == after:
            return []
        if before.enabled == after.enabled or before.percentage == after.percentage:
            return [after]
        return [Rollout(False, before.percentage if before.enabled else after.percentage), after]


def begin_change(wanted: FlagChange, precondition: Precondition | None) -> tuple[str, float]:
    """Store the change; returns its id and when it was decided (monotonic). Raises what `precondition` raises."""
    with write() as session:
        embedded.lock_flags(session)
        decided = time.monotonic()
        if precondition is not None:
            precondition(session, wanted.before, wanted.after)
        snapshot_store.record_unfinished(session)
        return _store_pending(session, wanted, wanted.stages), decided


def finish_change(wanted: FlagChange, change: str) -> None:
    """Record that Unleash accepted all stages: the change applies now, in every worker that gets the event."""
    is_moved = wanted.before != wanted.after
    with write() as session:
        embedded.lock_flags(session)
        is_first = pending_changes.mark_made(session, change, len(wanted.stages))
        if is_moved and not is_first:
            return  # the worker that saw it come back has recorded and announced it
        entry = _build_entry(wanted, wanted.before, wanted.after)
        record_change(session, wanted.flag, entry)
        if not is_moved:  # Unleash will send nothing new
            embedded.write_rollout(session, wanted.flag, wanted.after, wanted.actor, wanted.reason)
            _hold_until_sent(session, wanted)
        _announce(session, wanted.flag, wanted.after, entry)


def _hold_until_sent(session: Session, wanted: FlagChange) -> None:
    """Apply a state that Unleash already has but may not have sent to the workers yet."""
    held = snapshot_store.load_in_force(session)
    if held is not None and snapshot_store.read_rollout(held, wanted.flag) != wanted.after:
        pending_changes.mark_made(session, _store_pending(session, wanted, [wanted.after]), 1)


def fail_change(wanted: FlagChange, change: str, done: int, why: str) -> Rollout:
    """Record that Unleash accepted only this many stages. Returns the state that was reached."""
    reached = [wanted.before, *wanted.stages][done]
    with write() as session:
        embedded.lock_flags(session)
        if not pending_changes.mark_made(session, change, done):
            return reached
        entry = _build_entry(wanted, wanted.before, reached)
        if done:
            record_change(session, wanted.flag, entry)
        record_change(session, wanted.flag, _build_entry(wanted, reached, wanted.after, why))
        if done:
            _announce(session, wanted.flag, reached, entry)
    return reached


def _announce(session: Session, flag: Flag, now: Rollout, change: RolloutChange) -> None:
    embedded.announce_change(session, flag, now, change, snapshot_store.load_outcome(session, flag))


def _store_pending(session: Session, wanted: FlagChange, stages: list[Rollout]) -> str:
    return pending_changes.record_pending(session, wanted.flag, stages, wanted.actor, wanted.reason, wanted.cause)


def _build_entry(wanted: FlagChange, before: Rollout, after: Rollout, failed: str | None = None) -> RolloutChange:
    return RolloutChange(wanted.actor, wanted.cause, "set", wanted.reason, before, after, failed)
