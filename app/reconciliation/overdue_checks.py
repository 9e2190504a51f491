"""Finds services whose checks have stopped, for whatever reason: they must not look fresh for ever."""

import time
from collections.abc import Sequence
from datetime import timedelta

import sqlalchemy as sa

from app.db import read
from app.infra.clock import utc_text
from app.infra.lease import LeaseClaim
from app.reconciliation.loader import database_now
from app.reconciliation.models import Service, ServiceState

SEARCH_EVERY_S = 5.0


class OverdueChecks:
    """Searches every few seconds in the process that polls."""

    def __init__(self, stale_after: timedelta) -> None:
        self._after = stale_after + timedelta(seconds=SEARCH_EVERY_S)
        self._claim: LeaseClaim | None = None
        self._look_at = 0.0

    def find(self, claim: LeaseClaim) -> Sequence[str]:
        """Services without any recorded check, good or bad, for longer than makes a service stale; also new ones.

        A process that has just taken the lease has checked nothing yet: its own polls come first.
        """
        now = time.monotonic()
        if self._claim != claim:
            self._claim, self._look_at = claim, now + self._after.total_seconds()
        if now < self._look_at:
            return ()
        self._look_at = now + SEARCH_EVERY_S
        return _find_overdue(self._after)


def _find_overdue(after: timedelta) -> Sequence[str]:
    with read() as session:
        before = utc_text(database_now(session) - after)
        fresh = sa.or_(ServiceState.status.is_(None), ServiceState.status != "stale")
        last_news = sa.func.coalesce(ServiceState.last_poll_at, Service.registered_at)
        query = (
            sa.select(Service.id)
            .outerjoin(ServiceState, ServiceState.service_id == Service.id)
            .where(Service.removed_at.is_(None), fresh, last_news < before)
        )
        return session.scalars(query.order_by(Service.id)).all()
