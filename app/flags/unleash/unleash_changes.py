"""A change that Beacon makes in Unleash, as its database has it: said before it is asked for, told after."""

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
    """What somebody wants, and why; `before` is where Unleash itself says that the flag stands."""

    flag: Flag
    actor: str
    reason: str
    before: Rollout
    after: Rollout

    @property
    def stages(self) -> list[Rollout]:
        """Off comes first and on comes last, so that nobody is in between who should not be."""
        before, after = self.before, self.after
        if before == after:
            return []
        if before.enabled == after.enabled or before.percentage == after.percentage:
            return [after]
        return [Rollout(False, before.percentage if before.enabled else after.percentage), after]


def begin_change(wanted: FlagChange, precondition: Precondition | None) -> tuple[str, float]:
    """The id of the change, and when it was decided (monotonic). Raises what `precondition` does."""
    with write() as session:
        embedded.lock_flags(session)
        decided = time.monotonic()
        if precondition is not None:
            precondition(session, wanted.before, wanted.after)
        snapshot_store.audit_unfinished(session)
        return pending_changes.record_pending(session, wanted.flag, wanted.stages, wanted.actor, wanted.reason), decided


def finish_change(wanted: FlagChange, change: str) -> None:
    """Unleash has taken all of it: it is in force from now on, in every worker that hears of it."""
    flag, actor, reason, after = wanted.flag, wanted.actor, wanted.reason, wanted.after
    is_moved = wanted.before != after
    with write() as session:
        embedded.lock_flags(session)
        is_first = pending_changes.mark_made(session, change, len(wanted.stages))
        if is_first or not is_moved:
            embedded.audit_change(session, flag, actor, reason, wanted.before, after)
        if not is_moved:  # nothing comes back from Unleash
            embedded.write_rollout(session, flag, after, actor, reason)
            _hold_until_sent(session, wanted)
        if is_first or not is_moved:  # otherwise whoever saw it arrive has told it
            embedded.announce_change(session, flag, after, actor, reason, snapshot_store.load_outcome(session, flag))


def _hold_until_sent(session: Session, wanted: FlagChange) -> None:
    """Unleash has it so already, and may not have sent it: then it is in force by our word."""
    held = snapshot_store.load_in_force(session)
    if held is not None and snapshot_store.read_rollout(held, wanted.flag) != wanted.after:
        change = pending_changes.record_pending(session, wanted.flag, [wanted.after], wanted.actor, wanted.reason)
        pending_changes.mark_made(session, change, 1)


def fail_change(wanted: FlagChange, change: str, done: int, why: str) -> Rollout:
    """Unleash has taken so many stages of it, and no more. Where it stands."""
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
