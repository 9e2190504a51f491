"""Sparklines of each service's last hour, one point per minute, from the samples of its checks."""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.components import components
from app.infra.clock import parse_utc, utc_now, utc_text
from app.reconciliation.models import CheckSample
from app.reconciliation.row_writer import to_canonical_json
from app.web import display_text
from app.web.dashboard.annotations import Annotation, AnnotationReader
from app.web.line_charts import ChartArea, ChartMark, draw_lines, fit_axis

POINTS = 60
MAX_MARKS = 4  # the newest ones; more would hide the line
AREA = ChartArea(width=120, height=24)
# The states that a trend may show, the most important first.
_TREND_STATES = ("failed", "queued", "running")
_MINUTE = timedelta(minutes=1)
# The last checks of a minute are written at most this long after its end.
_WRITE_DELAY = timedelta(seconds=10)

Counts = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Trend:
    """A sparkline: its texts, its lines as SVG paths (with a gap where nothing is known), its last point, its marks."""

    words: str
    sentence: str
    lines: tuple[str, ...]
    last: tuple[float, float] | None
    marks: tuple[ChartMark, ...] = ()

    @property
    def is_empty(self) -> bool:
        return self.last is None


NO_TREND = Trend("no history yet", "No history yet", (), None)


def build_trend(history: Sequence[Counts | None], annotations: Sequence[tuple[int, str]] = ()) -> Trend:
    """The trend of consecutive minutes, oldest first; None is a minute without an answered check. Pure.

    `annotations` are pairs of minutes ago and label.
    """
    known = [counts for counts in history if counts is not None]
    if not known:
        return NO_TREND
    state = next((name for name in _TREND_STATES if any(counts.get(name) for counts in known)), "queued")
    values = [None if counts is None else counts.get(state) for counts in history]
    if all(value is None for value in values):
        return NO_TREND
    values = values[-fit_axis(values) :]
    top = max(value for value in values if value is not None)
    words = _trend_text(display_text.state_label(state), values)
    newest = annotations[-MAX_MARKS:]
    marks = tuple(
        ChartMark(_place(len(values) - 1 - ago, 0, len(values), top)[0], label)
        for ago, label in newest
        if ago < len(values)
    )
    sentence = f"{words}; at most {top:,} in the last hour.{_changes_text(newest)}"
    paths = tuple(draw_lines(values, lambda minute, value: _place(minute, value, len(values), top)))
    return Trend(words, sentence, paths, _last_point(values, top), marks)


def _changes_text(annotations: Sequence[tuple[int, str]]) -> str:
    """` Changes: deploy done 12 min ago, rollout 25 % 3 min ago.`"""
    changes = ", ".join(f"{label} {ago} min ago" for ago, label in annotations)
    return f" Changes: {changes}." if changes else ""


def _trend_text(label: str, values: Sequence[int | None]) -> str:
    """`failed rising, 12 → 40 in 5 min`"""
    known = [(minute, value) for minute, value in enumerate(values) if value is not None]
    (first, then), (last, now) = known[0], known[-1]
    ago = len(values) - 1 - last
    until = f" until {ago} min ago" if ago > 1 else ""  # the current minute may have no check yet
    if len(known) == 1:
        return f"{label} at {display_text.abbreviate_number(now)}{until}"
    if then == now:
        steady = len({value for _, value in known}) == 1
        return f"{label} {'steady' if steady else 'back'} at {display_text.abbreviate_number(now)}{until}"
    direction = "rising" if now > then else "falling"
    change = f"{display_text.abbreviate_number(then)} → {display_text.abbreviate_number(now)}"
    return f"{label} {direction}, {change} in {last - first} min{until}"


def _last_point(values: Sequence[int | None], top: int) -> tuple[float, float] | None:
    minute, value = max((minute, value) for minute, value in enumerate(values) if value is not None)
    return _place(minute, value, len(values), top)


def _place(minute: int, value: float, length: int, top: int) -> tuple[float, float]:
    return round(AREA.x(minute, length - 1)), AREA.y(value, top)


class TrendReader:
    """Reads the trends, and remembers the minutes that are over: at most `POINTS`, because they no longer change."""

    def __init__(self) -> None:
        self._minutes: dict[str, dict[str, Counts]] = {}
        self._annotations = AnnotationReader()
        self._lock = threading.Lock()

    def load(self, session: Session, now: datetime | None = None) -> dict[str, Trend]:
        """The trends by service. The first call of a worker reads an hour, later calls only what is new."""
        now = now or utc_now()
        minutes = [now.replace(second=0, microsecond=0) - _MINUTE * ago for ago in reversed(range(POINTS))]
        by_minute = {utc_text(minute): self._load_minute(session, minute, now) for minute in minutes}
        with self._lock:
            self._minutes = {key: counts for key, counts in self._minutes.items() if key in by_minute}
        services = {service for counts in by_minute.values() for service in counts}
        annotations = self._annotations.load(session, now)
        return {
            service: build_trend(
                [counts.get(service) for counts in by_minute.values()], _annotation_ages(annotations, service, now)
            )
            for service in services
        }

    def _load_minute(self, session: Session, minute: datetime, now: datetime) -> dict[str, Counts]:
        key = utc_text(minute)
        known = self._minutes.get(key)
        if known is None:
            known = dict(_last_checks(session, key, utc_text(minute + _MINUTE)))
            if now >= minute + _MINUTE + _WRITE_DELAY:
                with self._lock:
                    self._minutes[key] = known
        return known


def _annotation_ages(annotations: Sequence[Annotation], service: str, now: datetime) -> list[tuple[int, str]]:
    """The annotations that may affect this service, as pairs of minutes ago and label."""
    relevant = [annotation for annotation in annotations if annotation.service in ("", service)]
    ages = [(int((now - parse_utc(one.at)).total_seconds() // 60), one.label) for one in relevant]
    return [(age, label) for age, label in ages if 0 <= age < POINTS]


def _last_checks(session: Session, start: str, end: str) -> Iterator[tuple[str, Counts]]:
    """The newest check of each service in that time with a usable answer: a check without counts is left out."""
    usable = sa.and_(CheckSample.ok, CheckSample.counts_json != to_canonical_json({}))
    newest = (
        sa.select(sa.func.max(CheckSample.id))
        .where(CheckSample.at >= start, CheckSample.at < end, usable)
        .group_by(CheckSample.service_id)
    )
    query = sa.select(CheckSample.service_id, CheckSample.counts_json).where(CheckSample.id.in_(newest))
    for service, text in session.execute(query):
        yield service, {state: number for state, number in json.loads(text).items() if state in _TREND_STATES}


def load_trends(session: Session) -> dict[str, Trend]:
    reader = components().trend_reader
    return reader.load(session)
