"""A day of failures, written as the tracker does: many failed jobs, each cause with its share of them."""

import random
from collections.abc import Iterator
from datetime import datetime, timedelta

import sqlalchemy as sa

from app.db import write
from app.eventlog.append import NewEvent, append
from app.failures import failure_store
from app.infra.clock import utc_now, utc_text
from app.reconciliation import registry
from app.reconciliation.models import CheckSample
from app.sources.protocol import Job, JobDetail, JobError
from app.sources.tracebacks import Frame
from tests.support.beacon_server import Beacon

SERVICES = 5
DEPLOYS = 20
DAY_MINUTES = 24 * 60
NOWHERE = "http://127.0.0.1:9"


def seed(beacon: Beacon, jobs: int, causes: int) -> None:
    """Nobody answers at the address of the services, so what is written here stays."""
    now, chance = utc_now(), random.Random(1)
    with beacon.app.app_context():
        for service in _services():
            _watch(service, now)
        for number in range(causes):
            service = f"service-{number % SERVICES}"
            facts = dict(_fail(number, jobs // causes, now, chance))
            with write() as session:
                failure_store.add_failed(session, service, facts)
                failure_store.record_facts(session, service, list(facts), facts)
        with write() as session:
            append(session, [NewEvent("deploy.done", {"version": f"4.{number}"}) for number in range(DEPLOYS)])


def _services() -> Iterator[str]:
    return (f"service-{number}" for number in range(SERVICES))


def _watch(service: str, now: datetime) -> None:
    """A service that has answered a check in every minute of the day."""
    times = (utc_text(now - timedelta(minutes=ago)) for ago in range(DAY_MINUTES))
    checks = [{"service_id": service, "at": at, "ok": True, "latency_ms": 9, "counts_json": "{}"} for at in times]
    with write() as session:
        registry.add(session, id=service, name=service.title(), kind="palantir", url=NOWHERE)
        session.execute(sa.insert(CheckSample), checks)


def _fail(cause: int, jobs: int, now: datetime, chance: random.Random) -> Iterator[tuple[str, JobDetail]]:
    error = JobError("smtplib.SMTPServerDisconnected", "Connection lost", Frame(f"shop/part_{cause}.py in send", 88))
    for number in range(jobs):
        job_id = f"{chance.getrandbits(128):032x}"
        job = Job(job_id, "failed", f"queue-{cause % 7}", 1 + number % 3)
        yield (
            job_id,
            JobDetail(
                job,
                function=f"part_{cause}.send",
                error=error,
                worker=f"worker-{number % 8}",
                max_attempts=3,
                ended_at=now - timedelta(minutes=chance.uniform(0, DAY_MINUTES)),
            ),
        )
