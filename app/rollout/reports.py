"""What browsers report of their own connection, added up by cohort and minute: no name, no address, no time but that.

A report says what happened since the last one. It is the browser's word: bounded, and never more than evidence.
"""

import json
import time
from collections.abc import Mapping
from typing import Annotated, Literal

import sqlalchemy as sa
from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from sqlalchemy.orm import Session

from app.rollout.guardrail import Window, bucket, quantile_s
from app.rollout.models import ReportRow

COHORTS = ("streaming", "polling")
KEPT_MINUTES = 7 * 24 * 60
REPORT_EVERY_S = 30

_Count = Field(default=0, ge=0, le=1_000)
_Times = Annotated[list[float], Field(max_length=100)]


class Report(BaseModel):
    """Since the last report: what was tried and what became of it, and samples of times in milliseconds.

    `attempts`: streams whose outcome is known, in the polling cohort polls; `failures` of them. `fallbacks`: the stream
    was given up after its attempts. `reconnects`: one that had worked ended. `hello_ms`: from asking for a stream to
    its `hello`. `lag_ms`: from an event's own time to its arrival, by the server's clock. `cohort`: in which all of it
    was measured.
    """

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, strict=True)

    cohort: Literal["streaming", "polling"] | None = None
    attempts: int = _Count
    failures: int = _Count
    fallbacks: int = _Count
    reconnects: int = _Count
    hello_ms: _Times = []
    lag_ms: _Times = []

    def is_of(self, cohort: str) -> bool:
        """Whether it may count as this cohort's: a page that has just moved reports what it measured before."""
        return self.cohort in (None, cohort)


class Turnstile:
    """At most one report a 30 s of one login session, counted by each worker for itself."""

    def __init__(self) -> None:
        self._limiter: FixedWindowRateLimiter | None = None

    def admits(self, login: str) -> bool:
        if self._limiter is None:  # its storage starts a timer: building an app starts nothing
            self._limiter = FixedWindowRateLimiter(MemoryStorage())
        return self._limiter.hit(RateLimitItemPerSecond(1, REPORT_EVERY_S), login)


def add(session: Session, cohort: str, report: Report, now: float) -> None:
    """Inside `db.write()`: one row a cohort and minute, whatever the number of browsers."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(sa.text("SELECT pg_advisory_xact_lock(4207009)"))
    minute = int(now // 60)
    row = session.get(ReportRow, (minute, cohort))
    if row is None:
        row = _empty(minute, cohort)
        session.add(row)
        session.execute(sa.delete(ReportRow).where(ReportRow.minute < minute - KEPT_MINUTES))
    row.reports += 1
    row.attempts += report.attempts
    row.failures += min(report.failures, report.attempts)
    row.fallbacks += report.fallbacks
    row.reconnects += report.reconnects
    row.hello_json = _counted(row.hello_json, report.hello_ms)
    row.lag_json = _counted(row.lag_json, report.lag_ms)


def window(session: Session, now: float, seconds: float, since: float = 0.0) -> Window:
    """What the streaming cohort reported in the last `seconds`, whole minutes, and not before `since`."""
    oldest = int(max(now - seconds, since) // 60)
    rows = session.scalars(sa.select(ReportRow).where(ReportRow.cohort == "streaming", ReportRow.minute > oldest)).all()
    lags: dict[str, int] = {}
    for row in rows:
        for key, number in json.loads(row.lag_json).items():
            lags[key] = lags.get(key, 0) + number
    return Window(
        sum(row.attempts for row in rows),
        sum(row.failures for row in rows),
        sum(row.fallbacks for row in rows),
        quantile_s(lags, 0.95),
    )


def evidence(session: Session, minutes: int) -> list[Mapping[str, object]]:
    """Each cohort's minutes, oldest first, as the page draws them."""
    newest = int(time.time() // 60)
    query = sa.select(ReportRow).where(ReportRow.minute > newest - minutes)
    rows = session.scalars(query.order_by(ReportRow.minute, ReportRow.cohort)).all()
    return [
        {
            "minute": row.minute,
            "cohort": row.cohort,
            "reports": row.reports,
            "attempts": row.attempts,
            "failures": row.failures,
            "fallbacks": row.fallbacks,
            "reconnects": row.reconnects,
            "helloP95S": quantile_s(json.loads(row.hello_json), 0.95),
            "lagP95S": quantile_s(json.loads(row.lag_json), 0.95),
        }
        for row in rows
    ]


def _empty(minute: int, cohort: str) -> ReportRow:
    none = dict.fromkeys(("reports", "attempts", "failures", "fallbacks", "reconnects"), 0)
    return ReportRow(minute=minute, cohort=cohort, hello_json="{}", lag_json="{}", **none)


def _counted(histogram_json: str, values: list[float]) -> str:
    histogram: dict[str, int] = json.loads(histogram_json)
    for value in values:
        key = bucket(max(0.0, value))
        histogram[key] = histogram.get(key, 0) + 1
    return json.dumps(histogram)
