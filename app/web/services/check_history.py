"""The checks of a service over an hour or a day: a line of latencies, a band of states, and a sentence that says both.

A bucket in which nothing was checked, or nothing was answered, is a gap: no line crosses it.
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

Span = Literal["hour", "day"]
WIDTH, HEIGHT = 720, 96
PART = 12  # buckets read in one go
_WORST = ("discrepancy", "stale", "verified")
_DOING = {"discrepancy": "in discrepancy", "stale": "stale"}


@dataclass(frozen=True, slots=True)
class _Scale:
    """Buckets of `minutes`: the first `chars` of a moment's text name its bucket."""

    words: str
    length: timedelta
    minutes: int
    chars: int


SPANS: Mapping[Span, _Scale] = {
    "hour": _Scale("last hour", timedelta(hours=1), 1, len("2026-11-21T12:03")),
    "day": _Scale("last day", timedelta(days=1), 10, len("2026-11-21T12:0")),
}


@dataclass(slots=True)
class Bucket:
    """What was checked in its minutes; latencies are of the checks that were answered."""

    at: str
    answered: int = 0
    failed: int = 0
    mean_ms: float = 0
    most_ms: int = 0
    states: set[str] = field(default_factory=set)

    def add(self, ok: bool, status: str | None, number: int, mean_ms: float, most_ms: int) -> None:
        if status:
            self.states.add(status)
        if not ok:
            self.failed += number
            return
        self.mean_ms = (self.mean_ms * self.answered + mean_ms * number) / (self.answered + number)
        self.most_ms = max(self.most_ms, most_ms)
        self.answered += number

    @property
    def was_checked(self) -> bool:
        return self.answered + self.failed > 0

    @property
    def state(self) -> str | None:
        """The worst of them; None where nothing was checked, or where the check left no state."""
        return next((state for state in _WORST if state in self.states), None)


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the band."""

    x: float
    width: float
    state: str
    words: str


@dataclass(frozen=True, slots=True)
class History:
    span: Span
    sentence: str
    top_ms: int
    lines: tuple[str, ...]
    band: tuple[Stretch, ...]
    since: str
    until: str

    @property
    def is_empty(self) -> bool:
        return not (self.band or self.lines)


def span_of(text: str | None) -> Span:
    return "day" if text == "day" else "hour"


def history(session: Session, service_id: str, span: Span, now: datetime | None = None) -> History:
    scale, now = SPANS[span], now or utc_now()
    buckets = _empty(scale, now)
    by_key = {bucket.at[: scale.chars]: bucket for bucket in buckets}
    # A part at a time: a day of checks every few seconds is many rows.
    edges = [*(bucket.at for bucket in buckets[::PART]), utc_text(now + timedelta(minutes=scale.minutes))]
    for start, end in pairwise(edges):
        for row in _read(session, service_id, scale, start, end):
            if row.key in by_key:
                by_key[row.key].add(row.ok, row.status, row.number, float(row.mean_ms), row.most_ms)
        yield_to_loop()
    return drawn(span, buckets)


def drawn(span: Span, buckets: Sequence[Bucket]) -> History:
    """Pure."""
    top = max((round(bucket.mean_ms) for bucket in buckets if bucket.answered), default=0)
    step = WIDTH / len(buckets)
    lines = tuple(_lines(buckets, step, max(1, top)))
    band = tuple(_band(span, buckets, step))
    return History(span, _sentence(span, buckets), top, lines, band, buckets[0].at, buckets[-1].at)


def _empty(scale: _Scale, now: datetime) -> list[Bucket]:
    last = now.replace(minute=now.minute - now.minute % scale.minutes, second=0, microsecond=0)
    number = int(scale.length / timedelta(minutes=scale.minutes))
    return [Bucket(utc_text(last - timedelta(minutes=scale.minutes * ago))) for ago in reversed(range(number))]


def _read(session: Session, service_id: str, scale: _Scale, start: str, end: str) -> Sequence[Any]:
    sample = CheckSample
    key = sa.func.substr(sample.at, 1, scale.chars).label("key")
    query = sa.select(
        key,
        sample.ok,
        sample.status,
        sa.func.count().label("number"),
        sa.func.avg(sample.latency_ms).label("mean_ms"),
        sa.func.max(sample.latency_ms).label("most_ms"),
    )
    mine = query.where(sample.service_id == service_id, sample.at >= start, sample.at < end)
    return session.execute(mine.group_by(key, sample.ok, sample.status)).all()


def _lines(buckets: Sequence[Bucket], step: float, top: int) -> Iterator[str]:
    """One path for each stretch without a gap; a lone point is a short dash."""
    for answered, some in groupby(enumerate(buckets), lambda pair: pair[1].answered > 0):
        if not answered:
            continue
        points = [f"{(place + 0.5) * step:g} {_y(bucket.mean_ms, top):g}" for place, bucket in some]
        yield f"M{'L'.join(points)}" if len(points) > 1 else f"M{points[0]}h{step / 2:g}"


def _y(value: float, top: int) -> float:
    """From 0 at the bottom."""
    return round(HEIGHT - 2 - (HEIGHT - 4) * min(value, top) / top, 1)


def _band(span: Span, buckets: Sequence[Bucket], step: float) -> Iterator[Stretch]:
    for state, some in groupby(enumerate(buckets), lambda pair: pair[1].state):
        places = [place for place, _ in some]
        if state is not None:
            word = display_text.STATE_WORDS[state]
            words = f"{word}{'' if state == 'verified' else ', up to'} {_long(span, len(places))}"
            yield Stretch(round(places[0] * step, 1), round(len(places) * step, 1), state, words)


def _sentence(span: Span, buckets: Sequence[Bucket]) -> str:
    scale = SPANS[span]
    answered, failed = sum(bucket.answered for bucket in buckets), sum(bucket.failed for bucket in buckets)
    if not answered + failed:
        return f"No check in the {scale.words}."
    parts = [f"{answered:,} of {answered + failed:,} checks answered in the {scale.words}"]
    if answered:
        mean = sum(bucket.mean_ms * bucket.answered for bucket in buckets) / answered
        parts.append(f"{mean:,.0f} ms on average, at most {max(bucket.most_ms for bucket in buckets):,} ms")
    for state, words in _DOING.items():
        number = sum(state in bucket.states for bucket in buckets)
        if number:  # one bad check of a minute says nothing of the others
            parts.append(f"{words} for up to {_long(span, number)}")
    first = next(place for place, bucket in enumerate(buckets) if bucket.was_checked)
    unknown = sum(not bucket.was_checked for bucket in buckets[first:-1])
    if unknown:
        parts.append(f"nothing known for {_long(span, unknown)}")
    return "; ".join(parts) + "."


def _long(span: Span, buckets: int) -> str:
    minutes = buckets * SPANS[span].minutes
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min".replace(" 0 min", "")
