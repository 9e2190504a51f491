"""What guardrail and plan say of a flag that they do not move: an entry in the audit, an event that tells people."""

from sqlalchemy.orm import Session

from app.flags import embedded
from app.flags.document import Flag, Rollout
from app.flags.outcome import Outcome
from app.flags.provider import Provider


def say(session: Session, provider: Provider, flag: Flag, actor: str, reason: str, action: str) -> None:
    """Inside `db.write()` and under `store.lock`: audited as this action, and told."""
    (here, outcome), reason = _here(session, provider, flag), reason[: embedded.MAX_REASON]
    session.flush()
    embedded.audited(session, flag, actor, reason, here, here, action=action)
    embedded.told(session, flag, here, actor, reason, outcome)


def tell(session: Session, provider: Provider, flag: Flag, actor: str, reason: str) -> None:
    """The same without an entry."""
    here, outcome = _here(session, provider, flag)
    embedded.told(session, flag, here, actor, reason, outcome)


def _here(session: Session, provider: Provider, flag: Flag) -> tuple[Rollout, Outcome]:
    """Where it stands now and not when it was looked at: somebody may have switched it off since, and the newest event
    is what everybody takes for true."""
    view = provider.view(session, flag)
    return Rollout(view.nominal.enabled, view.nominal.percentage), view.outcome
