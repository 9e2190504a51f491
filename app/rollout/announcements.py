"""Events of the guardrail and the plan that do not change the flag itself."""

from typing import Literal

from sqlalchemy.orm import Session

from app.eventlog.event_types import ChangeKind
from app.flags import embedded
from app.flags.change_log import RolloutChange, record_change
from app.flags.document import Flag, Rollout
from app.flags.provider import Provider

# What changes flags without a person; each is also the actor of its changes, a name that no user can have.
Controller = Literal["guardrail", "plan"]


def announce(
    session: Session,
    provider: Provider,
    flag: Flag,
    cause: Controller,
    kind: ChangeKind,
    reason: str,
    *,
    record: bool = False,
) -> None:
    """Append the event, with `record` also the entry of the history. Call it inside `db.write()` and under
    `embedded.lock_flags`.

    It has the current state, not the one seen before: somebody may have switched the flag off since, and everybody
    trusts the newest event.
    """
    view, reason = provider.view(session, flag), reason[: embedded.MAX_REASON_LENGTH]
    here = Rollout(view.state.enabled, view.state.percentage)
    change = RolloutChange(cause, cause, kind, reason, here, here)
    if record:
        record_change(session, flag, change)
    embedded.announce_change(session, flag, here, change, view.outcome)
