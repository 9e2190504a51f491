"""Where a test observes a service: a source by hand, a real lease, and what came to stand in the database."""

import json
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from app.db import db, now_epoch, read, write
from app.eventlog.models import EventRow
from app.infra.lease import Lease, LeaseRow
from app.reconciliation.explanations import EventExplainer
from app.reconciliation.job_events import JobEventReader
from app.reconciliation.models import CheckSample, DiscrepancyEvent, KnownJob, OpenItem, ServiceState
from app.reconciliation.observer import ServiceObserver, WatchedService
from app.sources.poller import PollResult
from app.sources.protocol import Capabilities, FinishedVisible, JobLookup, ServiceSnapshot, SourceError
from tests.support.machine import scaled

SERVICE = "mail"
INTERVAL_S = 5.0
Step = ServiceSnapshot | SourceError | Exception | Callable[[], ServiceSnapshot]


class Script:
    """A source that answers what it is told: each look the next step, the last one again and again."""

    def __init__(self, finished_visible_for_s: FinishedVisible = "lookup") -> None:
        self.capabilities = Capabilities(finished_visible_for_s)
        self.steps: list[Step] = []
        self.fates: dict[str, JobLookup] = {}
        self.looks = 0
        self.asked: list[str] = []
        self.on_look_up: Callable[[], None] = lambda: None

    def read_snapshot(self) -> ServiceSnapshot:
        self.looks += 1
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        if isinstance(step, Exception):
            raise step
        return step if isinstance(step, ServiceSnapshot) else step()

    def look_up(self, job_id: str) -> JobLookup:
        self.asked.append(job_id)
        self.on_look_up()
        return self.fates.get(job_id, JobLookup("unknown"))


class Book:
    """What came to stand in the database. Inside an application context."""

    def __init__(self, service_id: str = SERVICE) -> None:
        self.service_id = service_id

    @property
    def state(self) -> ServiceState:
        with read() as session:
            row = session.get(ServiceState, self.service_id)
            assert row is not None
            return row

    @property
    def told(self) -> dict[str, Any]:
        """The newest update, as the page renders it."""
        payload: dict[str, Any] = json.loads(self.state.payload_json or "null")
        return payload

    @property
    def known(self) -> dict[str, str]:
        with read() as session:
            rows = session.scalars(sa.select(KnownJob).where(KnownJob.service_id == self.service_id))
            return {row.job_id: row.state for row in rows}

    @property
    def items(self) -> dict[str, str]:
        """Open items: job and kind."""
        with read() as session:
            rows = session.scalars(sa.select(OpenItem).where(OpenItem.closed_at.is_(None)))
            return {row.job_id: row.kind for row in rows}

    @property
    def closed(self) -> dict[str, str | None]:
        with read() as session:
            rows = session.scalars(sa.select(OpenItem).where(OpenItem.closed_at.is_not(None)))
            return {row.job_id: row.closed_how for row in rows}

    @property
    def record(self) -> Sequence[DiscrepancyEvent]:
        with read() as session:
            return session.scalars(sa.select(DiscrepancyEvent).order_by(in_order_of_insert())).all()

    @property
    def samples(self) -> Sequence[CheckSample]:
        with read() as session:
            return session.scalars(sa.select(CheckSample).order_by(CheckSample.id)).all()

    def events(self, kind: str = "reconciliation.update") -> list[dict[str, Any]]:
        with read() as session:
            rows = session.scalars(sa.select(EventRow).where(EventRow.type == kind).order_by(EventRow.id))
            return [json.loads(row.data_json) for row in rows]


class Desk(Book):
    """A service that a test observes."""

    def __init__(self, service_id: str = SERVICE, lease: Lease | None = None) -> None:
        super().__init__(service_id)
        self.source = Script()
        self.service = WatchedService(service_id, self.source)
        self.lease = lease or Lease(ttl_s=scaled(60))  # a poller would renew it
        if lease is None:
            assert self.lease.try_acquire()
        self.restart()

    def restart(self) -> None:
        """A new process: nothing is remembered but what stands in the database."""
        published = JobEventReader(settles=timedelta(0), read_every_s=0)
        self.observer = ServiceObserver(
            self.lease, INTERVAL_S, [EventExplainer()], second_snapshot_after_s=0, job_events=published
        )

    def observe(self, *steps: Step) -> PollResult:
        self.source.steps = list(steps) or self.source.steps
        return self.observer.observe(self.service)

    def pass_time(self, seconds: float) -> None:
        """Move what is known of this service into the past."""
        with write() as session:
            row = session.get(ServiceState, self.service_id)
            assert row is not None
            for name in ("last_answer_at", "last_poll_at", "failing_since", "heard_at"):
                text = getattr(row, name)
                if text is not None:
                    moved = _earlier(text, seconds)
                    setattr(row, name, session.scalar(sa.select(moved)))

    def lose_lease(self) -> None:
        """Another process took over, as after this one was frozen."""
        with write() as session:
            taken = {"holder": "another", "fence": LeaseRow.fence + 1, "expires_at": now_epoch() + 60}
            session.execute(sa.update(LeaseRow).values(taken))


def everything() -> dict[str, list[tuple[Any, ...]]]:
    """Every row that reconciliation writes: for tests that nothing was written."""
    tables = ("service_state", "known_job", "open_item", "check_sample", "discrepancy_event", "event")
    with db.engine.connect() as connection:
        return {name: [tuple(row) for row in connection.execute(sa.text(f"SELECT * FROM {name}"))] for name in tables}


def in_order_of_insert() -> sa.TextClause:
    """By a hidden column, for a table whose rows nobody changes or deletes."""
    return sa.text("rowid" if db.engine.dialect.name == "sqlite" else "xmin::text::bigint, ctid")


def _earlier(text: Any, seconds: float) -> sa.ColumnElement[str]:
    """A stored time, made so many seconds earlier."""
    if db.engine.dialect.name == "sqlite":
        return sa.func.strftime("%Y-%m-%dT%H:%M:%fZ", text, f"-{seconds} seconds")
    moved = sa.cast(text, sa.TIMESTAMP(timezone=True)) - sa.func.make_interval(
        0, 0, 0, 0, 0, 0, sa.cast(seconds, sa.Float)
    )
    return sa.func.to_char(moved, 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')


def forbid(table: str, why: str, verb: str = "INSERT") -> None:
    """Let the database refuse this from now on."""
    name = f"no_{verb.lower()}"
    with db.engine.begin() as connection:
        if connection.dialect.name == "sqlite":
            refuse = f"BEGIN SELECT RAISE(ABORT, '{why}'); END"
        else:
            body = f"BEGIN RAISE EXCEPTION '{why}'; END"
            connection.exec_driver_sql(f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $${body}$$")
            refuse = f"FOR EACH ROW EXECUTE FUNCTION {name}()"
        connection.exec_driver_sql(f"CREATE TRIGGER {name} BEFORE {verb} ON {table} {refuse}")


def allow(verb: str = "INSERT") -> None:
    """End what `forbid` began."""
    name = f"no_{verb.lower()}"
    with db.engine.begin() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql(f"DROP TRIGGER {name}")
        else:
            connection.exec_driver_sql(f"DROP FUNCTION {name} CASCADE")
