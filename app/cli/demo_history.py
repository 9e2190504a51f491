"""The hour before the first start of the demo, invented so that graphs and Activity have something to show."""

import random
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.eventlog.append import NewEvent, append
from app.eventlog.models import EventRow
from app.infra.clock import utc_now, utc_text
from app.infra.demo_guide import DemoService
from app.reconciliation.models import CheckSample
from app.reconciliation.row_writer import to_canonical_json

LENGTH = timedelta(hours=1)
# Checks are more frequent; the graphs show one a minute.
STEP = timedelta(seconds=20)
DEPLOYED_AGO = timedelta(minutes=40)
DEPLOY = {"service": "newsletter", "version": "4.12.0"}
# How many failures a service has had at the end of the hour, and how long ago they began.
FAILURES = {"newsletter": (31, timedelta(minutes=38))}


def invent_hour(session: Session, services: Sequence[DemoService]) -> None:
    """Write checks and a deploy of the past hour, if nothing has been checked or logged yet."""
    if any(session.scalar(sa.select(sa.exists(sa.select(table.id)))) for table in (CheckSample, EventRow)):
        return
    now = utc_now()
    session.execute(sa.insert(CheckSample), [row for service in services for row in _invent_checks(service, now)])
    append(session, [NewEvent("deploy.done", DEPLOY)], at=utc_text(now - DEPLOYED_AGO))


def _invent_checks(service: DemoService, now: datetime) -> Iterator[dict[str, Any]]:
    chance = random.Random(service.id)  # noqa: S311 -- chance for a show, nothing secret
    waiting, running = chance.randint(3, 9), chance.randint(3, 9)
    for number in range(int(LENGTH / STEP)):
        at = now - LENGTH + number * STEP
        waiting = min(20, max(0, waiting + chance.randint(-2, 2)))
        running = min(12, max(1, running + chance.randint(-1, 1)))
        counts = {"queued": waiting, "running": running, "failed": _count_failed(service.id, now - at)}
        yield {
            "service_id": service.id,
            "at": utc_text(at),
            "ok": True,
            "status": "verified",
            "latency_ms": chance.randint(3, 25),
            "counts_json": to_canonical_json(counts),
        }


def _count_failed(service_id: str, ago: timedelta) -> int:
    total, began_ago = FAILURES.get(service_id, (0, LENGTH))
    return 0 if ago > began_ago else round(total * (1 - ago / began_ago))
