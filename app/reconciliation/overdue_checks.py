"""Services whose checks have stopped without a word, whatever stopped them: they must not look fresh for ever."""

import time
from collections.abc import Sequence
from datetime import timedelta

import sqlalchemy as sa

from app.db import read
from app.infra.clock import utc_text
from app.infra.lease import LeaseClaim
from app.reconciliation.loader import database_now
from app.reconciliation.models import Service, ServiceState

LOOK_EVERY_S = 5.0


class OverdueChecks:
    """Looks for them now and then, on behalf of the process that polls."""

    def __init__(self, stale_after: timedelta) -> None:
        self._after = stale_after + timedelta(seconds=LOOK_EVERY_S)
        self._claim: LeaseClaim | None = None
        self._look_at = 0.0

    def find(self, claim: LeaseClaim) -> Sequence[str]:
        """Those of which no check, good or bad, has been recorded for longer than makes a service stale.

        Whoever has just taken the lease has checked nothing yet: its own polls come first.
        """
        now = time.monotonic()
        if self._claim != claim:
            self._claim, self._look_at = claim, now + self._after.total_seconds()
        if now < self._look_at:
            return ()
        self._look_at = now + LOOK_EVERY_S
        return _overdue(self._after)


def _overdue(after: timedelta) -> Sequence[str]:
    with read() as session:
        before = utc_text(database_now(session) - after)
        fresh = sa.or_(ServiceState.status.is_(None), ServiceState.status != "stale")
        query = (
            sa.select(ServiceState.service_id)
            .join(Service, Service.id == ServiceState.service_id)
            .where(Service.removed_at.is_(None), fresh, ServiceState.last_poll_at < before)
        )
        return session.scalars(query.order_by(ServiceState.service_id)).all()
