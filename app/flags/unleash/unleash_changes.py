"""The database side of a change in Unleash: recorded before the request, audited and announced after it."""

import time
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.db import write
from app.flags import embedded
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
    """Record the change; returns its id and when it was decided (monotonic). Raises what `precondition` raises."""
    with write() as session:
        embedded.lock_flags(session)
        decided = time.monotonic()
        if precondition is not None:
            precondition(session, wanted.before, wanted.after)
        snapshot_store.audit_unfinished(session)
        return pending_changes.record_pending(session, wanted.flag, wanted.stages, wanted.actor, wanted.reason), decided


def finish_change(wanted: FlagChange, change: str) -> None:
    """Record that Unleash accepted all stages: the change applies now, in every worker that gets the event."""
    flag, actor, reason, after = wanted.flag, wanted.actor, wanted.reason, wanted.after
    is_moved = wanted.before != after
    with write() as session:
        embedded.lock_flags(session)
        is_first = pending_changes.mark_made(session, change, len(wanted.stages))
        if is_first or not is_moved:
            embedded.audit_change(session, flag, actor, reason, wanted.before, after)
        if not is_moved:  # Unleash will send nothing new
            embedded.write_rollout(session, flag, after, actor, reason)
            _hold_until_sent(session, wanted)
        if is_first or not is_moved:  # otherwise the worker that saw it come back has announced it
            embedded.announce_change(session, flag, after, actor, reason, snapshot_store.load_outcome(session, flag))


def _hold_until_sent(session: Session, wanted: FlagChange) -> None:
    """Apply a state that Unleash already has but may not have sent to the workers yet."""
    held = snapshot_store.load_in_force(session)
    if held is not None and snapshot_store.read_rollout(held, wanted.flag) != wanted.after:
        change = pending_changes.record_pending(session, wanted.flag, [wanted.after], wanted.actor, wanted.reason)
        pending_changes.mark_made(session, change, 1)


def fail_change(wanted: FlagChange, change: str, done: int, why: str) -> Rollout:
    """Record that Unleash accepted only this many stages. Returns the state that was reached."""
    flag, actor, reason = wanted.flag, wanted.actor, wanted.reason
    reached = [wanted.before, *wanted.stages][done]
    with write() as session:
        embedded.lock_flags(session)
        if not pending_changes.mark_made(session, change, done):
            return reached
        if done:
            embedded.audit_change(session, flag, actor, reason, wanted.before, reached)
        embedded.audit_change(session, flag, actor, reason, reached, wanted.after, failed=why)
        if done:
            embedded.announce_change(session, flag, reached, actor, reason, snapshot_store.load_outcome(session, flag))
    return reached
