"""Draws a service's checks over an hour or a day: latency line, band of states, and a summary sentence.

A bucket without an answered check is a gap that no line crosses.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby, pairwise
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.infra.clock import utc_now, utc_text
from app.infra.concurrency import yield_to_loop
from app.reconciliation.models import CheckSample
from app.web import display_text
from app.web.line_charts import ChartArea, draw_lines, fit_axis

Span = Literal["hour", "day"]
AREA = ChartArea(width=720, height=96)
BUCKETS_PER_QUERY = 12
_STATES_WORST_FIRST = ("discrepancy", "stale", "verified")
_STATE_PHRASES = {"discrepancy": "in discrepancy", "stale": "stale"}


@dataclass(frozen=True, slots=True)
class _Scale:
    """Buckets of `minutes`; the first `chars` of a timestamp identify its bucket."""

    label: str
    length: timedelta
    minutes: int
    chars: int


SPANS: Mapping[Span, _Scale] = {
    "hour": _Scale("last hour", timedelta(hours=1), 1, len("2026-11-21T12:03")),
    "day": _Scale("last day", timedelta(days=1), 10, len("2026-11-21T12:0")),
}


@dataclass(slots=True)
class Bucket:
    """The checks in one bucket; latencies are of answered checks only."""

    at: str
    answered: int = 0
    failed: int = 0
    mean_ms: float = 0
    max_ms: int = 0
    states: set[str] = field(default_factory=set)

    def add(self, ok: bool, status: str | None, number: int, mean_ms: float, max_ms: int) -> None:
        if status:
            self.states.add(status)
        if not ok:
            self.failed += number
            return
        self.mean_ms = (self.mean_ms * self.answered + mean_ms * number) / (self.answered + number)
        self.max_ms = max(self.max_ms, max_ms)
        self.answered += number

    @property
    def has_checks(self) -> bool:
        return self.answered + self.failed > 0

    @property
    def state(self) -> str | None:
        """The worst state; None without checks, or if they left no state."""
        return next((state for state in _STATES_WORST_FIRST if state in self.states), None)


@dataclass(frozen=True, slots=True)
class BandSegment:
    """A stretch of the band with one state."""

    x: float
    width: float
    state: str
    words: str


@dataclass(frozen=True, slots=True)
class CheckHistory:
    span: Span
    sentence: str
    top_ms: int
    lines: tuple[str, ...]
    band: tuple[BandSegment, ...]
    since: str
    until: str

    @property
    def is_empty(self) -> bool:
        return not (self.band or self.lines)


def parse_span(text: str | None) -> Span:
    return "day" if text == "day" else "hour"


def load_history(session: Session, service_id: str, span: Span, now: datetime | None = None) -> CheckHistory:
    scale, now = SPANS[span], now or utc_now()
    buckets = _make_empty_buckets(scale, now)
    by_key = {bucket.at[: scale.chars]: bucket for bucket in buckets}
    # Query in parts: a day of checks every few seconds is many rows.
    edges = [*(bucket.at for bucket in buckets[::BUCKETS_PER_QUERY]), utc_text(now + timedelta(minutes=scale.minutes))]
    for start, end in pairwise(edges):
        for row in _query_buckets(session, service_id, scale, start, end):
            if row.key in by_key:
                by_key[row.key].add(row.ok, row.status, row.number, float(row.mean_ms), row.max_ms)
        yield_to_loop()
    return draw_history(span, buckets)


def draw_history(span: Span, buckets: Sequence[Bucket]) -> CheckHistory:
    """Pure: no database access. The chart begins with the first check."""
    buckets = buckets[-fit_axis([bucket.state or bucket.has_checks or None for bucket in buckets]) :]
    top = max((round(bucket.mean_ms) for bucket in buckets if bucket.answered), default=0)
    step = AREA.width / len(buckets)
    means = [min(bucket.mean_ms, top) if bucket.answered else None for bucket in buckets]
    lines = tuple(draw_lines(means, lambda at, mean: ((at + 0.5) * step, AREA.y(mean, top)), step / 2))
    band = tuple(_draw_band(span, buckets, step))
    return CheckHistory(span, _describe(span, buckets), top, lines, band, buckets[0].at, buckets[-1].at)


def _make_empty_buckets(scale: _Scale, now: datetime) -> list[Bucket]:
    last = now.replace(minute=now.minute - now.minute % scale.minutes, second=0, microsecond=0)
    number = int(scale.length / timedelta(minutes=scale.minutes))
    return [Bucket(utc_text(last - timedelta(minutes=scale.minutes * ago))) for ago in reversed(range(number))]


def _query_buckets(session: Session, service_id: str, scale: _Scale, start: str, end: str) -> Sequence[Any]:
    sample = CheckSample
    key = sa.func.substr(sample.at, 1, scale.chars).label("key")
    query = sa.select(
        key,
        sample.ok,
        sample.status,
        sa.func.count().label("number"),
        sa.func.avg(sample.latency_ms).label("mean_ms"),
        sa.func.max(sample.latency_ms).label("max_ms"),
    )
    mine = query.where(sample.service_id == service_id, sample.at >= start, sample.at < end)
    return session.execute(mine.group_by(key, sample.ok, sample.status)).all()


def _draw_band(span: Span, buckets: Sequence[Bucket], step: float) -> Iterator[BandSegment]:
    for state, some in groupby(enumerate(buckets), lambda pair: pair[1].state):
        places = [place for place, _ in some]
        if state is not None:
            word = display_text.STATE_WORDS[state]
            words = f"{word}{'' if state == 'verified' else ', up to'} {_format_minutes(span, len(places))}"
            yield BandSegment(round(places[0] * step, 1), round(len(places) * step, 1), state, words)


def _describe(span: Span, buckets: Sequence[Bucket]) -> str:
    scale = SPANS[span]
    answered, failed = sum(bucket.answered for bucket in buckets), sum(bucket.failed for bucket in buckets)
    if not answered + failed:
        return f"No check in the {scale.label}."
    parts = [f"{answered:,} of {answered + failed:,} checks answered in the {scale.label}"]
    if answered:
        mean = sum(bucket.mean_ms * bucket.answered for bucket in buckets) / answered
        parts.append(f"{mean:,.0f} ms on average, at most {max(bucket.max_ms for bucket in buckets):,} ms")
    for state, words in _STATE_PHRASES.items():
        number = sum(state in bucket.states for bucket in buckets)
        if number:  # an upper bound: one bad check marks its whole bucket
            parts.append(f"{words} for up to {_format_minutes(span, number)}")
    first = next(place for place, bucket in enumerate(buckets) if bucket.has_checks)
    unknown = sum(not bucket.has_checks for bucket in buckets[first:-1])
    if unknown:
        parts.append(f"nothing known for {_format_minutes(span, unknown)}")
    return "; ".join(parts) + "."


def _format_minutes(span: Span, buckets: int) -> str:
    minutes = buckets * SPANS[span].minutes
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min".replace(" 0 min", "")
