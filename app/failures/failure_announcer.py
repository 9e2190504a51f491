"""Decides what the log hears of a service's failed jobs: every change of their summary, and each new cause once."""

import time
from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.eventlog.append import NewEvent
from app.eventlog.event_types import FailuresUpdate, NewCauses
from app.failures.models import FailureGroup
from app.failures.summaries import RECENT, is_muted, name_causes, summarize
from app.infra.clock import utc_now, utc_text

MAX_NEW_NAMED = 10
# New causes of one service are announced together, at most this often: each announcement notifies people.
NEW_CAUSES_INTERVAL_S = 60.0


class FailureAnnouncer:
    """Remembers what was announced of one service. Used by one loop."""

    def __init__(self) -> None:
        self._announced: FailuresUpdate | None = None
        self._new: set[str] = set()
        self._new_announced_at: float | None = None

    def add_new(self, group_ids: Iterable[str]) -> None:
        self._new.update(group_ids)

    def is_due(self) -> bool:
        """True if something is to be announced although nothing has changed: a cause that is no longer recent, or new
        causes that waited."""
        causes = self._announced.causes if self._announced else ()
        is_over = any(utc_now() - cause.last_at >= RECENT for cause in causes)
        return is_over or bool(self._new and self._may_announce_new())

    def take_events(self, session: Session, service_id: str) -> list[NewEvent]:
        """What to append now. It counts as announced from here on."""
        events = list[NewEvent]()
        summary = summarize(session, [service_id])[service_id]
        if summary != self._announced and (self._announced is not None or summary.failed):
            events.append(NewEvent("reconciliation.failures", summary))
        self._announced = summary
        if self._new and self._may_announce_new():
            found = _build_new_causes(session, service_id, sorted(self._new))
            self._new.clear()
            if found is not None:
                events.append(NewEvent("reconciliation.new_causes", found))
                self._new_announced_at = time.monotonic()
        return events

    def _may_announce_new(self) -> bool:
        at = self._new_announced_at
        return at is None or time.monotonic() - at >= NEW_CAUSES_INTERVAL_S


def _build_new_causes(session: Session, service_id: str, group_ids: Sequence[str]) -> NewCauses | None:
    """Those of the new groups that still have failed jobs and are not muted; None if there is none."""
    wanted = (FailureGroup.id.in_(group_ids), FailureGroup.jobs > 0, sa.not_(is_muted(utc_text())))
    groups = session.scalars(sa.select(FailureGroup).where(*wanted)).all()
    if not groups:
        return None
    more = max(0, len(groups) - MAX_NEW_NAMED) or None
    return NewCauses(service=service_id, causes=name_causes(groups, MAX_NEW_NAMED), more_causes=more)
