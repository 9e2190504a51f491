"""What browsers reported, drawn: a line for each cohort, a sentence that says the same, dashes for the changes. Pure.

A minute that nobody reported is a gap, and what was never reported is "—".
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from app.infra.clock import parse_utc
from app.rollout.change_text import describe_percentage
from app.rollout.client_metrics import Change, Evidence, Minute
from app.rollout.client_reports import COHORTS
from app.web.dashboard.sparklines import ChartMark, draw_lines

WIDTH, HEIGHT, MARGIN = 360, 72, 2
# A word beside a mark takes so much of the width.
ROOM = 48
NOT_KNOWN = "—"
Shape = Literal["share", "seconds", "count"]


@dataclass(frozen=True, slots=True)
class Metric:
    title: str
    shape: Shape
    of: Callable[[Minute], float | None]


METRICS = (
    Metric("Attempts to connect that succeed", "share", lambda one: one.success),
    Metric("Time to hello, p95", "seconds", lambda one: one.hello_s),
    Metric("Delivery lag, p95", "seconds", lambda one: one.lag_s),
    Metric("Fallbacks to polling a minute", "count", lambda one: one.fallbacks),
    Metric("Reconnects a minute", "count", lambda one: one.reconnects),
)


@dataclass(frozen=True, slots=True)
class Graph:
    """`paths` by cohort; `top` is what the upper edge stands for. Where nothing is known there is no line. `words` are
    the marks that have room for theirs: the newest first to be given it."""

    title: str
    top: str
    paths: Mapping[str, tuple[str, ...]]
    marks: tuple[ChartMark, ...]
    words: tuple[ChartMark, ...]
    sentence: str

    @property
    def is_empty(self) -> bool:
        return not any(self.paths.values())


def graphs(found: Evidence) -> list[Graph]:
    return [_graph(metric, found) for metric in METRICS]


def change_words(change: Change) -> str:
    return describe_percentage(change.percentage) if change.enabled else "off"


def _graph(metric: Metric, found: Evidence) -> Graph:
    values = {cohort: _values(metric, found, cohort) for cohort in COHORTS}
    known = [value for row in values.values() for value in row if value is not None]
    top = 1.0 if metric.shape == "share" else max(known, default=0) or 1.0

    def place(minute: int, value: float) -> tuple[float, float]:
        return _x(minute, found.minutes), round(HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * value / top, 1)

    paths = {cohort: tuple(draw_lines(row, place)) for cohort, row in values.items()}
    marks = tuple(_mark(change, found) for change in found.changes)
    said = "; ".join(f"{cohort}: {_words(metric, values[cohort], found.cohorts[cohort])}" for cohort in COHORTS)
    sentence = f"{said[:1].upper()}{said[1:]}."
    return Graph(metric.title, said_as(metric.shape, top), paths, marks, _with_room(marks), sentence)


def _values(metric: Metric, found: Evidence, cohort: str) -> list[float | None]:
    """One a minute, oldest first; None is not known."""
    by_minute = {one.minute: metric.of(one) for one in found.cohorts[cohort]}
    return [by_minute.get(found.newest - ago) for ago in reversed(range(found.minutes))]


def _words(metric: Metric, values: Sequence[float | None], minutes: Sequence[Minute]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return NOT_KNOWN
    if metric.shape == "share":
        attempts, failures = (sum(getattr(one, name) for one in minutes) for name in ("attempts", "failures"))
        return f"{said_as('share', 1 - failures / attempts)} of {attempts:,}"
    if metric.shape == "count":
        return f"{sum(known):,.0f} in all, at most {max(known):,.0f} a minute"
    ago = next(ago for ago, value in enumerate(reversed(values)) if value is not None)
    when = "this minute" if ago == 0 else "a minute ago" if ago == 1 else f"{ago} min ago"
    return f"{said_as('seconds', known[-1])} {when}, {said_as('seconds', max(known))} at most"


def said_as(shape: Shape, value: float | None) -> str:
    """`97.5 %`, `0.25 s`, `12`; "—" for what is not known. A share is not said to be whole that is not."""
    if value is None:
        return NOT_KNOWN
    if shape == "seconds":
        return f"{value:g} s"
    if shape == "count":
        return f"{value:,.0f}"
    rounded = round(100 * value, 1)
    if rounded in (0, 100) and value not in (0, 1):
        return "> 99.9 %" if rounded else "< 0.1 %"
    return f"{rounded:g} %"


def _mark(change: Change, found: Evidence) -> ChartMark:
    minute = int(parse_utc(change.at).timestamp() // 60)
    return ChartMark(_x(minute - (found.newest - found.minutes + 1), found.minutes), change_words(change))


def _with_room(marks: Sequence[ChartMark]) -> tuple[ChartMark, ...]:
    """None reaches into the next one's, nor into what the upper edge is labelled with."""
    found: list[ChartMark] = []
    for mark in reversed(marks):
        if mark.x >= ROOM and (not found or found[-1].x - mark.x >= ROOM):
            found.append(mark)
    return tuple(reversed(found))


def _x(minute: int, minutes: int) -> float:
    return round(MARGIN + (WIDTH - 2 * MARGIN) * minute / max(1, minutes - 1), 1)
