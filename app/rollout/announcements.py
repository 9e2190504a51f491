"""What guardrail and plan say of a flag that they do not move: an entry in the audit, an event that tells people."""

from sqlalchemy.orm import Session

from app.flags import embedded
from app.flags.document import Flag, Rollout
from app.flags.outcome import RolloutOutcome
from app.flags.provider import Provider


def announce_and_audit(session: Session, provider: Provider, flag: Flag, actor: str, reason: str, action: str) -> None:
    """Inside `db.write()` and under `store.lock`: audited as this action, and told."""
    (here, outcome), reason = _read_current(session, provider, flag), reason[: embedded.MAX_REASON_LENGTH]
    session.flush()
    embedded.audit_change(session, flag, actor, reason, here, here, action=action)
    embedded.announce_change(session, flag, here, actor, reason, outcome)


def announce(session: Session, provider: Provider, flag: Flag, actor: str, reason: str) -> None:
    """The same without an entry."""
    here, outcome = _read_current(session, provider, flag)
    embedded.announce_change(session, flag, here, actor, reason, outcome)


def _read_current(session: Session, provider: Provider, flag: Flag) -> tuple[Rollout, RolloutOutcome]:
    """Where it stands now and not when it was looked at: somebody may have switched it off since, and the newest event
    is what everybody takes for true."""
    view = provider.view(session, flag)
    return Rollout(view.state.enabled, view.state.percentage), view.outcome
