"""Browser reports about their own connection, summed by cohort and minute, without names or addresses.

A report covers the time since the last one. Browsers are not trusted: a report is bounded and never decides alone.
"""

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal, Self

import sqlalchemy as sa
from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from sqlalchemy.orm import Session

from app.flags.error_baseline import REPORT_DELAY_S
from app.flags.models import ReportRow
from app.rollout.guardrail import BOUNDS_MS, LagWindow, compute_finite_quantile_s, compute_quantile_s, find_bucket

COHORTS = ("streaming", "polling")
COUNTERS = ("reports", "attempts", "failures", "fallbacks", "reconnects")
RETENTION_MINUTES = 7 * 24 * 60
REPORT_EVERY_S = 30
# Upper bounds for one report: what a page can experience between two reports, and too little to decide alone.
MAX_ATTEMPTS_PER_REPORT, MAX_LAGS_PER_REPORT = 12, 20

_Count = Field(default=0, ge=0, le=1_000)
_Times = Annotated[list[float], Field(max_length=100)]


class ClientReport(BaseModel):
    """The connection attempts since the last report, their outcomes, and samples of times in milliseconds.

    `attempts`: streams (in the polling cohort: polls) whose outcome is known; `failures`: how many of them failed.
    `fallbacks`: the page gave up the stream after its attempts. `reconnects`: a working stream ended. `hello_ms`: from
    the request to `hello`. `lag_ms`: from an event's time to its arrival, by the server's clock. `cohort`: the one in
    which all of it was measured.
    """

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, strict=True)

    cohort: Literal["streaming", "polling"] | None = None
    attempts: int = _Count
    failures: int = _Count
    fallbacks: int = _Count
    reconnects: int = _Count
    hello_ms: _Times = []
    lag_ms: _Times = []

    def scale_down(self, most_attempts: int = MAX_ATTEMPTS_PER_REPORT, most_lags: int = MAX_LAGS_PER_REPORT) -> Self:
        """The report reduced to what counts, in the same proportions."""
        share = min(1.0, most_attempts / max(1, self.attempts))
        figures = {
            "attempts": round(self.attempts * share),
            "failures": round(min(self.failures, self.attempts) * share),
            "fallbacks": min(round(self.fallbacks * share), most_attempts),
            "reconnects": min(round(self.reconnects * share), most_attempts),
            "hello_ms": _sample(self.hello_ms, most_attempts),
            "lag_ms": _sample(self.lag_ms, most_lags),
        }
        return self.model_copy(update=figures)

    def is_for(self, cohort: str) -> bool:
        """False if it was measured in the other cohort: a page that has just switched reports older measurements."""
        return self.cohort in (None, cohort)


class ReportLimiter:
    """Allows one report every 30 s for each login session. Each worker counts for itself."""

    def __init__(self) -> None:
        self._limiter: FixedWindowRateLimiter | None = None

    def allow(self, login: str) -> bool:
        if self._limiter is None:  # created late: its storage starts a timer, and building an app must not
            self._limiter = FixedWindowRateLimiter(MemoryStorage())
        return self._limiter.hit(RateLimitItemPerSecond(1, REPORT_EVERY_S), login)


@dataclass(slots=True)
class ReportTotals:
    """The sum of reports of one cohort. Histograms are keyed by `guardrail.find_bucket`; lags have their own bounds."""

    reports: int = 0
    attempts: int = 0
    failures: int = 0
    fallbacks: int = 0
    reconnects: int = 0
    hello: Counter[str] = field(default_factory=Counter)
    lag: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, report: ClientReport, lag_bounds: Sequence[float] = BOUNDS_MS) -> Self:
        counted = report.scale_down()
        numbers = (counted.attempts, counted.failures, counted.fallbacks, counted.reconnects)
        return cls(1, *numbers, _count_buckets(counted.hello_ms, BOUNDS_MS), _count_buckets(counted.lag_ms, lag_bounds))

    def __iadd__(self, other: Self) -> Self:
        for name in COUNTERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.hello += other.hello
        self.lag += other.lag
        return self


def lock_reports(session: Session) -> None:
    """Block other workers' reports until this transaction ends."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(sa.text("SELECT pg_advisory_xact_lock(4207009)"))


def add_totals(session: Session, cohort: str, found: ReportTotals, now: float) -> None:
    """Add to the row of this cohort and minute. Call it inside `db.write()`."""
    lock_reports(session)
    minute = int(now // 60)
    row = session.get(ReportRow, (minute, cohort))
    if row is None:
        none = dict.fromkeys(COUNTERS, 0)
        row = ReportRow(minute=minute, cohort=cohort, hello_json="{}", lag_json="{}", **none)
        session.add(row)
        session.execute(sa.delete(ReportRow).where(ReportRow.minute < minute - RETENTION_MINUTES))
    for name in COUNTERS:
        setattr(row, name, getattr(row, name) + getattr(found, name))
    row.hello_json = json.dumps(Counter(json.loads(row.hello_json)) + found.hello)
    row.lag_json = json.dumps(Counter(json.loads(row.lag_json)) + found.lag)


def load_lag_window(session: Session, now: float, seconds: float, since: float = 0.0) -> LagWindow:
    """The delivery lag to streams in the last `seconds` (whole minutes), excluding what was reported before `since`."""
    oldest = int(max(now - seconds, since + REPORT_DELAY_S) // 60)
    rows = session.scalars(sa.select(ReportRow).where(ReportRow.cohort == "streaming", ReportRow.minute > oldest)).all()
    lags: dict[str, int] = {}
    for row in rows:
        for key, number in json.loads(row.lag_json).items():
            lags[key] = lags.get(key, 0) + number
    return LagWindow(sum(lags.values()), compute_quantile_s(lags, 0.95))


def load_minutes(session: Session, minutes: int) -> list[Mapping[str, object]]:
    """The minutes of each cohort, oldest first, as the charts need them."""
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
            "helloP95S": compute_finite_quantile_s(json.loads(row.hello_json), 0.95),
            "lagP95S": compute_finite_quantile_s(json.loads(row.lag_json), 0.95),
        }
        for row in rows
    ]


def _count_buckets(milliseconds: Sequence[float], bounds: Sequence[float]) -> Counter[str]:
    return Counter(find_bucket(max(0.0, one), bounds) for one in milliseconds)


def _sample(values: list[float], most: int) -> list[float]:
    """At most `most` values, evenly spread over the list."""
    if len(values) <= most:
        return values
    return [values[n * len(values) // most] for n in range(most)]
