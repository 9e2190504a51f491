"""Audit entries and events of the guardrail and the plan that do not change the flag itself."""

from sqlalchemy.orm import Session

from app.flags import embedded
from app.flags.document import Flag, Rollout
from app.flags.outcome import RolloutOutcome
from app.flags.provider import Provider


def announce_and_audit(session: Session, provider: Provider, flag: Flag, actor: str, reason: str, action: str) -> None:
    """Audit this action and append the event. Call it inside `db.write()` and under `embedded.lock_flags`."""
    (here, outcome), reason = _read_current(session, provider, flag), reason[: embedded.MAX_REASON_LENGTH]
    session.flush()
    embedded.audit_change(session, flag, actor, reason, here, here, action=action)
    embedded.announce_change(session, flag, here, actor, reason, outcome)


def announce(session: Session, provider: Provider, flag: Flag, actor: str, reason: str) -> None:
    """Append the event without an audit entry."""
    here, outcome = _read_current(session, provider, flag)
    embedded.announce_change(session, flag, here, actor, reason, outcome)


def _read_current(session: Session, provider: Provider, flag: Flag) -> tuple[Rollout, RolloutOutcome]:
    """The current state, not the one seen before: somebody may have switched the flag off since, and everybody trusts
    the newest event."""
    view = provider.view(session, flag)
    return Rollout(view.state.enabled, view.state.percentage), view.outcome
