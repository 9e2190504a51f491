"""A change that Beacon makes in Unleash, as its database has it: said before it is asked for, told after."""

import time
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.db import write
from app.rollout import intents, kept, store
from app.rollout.configuration import Flag, Rollout
from app.rollout.store import Within


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


def begin(wanted: FlagChange, within: Within | None) -> tuple[str, float]:
    """The id of the change, and when it was decided (monotonic). Raises what `within` does."""
    with write() as session:
        store.lock(session)
        decided = time.monotonic()
        if within is not None:
            within(session, wanted.before, wanted.after)
        kept.unfinished(session)
        return intents.intend(session, wanted.flag, wanted.stages, wanted.actor, wanted.reason), decided


def finish(wanted: FlagChange, change: str) -> None:
    """Unleash has taken all of it: it is in force from now on, in every worker that hears of it."""
    flag, actor, reason, after = wanted.flag, wanted.actor, wanted.reason, wanted.after
    is_moved = wanted.before != after
    with write() as session:
        store.lock(session)
        is_first = intents.made(session, change, len(wanted.stages))
        if is_first or not is_moved:
            store.audited(session, flag, actor, reason, wanted.before, after)
        if not is_moved:  # nothing comes back from Unleash
            store.move(session, flag, after, actor, reason)
            _hold(session, wanted)
        if is_first or not is_moved:  # otherwise whoever saw it arrive has told it
            store.told(session, flag, after, actor, reason, kept.outcome(session, flag))


def _hold(session: Session, wanted: FlagChange) -> None:
    """Unleash has it so already, and may not have sent it: then it is in force by our word."""
    held = kept.in_force(session)
    if held is not None and kept.rollout(held, wanted.flag) != wanted.after:
        change = intents.intend(session, wanted.flag, [wanted.after], wanted.actor, wanted.reason)
        intents.made(session, change, 1)


def fail(wanted: FlagChange, change: str, done: int, why: str) -> Rollout:
    """Unleash has taken so many stages of it, and no more. Where it stands."""
    flag, actor, reason = wanted.flag, wanted.actor, wanted.reason
    reached = [wanted.before, *wanted.stages][done]
    with write() as session:
        store.lock(session)
        if not intents.made(session, change, done):
            return reached
        if done:
            store.audited(session, flag, actor, reason, wanted.before, reached)
        store.audited(session, flag, actor, reason, reached, wanted.after, failed=why)
        if done:
            store.told(session, flag, reached, actor, reason, kept.outcome(session, flag))
    return reached
