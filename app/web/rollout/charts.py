"""Charts of the client reports: a line for each cohort, a summary sentence, and marks for flag changes. Pure.

A minute without reports is a gap, and a metric without any reports is "—".
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from app.infra.clock import parse_utc, utc_text
from app.rollout.change_text import describe_percentage
from app.rollout.client_metrics import ChangeMark, ClientMetrics, MinuteMetrics
from app.rollout.client_reports import COHORTS
from app.web.line_charts import ChartMark, draw_lines, fit_axis

CHART_WIDTH, CHART_HEIGHT, CHART_MARGIN = 360, 72, 2
# The width that the label of a mark needs.
LABEL_WIDTH = 48
NOT_KNOWN = "—"
MetricUnit = Literal["share", "seconds", "count"]


@dataclass(frozen=True, slots=True)
class ChartMetric:
    title: str
    shape: MetricUnit
    value_of: Callable[[MinuteMetrics], float | None]


METRICS = (
    ChartMetric("Attempts to connect that succeed", "share", lambda one: one.success),
    ChartMetric("Time to hello, p95", "seconds", lambda one: one.hello_s),
    ChartMetric("Delivery lag, p95", "seconds", lambda one: one.lag_s),
    ChartMetric("Fallbacks to polling a minute", "count", lambda one: one.fallbacks),
    ChartMetric("Reconnects a minute", "count", lambda one: one.reconnects),
)


@dataclass(frozen=True, slots=True)
class Graph:
    """`paths` are keyed by cohort; unknown minutes have no line. `top` is the value at the upper edge. `labels` are the
    marks that have room for a label; newer marks take precedence."""

    title: str
    top: str
    paths: Mapping[str, tuple[str, ...]]
    marks: tuple[ChartMark, ...]
    labels: tuple[ChartMark, ...]
    sentence: str

    @property
    def is_empty(self) -> bool:
        return not any(self.paths.values())


def build_graphs(found: ClientMetrics) -> list[Graph]:
    """All graphs begin with the first report, so that they can be compared."""
    fitted = replace(found, minutes=count_shown_minutes(found))
    return [_build_graph(metric, fitted) for metric in METRICS]


def count_shown_minutes(found: ClientMetrics) -> int:
    """How many of the minutes the graphs show."""
    known = {one.minute for minutes in found.cohorts.values() for one in minutes}
    return fit_axis([(minute in known) or None for minute in _list_minutes(found)])


def first_shown_minute(found: ClientMetrics) -> str:
    """When the graphs begin."""
    return utc_text(datetime.fromtimestamp(60 * (found.newest - count_shown_minutes(found) + 1), UTC))


def _list_minutes(found: ClientMetrics) -> range:
    return range(found.newest - found.minutes + 1, found.newest + 1)


def describe_mark(change: ChangeMark) -> str:
    return describe_percentage(change.percentage) if change.enabled else "off"


def _build_graph(metric: ChartMetric, found: ClientMetrics) -> Graph:
    values = {cohort: _list_values(metric, found, cohort) for cohort in COHORTS}
    known = [value for row in values.values() for value in row if value is not None]
    top = 1.0 if metric.shape == "share" else max(known, default=0) or 1.0

    def place(minute: int, value: float) -> tuple[float, float]:
        return _x_of_minute(minute, found.minutes), round(
            CHART_HEIGHT - CHART_MARGIN - (CHART_HEIGHT - 2 * CHART_MARGIN) * value / top, 1
        )

    paths = {cohort: tuple(draw_lines(row, place)) for cohort, row in values.items()}
    marks = tuple(mark for change in found.changes if (mark := _build_mark(change, found)).x >= CHART_MARGIN)
    said = "; ".join(
        f"{cohort}: {_describe_values(metric, values[cohort], found.cohorts[cohort])}" for cohort in COHORTS
    )
    sentence = f"{said[:1].upper()}{said[1:]}."
    return Graph(metric.title, format_metric(metric.shape, top), paths, marks, _choose_labels(marks), sentence)


def _list_values(metric: ChartMetric, found: ClientMetrics, cohort: str) -> list[float | None]:
    """One value for each minute, oldest first; None is unknown."""
    by_minute = {one.minute: metric.value_of(one) for one in found.cohorts[cohort]}
    return [by_minute.get(minute) for minute in _list_minutes(found)]


def _describe_values(metric: ChartMetric, values: Sequence[float | None], minutes: Sequence[MinuteMetrics]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return NOT_KNOWN
    if metric.shape == "share":
        attempts, failures = (sum(getattr(one, name) for one in minutes) for name in ("attempts", "failures"))
        return f"{format_metric('share', 1 - failures / attempts)} of {attempts:,}"
    if metric.shape == "count":
        return f"{sum(known):,.0f} in all, at most {max(known):,.0f} a minute"
    ago = next(ago for ago, value in enumerate(reversed(values)) if value is not None)
    when = "this minute" if ago == 0 else "a minute ago" if ago == 1 else f"{ago} min ago"
    return f"{format_metric('seconds', known[-1])} {when}, {format_metric('seconds', max(known))} at most"


def format_metric(shape: MetricUnit, value: float | None) -> str:
    """`97.5 %`, `0.25 s`, `12`; "—" if unknown. A share that is not exactly 0 or 1 is never rounded to it."""
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


def _build_mark(change: ChangeMark, found: ClientMetrics) -> ChartMark:
    minute = int(parse_utc(change.at).timestamp() // 60)
    return ChartMark(_x_of_minute(minute - (found.newest - found.minutes + 1), found.minutes), describe_mark(change))


def _choose_labels(marks: Sequence[ChartMark]) -> tuple[ChartMark, ...]:
    """The marks whose labels overlap neither the next label nor the label of the upper edge."""
    found: list[ChartMark] = []
    for mark in reversed(marks):
        if mark.x >= LABEL_WIDTH and (not found or found[-1].x - mark.x >= LABEL_WIDTH):
            found.append(mark)
    return tuple(reversed(found))


def _x_of_minute(minute: int, minutes: int) -> float:
    return round(CHART_MARGIN + (CHART_WIDTH - 2 * CHART_MARGIN) * minute / max(1, minutes - 1), 1)
