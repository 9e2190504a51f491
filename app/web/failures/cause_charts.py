"""Draws how many jobs failed with a cause in the last day: a sparkline for the list, a chart for its page. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

from app.eventlog.deploys import Deploy
from app.failures.failure_history import DAY, Slices
from app.infra.clock import parse_utc, utc_text
from app.web.display_text import format_duration
from app.web.line_charts import ChartArea, ChartMark, draw_lines

SPARKLINE = ChartArea(width=120, height=24)
CHART = ChartArea(width=720, height=96)
# The newest ones; more would hide the line.
MAX_MARKS = 4
MAX_MARKS_OF_CHART = 24
# On a phone, the label of a mark needs this part of the chart's width.
LABEL_WIDTH = 110
MAX_LABEL_CHARS = 8
# From here on a label ends at its mark, because it would not fit behind it.
LABEL_ENDS_FROM = CHART.width - LABEL_WIDTH


@dataclass(frozen=True, slots=True)
class DayLine:
    """The numbers of the last day as a line with gaps where nothing is known; `last` is the newest point, `top` the
    value at the upper edge. `labels` are the marks that have room for a label."""

    sentence: str
    top: int
    lines: tuple[str, ...]
    last: tuple[float, float] | None
    marks: tuple[ChartMark, ...]
    labels: tuple[ChartMark, ...]


@dataclass(frozen=True, slots=True)
class HourRow:
    """One hour of the chart's table: `failed` is None where nothing is known."""

    since: str
    failed: int | None
    deploys: tuple[str, ...]


def draw_sparkline(hours: Slices, deploys: Sequence[Deploy], now: datetime) -> DayLine:
    return _draw(SPARKLINE, hours, hours, deploys[-MAX_MARKS:], now)


def draw_chart(slices: Slices, hours: Slices, deploys: Sequence[Deploy], now: datetime) -> DayLine:
    """`hours` are the same numbers by the hour, for the sentence."""
    return _draw(CHART, slices, hours, deploys[-MAX_MARKS_OF_CHART:], now)


def list_ticks(now: datetime) -> list[str]:
    """The times below the chart: its begin, its middle, its end."""
    return [utc_text(now - DAY), utc_text(now - DAY / 2), utc_text(now)]


def list_hours(hours: Slices, deploys: Sequence[Deploy], now: datetime) -> list[HourRow]:
    """The hours of the last day as a table, the newest first."""
    length = DAY / len(hours)
    rows = []
    for ago, failed in enumerate(reversed(hours)):
        since, until = utc_text(now - length * (ago + 1)), utc_text(now - length * ago)
        rows.append(HourRow(since, failed, tuple(one.name for one in deploys if since <= one.at < until)))
    return rows


def _draw(area: ChartArea, slices: Slices, hours: Slices, deploys: Sequence[Deploy], now: datetime) -> DayLine:
    top, columns = max((value for value in slices if value is not None), default=0), _list_columns(area, len(slices))

    def place(index: int, value: float) -> tuple[float, float]:
        return columns[index], area.y(value, top)

    known = [(index, value) for index, value in enumerate(slices) if value is not None]
    lines = tuple(draw_lines(slices, place, round(area.width / len(slices) / 2, 1)))
    marks = tuple(ChartMark(_x_of(area, deploy, now), deploy.name) for deploy in deploys)
    names = tuple(ChartMark(_x_of(area, deploy, now), _shorten(deploy)) for deploy in deploys)
    last = place(*known[-1]) if known else None
    return DayLine(_describe(hours, deploys, now), top, lines, last, marks, tuple(_choose_labels(names)))


@cache
def _list_columns(area: ChartArea, number: int) -> Sequence[float]:
    """The middle of each slice; the same for all rows of a list."""
    return [round(area.x(index + 0.5, number), 1) for index in range(number)]


def _x_of(area: ChartArea, deploy: Deploy, now: datetime) -> float:
    minutes = DAY / timedelta(minutes=1)
    return round(area.x(minutes - (now - parse_utc(deploy.at)) / timedelta(minutes=1), int(minutes)), 1)


def _shorten(deploy: Deploy) -> str:
    """The version, or else the last word of the type."""
    label = deploy.version or deploy.type.rpartition(".")[2]
    return label if len(label) <= MAX_LABEL_CHARS else f"{label[: MAX_LABEL_CHARS - 1]}…"


def _choose_labels(marks: Sequence[ChartMark]) -> Iterator[ChartMark]:
    """The marks whose labels do not overlap, the newest first."""
    edge = float("inf")
    for mark in reversed(marks):
        begin = mark.x - LABEL_WIDTH if mark.x > LABEL_ENDS_FROM else mark.x
        if begin + LABEL_WIDTH <= edge:
            edge = begin
            yield mark


def _describe(hours: Slices, deploys: Sequence[Deploy], now: datetime) -> str:
    """`340 failed in the last day, 12 of them in the last hour; at most 98 an hour. Deploys: … 3 h ago.`"""
    known = [value for value in hours if value is not None]
    gap = len(hours) - len(known)
    parts = [f"{sum(known):,} failed in the last day, {hours[-1] or 0:,} of them in the last hour"]
    if sum(known) == 0:
        parts = ["None failed in the last day as far as Beacon knows" if gap else "None failed in the last day"]
    elif max(known) < sum(known):
        parts.append(f"at most {max(known):,} an hour")
    if gap:
        parts.append(f"nothing known of {format_duration(DAY.total_seconds() / len(hours) * gap)}")
    return f"{'; '.join(parts)}.{_describe_deploys(deploys, now)}"


def _describe_deploys(deploys: Sequence[Deploy], now: datetime) -> str:
    if not deploys:
        return ""
    newest = deploys[-MAX_MARKS:]
    ages = [f"{one.name} {format_duration((now - parse_utc(one.at)).total_seconds())} ago" for one in newest]
    before = len(deploys) - len(newest)
    more = f", and {before} before" if before else ""
    return f" {'Deploy' if len(deploys) == 1 else 'Deploys'}: {', '.join(ages)}{more}."
