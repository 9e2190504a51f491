"""Draws how many jobs failed with a cause in the last day: a sparkline for the list, a chart for its page. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

from app.eventlog.deploys import Deploy
from app.failures.failure_history import DAY, Slices
from app.infra.clock import utc_text
from app.web.display_text import format_duration
from app.web.failures.deploy_marks import CHART, DeployMarks
from app.web.line_charts import ChartArea, draw_lines

SPARKLINE = ChartArea(width=120, height=24)


@dataclass(frozen=True, slots=True)
class DayLine:
    """The numbers of the last day as a line with gaps where nothing is known; `last` is the newest point, `top` the
    value at the upper edge."""

    sentence: str
    top: int
    lines: tuple[str, ...]
    last: tuple[float, float] | None
    deploys: DeployMarks


@dataclass(frozen=True, slots=True)
class HourRow:
    """One hour of the chart's table: `failed` is None where nothing is known."""

    since: str
    failed: int | None
    deploys: tuple[str, ...]


def draw_sparkline(hours: Slices, deploys: DeployMarks, shown: int = 24) -> DayLine:
    """Draw the last `shown` hours; the sentence covers the whole day."""
    return _draw(SPARKLINE, hours[-shown:], hours, deploys)


def draw_chart(slices: Slices, hours: Slices, deploys: DeployMarks) -> DayLine:
    """`hours` are the same numbers by the hour, for the sentence."""
    return _draw(CHART, slices, hours, deploys)


def list_ticks(now: datetime, span: timedelta) -> list[str]:
    """The times below the chart: its begin, its middle, its end."""
    return [utc_text(now - span), utc_text(now - span / 2), utc_text(now)]


def list_hours(hours: Slices, deploys: Sequence[Deploy], now: datetime) -> list[HourRow]:
    """The hours of the last day as a table, the newest first."""
    length = DAY / len(hours)
    rows = []
    for ago, failed in enumerate(reversed(hours)):
        since, until = utc_text(now - length * (ago + 1)), utc_text(now - length * ago)
        rows.append(HourRow(since, failed, tuple(one.name for one in deploys if since <= one.at < until)))
    return rows


def _draw(area: ChartArea, slices: Slices, hours: Slices, deploys: DeployMarks) -> DayLine:
    known = [(index, value) for index, value in enumerate(slices) if value is not None]
    top, columns = max((value for _, value in known), default=0), _list_columns(area, len(slices))
    heights = {value: area.y(value, top) for value in {value for _, value in known}}

    def place(index: int, value: float) -> tuple[float, float]:
        return columns[index], heights[int(value)]

    lines = tuple(draw_lines(slices, place, round(area.width / len(slices) / 2, 1)))
    last = place(*known[-1]) if known else None
    return DayLine(f"{_describe(hours)} {deploys.sentence}".strip(), top, lines, last, deploys)


@cache
def _list_columns(area: ChartArea, number: int) -> Sequence[float]:
    """The middle of each slice; the same for all rows of a list."""
    return [round(area.x(index + 0.5, number), 1) for index in range(number)]


def _describe(hours: Slices) -> str:
    """`340 failed in the last day, 12 of them in the last hour; at most 98 an hour.`"""
    known = [value for value in hours if value is not None]
    gap, total = len(hours) - len(known), sum(known)
    parts = [f"{total:,} failed in the last day, {hours[-1] or 0:,} of them in the last hour"]
    if total == 0:
        parts = ["None failed in the last day as far as Beacon knows" if gap else "None failed in the last day"]
    elif max(known) < total:
        parts.append(f"at most {max(known):,} an hour")
    if gap:
        parts.append(f"nothing known of {format_duration(DAY.total_seconds() / len(hours) * gap)}")
    return f"{'; '.join(parts)}."
