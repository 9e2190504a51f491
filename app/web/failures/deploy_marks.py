"""Marks deploys in a graph of the last day, and says which these are. Pure.

The marks are the same for all causes of a service, so a list makes them once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.eventlog.deploys import Deploy
from app.failures.failure_history import DAY
from app.infra.clock import parse_utc
from app.web.display_text import format_duration
from app.web.line_charts import ChartArea, ChartMark

CHART = ChartArea(width=720, height=96)
# The newest ones; more would hide the line.
MAX_MARKS = 24
MAX_NAMED = 4
# On a phone, the label of a mark needs this part of the chart's width.
LABEL_WIDTH = 110
MAX_LABEL_CHARS = 8
# From here on a label ends at its mark, because it would not fit behind it.
LABEL_ENDS_FROM = CHART.width - LABEL_WIDTH


@dataclass(frozen=True, slots=True)
class DeployMarks:
    """`labels` are the marks of a chart that have room for a label, with a short one."""

    marks: tuple[ChartMark, ...] = ()
    labels: tuple[ChartMark, ...] = ()
    sentence: str = ""


def mark_deploys(area: ChartArea, deploys: Sequence[Deploy], now: datetime, span: timedelta = DAY) -> DeployMarks:
    """`deploys` are oldest first; those from before the `span` of the graph have no mark."""
    newest = [one for one in deploys if now - parse_utc(one.at) <= span][-MAX_MARKS:]
    places = [_x_of(area, deploy, now, span) for deploy in newest]
    marks = tuple(ChartMark(x, deploy.name) for x, deploy in zip(places, newest, strict=True))
    names = [ChartMark(x, _shorten(deploy)) for x, deploy in zip(places, newest, strict=True)]
    return DeployMarks(marks, tuple(_choose_labels(names)), _describe(deploys, now))


def _x_of(area: ChartArea, deploy: Deploy, now: datetime, span: timedelta) -> float:
    minutes = span / timedelta(minutes=1)
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


def _describe(deploys: Sequence[Deploy], now: datetime) -> str:
    """`Deploys: deploy.done 4.11.0 6 h ago, deploy.done 4.12.0 3 min ago, and 5 before.`"""
    if not deploys:
        return ""
    newest = deploys[-MAX_NAMED:]
    ages = [f"{one.name} {format_duration((now - parse_utc(one.at)).total_seconds())} ago" for one in newest]
    before = len(deploys) - len(newest)
    more = f", and {before} before" if before else ""
    return f"{'Deploy' if len(deploys) == 1 else 'Deploys'}: {', '.join(ages)}{more}."
