"""The last hour of each service, a point a minute, from the samples of its checks."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from flask import current_app
from sqlalchemy.orm import Session

from app.infra.clock import parse_utc, utc_now, utc_text
from app.reconciliation.models import CheckSample
from app.reconciliation.row_writer import to_canonical_json
from app.web import display_text
from app.web.dashboard.annotations import Turn, Turns

POINTS = 60
MARKS = 4  # at most, the newest: more would hide the line
WIDTH, HEIGHT, MARGIN = 120, 24, 2
# What somebody may ask of a trend first.
_TELLING = ("failed", "queued", "running")
_MINUTE = timedelta(minutes=1)
# A minute's last checks are written by then.
_SETTLED = timedelta(seconds=10)

Counts = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Mark:
    """A change made on purpose: a dashed line at `x`, and a word."""

    x: float
    word: str


@dataclass(frozen=True, slots=True)
class Trend:
    """A sparkline: its sentence, its lines as SVG paths (a gap where nothing was known), its last point, and what was
    changed on purpose meanwhile."""

    words: str
    sentence: str
    lines: tuple[str, ...]
    last: tuple[float, float] | None
    marks: tuple[Mark, ...] = ()

    @property
    def is_empty(self) -> bool:
        return self.last is None


NO_TREND = Trend("no history yet", "No history yet", (), None)


def trend(history: Sequence[Counts | None], turns: Sequence[tuple[int, str]] = ()) -> Trend:
    """From the counts of consecutive minutes, oldest first; None where no check was answered. `turns` are words by how
    many minutes ago. Pure."""
    known = [counts for counts in history if counts is not None]
    if not known:
        return NO_TREND
    state = next((name for name in _TELLING if any(counts.get(name) for counts in known)), "queued")
    values = [None if counts is None else counts.get(state) for counts in history]
    if all(value is None for value in values):
        return NO_TREND
    top = max(value for value in values if value is not None)
    words = _words(display_text.label(state), values)
    kept = turns[-MARKS:]
    marks = tuple(Mark(_place(len(values) - 1 - ago, 0, len(values), top)[0], word) for ago, word in kept)
    sentence = f"{words}; at most {top:,} in the last hour.{_changes(kept)}"
    drawn = tuple(lines(values, lambda minute, value: _place(minute, value, len(values), top)))
    return Trend(words, sentence, drawn, _last(values, top), marks)


def _changes(turns: Sequence[tuple[int, str]]) -> str:
    """` Changes: deploy done 12 min ago, rollout 25 % 3 min ago.`"""
    said = ", ".join(f"{word} {ago} min ago" for ago, word in turns)
    return f" Changes: {said}." if said else ""


def _words(label: str, values: Sequence[int | None]) -> str:
    """`failed rising, 12 → 40 in 5 min`"""
    known = [(minute, value) for minute, value in enumerate(values) if value is not None]
    (first, then), (last, now) = known[0], known[-1]
    ago = len(values) - 1 - last
    until = f" until {ago} min ago" if ago > 1 else ""  # the minute that runs may have no check yet
    if len(known) == 1:
        return f"{label} at {display_text.short(now)}{until}"
    if then == now:
        steady = len({value for _, value in known}) == 1
        return f"{label} {'steady' if steady else 'back'} at {display_text.short(now)}{until}"
    direction = "rising" if now > then else "falling"
    return f"{label} {direction}, {display_text.short(then)} → {display_text.short(now)} in {last - first} min{until}"


def lines(values: Sequence[float | None], place: Callable[[int, float], tuple[float, float]]) -> Iterator[str]:
    """One path for each stretch without a gap; a lone point is a short dash. `place` says where a value is drawn."""
    points: list[str] = []
    for minute, value in [*enumerate(values), (len(values), None)]:
        if value is not None:
            x, y = place(minute, value)
            points.append(f"{x:g} {y:g}")
        elif points:
            yield f"M{'L'.join(points)}" if len(points) > 1 else f"M{points[0]}h1"
            points = []


def _last(values: Sequence[int | None], top: int) -> tuple[float, float] | None:
    minute, value = max((minute, value) for minute, value in enumerate(values) if value is not None)
    return _place(minute, value, len(values), top)


def _place(minute: int, value: float, length: int, top: int) -> tuple[float, float]:
    """y begins at 0."""
    x = MARGIN + (WIDTH - 2 * MARGIN) * minute / max(1, length - 1)
    y = HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * value / max(1, top)
    return round(x), round(y, 1)


class Trends:
    """Remembers minutes that are over, because nothing changes in them any more: `POINTS` of them at most."""

    def __init__(self) -> None:
        self._minutes: dict[str, dict[str, Counts]] = {}
        self._turns = Turns()
        self._lock = threading.Lock()

    def of(self, session: Session, now: datetime | None = None) -> dict[str, Trend]:
        """By service. The first look of a worker reads an hour, the others what came since."""
        now = now or utc_now()
        minutes = [now.replace(second=0, microsecond=0) - _MINUTE * ago for ago in reversed(range(POINTS))]
        found = {utc_text(minute): self._minute(session, minute, now) for minute in minutes}
        with self._lock:
            self._minutes = {key: counts for key, counts in self._minutes.items() if key in found}
        services = {service for counts in found.values() for service in counts}
        turns = self._turns.of(session, now)
        return {
            service: trend([counts.get(service) for counts in found.values()], _turns(turns, service, now))
            for service in services
        }

    def _minute(self, session: Session, minute: datetime, now: datetime) -> dict[str, Counts]:
        key = utc_text(minute)
        known = self._minutes.get(key)
        if known is None:
            known = dict(_last_checks(session, key, utc_text(minute + _MINUTE)))
            if now >= minute + _MINUTE + _SETTLED:
                with self._lock:
                    self._minutes[key] = known
        return known


def _turns(turns: Sequence[Turn], service: str, now: datetime) -> list[tuple[int, str]]:
    """Those that may have touched this service, by how many minutes ago."""
    mine = [turn for turn in turns if turn.service in ("", service)]
    ages = [(int((now - parse_utc(turn.at)).total_seconds() // 60), turn.word) for turn in mine]
    return [(age, word) for age, word in ages if 0 <= age < POINTS]


def _last_checks(session: Session, start: str, end: str) -> Iterator[tuple[str, Counts]]:
    """The newest check of each service in that time whose answer was believed: figures of another time say nothing."""
    believed = sa.and_(CheckSample.ok, CheckSample.counts_json != to_canonical_json({}))
    newest = (
        sa.select(sa.func.max(CheckSample.id))
        .where(CheckSample.at >= start, CheckSample.at < end, believed)
        .group_by(CheckSample.service_id)
    )
    query = sa.select(CheckSample.service_id, CheckSample.counts_json).where(CheckSample.id.in_(newest))
    for service, text in session.execute(query):
        yield service, {state: number for state, number in json.loads(text).items() if state in _TELLING}


def current(session: Session) -> dict[str, Trend]:
    """The trends of all services, as the current application knows them."""
    trends: Trends = current_app.extensions["beacon_trends"]
    return trends.of(session)
