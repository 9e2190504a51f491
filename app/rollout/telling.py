"""What guardrail and plan say of a flag that they do not move: an entry in the audit, an event that tells people."""

from sqlalchemy.orm import Session

from app.rollout import store
from app.rollout.configuration import Flag, Rollout
from app.rollout.provider import Provider


def say(session: Session, provider: Provider, flag: Flag, actor: str, reason: str, action: str) -> None:
    """Inside `db.write()` and under `store.lock`: audited as this action, and told."""
    here, reason = _here(session, provider, flag), reason[: store.MAX_REASON]
    session.flush()
    store.audited(session, flag, actor, reason, here, here, action=action)
    store.told(session, flag, here, actor, reason)


def tell(session: Session, provider: Provider, flag: Flag, actor: str, reason: str) -> None:
    """The same without an entry."""
    store.told(session, flag, _here(session, provider, flag), actor, reason)


def _here(session: Session, provider: Provider, flag: Flag) -> Rollout:
    """Where it stands now and not when it was looked at: somebody may have switched it off since, and the newest event
    is what everybody takes for true."""
    nominal = provider.view(session, flag).nominal
    return Rollout(nominal.enabled, nominal.percentage)
