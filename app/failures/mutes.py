"""Mutes one cause of failures for everybody until some time: it stands apart, and nobody is notified of it."""

from datetime import datetime

from sqlalchemy.orm import Session

from app.audit import chain
from app.eventlog.append import NewEvent, append
from app.eventlog.event_types import FailureMuted
from app.failures.grouping import describe_cause
from app.failures.models import FailureGroup
from app.failures.summaries import summarize
from app.infra.clock import utc_now, utc_text


class UnknownGroup(ValueError):
    """There is no cause with this id."""


def mute_group(session: Session, group_id: str, actor: str, until: datetime | None) -> FailureGroup:
    """Mute a cause until then; None, or a time that is over, unmutes it. Raises `UnknownGroup`."""
    group = session.get(FailureGroup, group_id, with_for_update=True)
    if group is None:
        raise UnknownGroup(group_id)
    now = utc_now()
    end = until if until is not None and until > now else None
    before = {"until": group.muted_until, "by": group.muted_by} if is_muted(group, utc_text(now)) else None
    if end is None and before is None:
        return group
    group.muted_until, group.muted_by = (utc_text(end), actor) if end else (None, None)
    title = describe_cause(group.function, group.error_type)
    entry = chain.Entry(
        actor,
        "mute-failures" if end else "unmute-failures",
        group.service_id,
        before=before,
        after={"until": group.muted_until, "by": group.muted_by} if end else None,
        params={"group": group.id, "cause": title},
    )
    chain.record(session, entry)
    payload = FailureMuted(group=group.id, service=group.service_id, title=title, actor=actor, until=end)
    session.flush()
    summary = summarize(session, [group.service_id])[group.service_id]
    append(session, [NewEvent("reconciliation.cause_muted", payload), NewEvent("reconciliation.failures", summary)])
    return group


def is_muted(group: FailureGroup, now: str) -> bool:
    return group.muted_until is not None and group.muted_until > now
