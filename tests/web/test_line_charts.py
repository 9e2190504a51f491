"""A chart begins where its data do: five minutes of checks fill it, instead of the last twentieth of an hour."""

from datetime import UTC, datetime, timedelta

import pytest

from app.eventlog.deploys import Deploy
from app.infra.clock import utc_text
from app.web.dashboard import sparklines
from app.web.failures.cause_charts import list_ticks
from app.web.failures.deploy_marks import CHART, mark_deploys
from app.web.line_charts import MIN_PLACES, fit_axis
from app.web.services import check_history
from app.web.services.check_history import Bucket, draw_history

NOW = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("values", "places"),
    [
        ([None] * 40 + [1] * 20, 20),
        ([None] * 40 + [1] + [None] * 19, 20),
        ([None] * 57 + [1, 2, 3], MIN_PLACES),
        ([1] * 60, 60),
        ([None] * 60, MIN_PLACES),
        ([None, 1], 2),
    ],
)
def test_the_axis_holds_what_is_known_and_some_room(values: list[int | None], places: int) -> None:
    assert fit_axis(values) == places


def test_the_checks_of_a_service_begin_at_the_left_and_say_since_when() -> None:
    buckets = [Bucket(utc_text(NOW - timedelta(minutes=ago))) for ago in reversed(range(60))]
    for bucket in buckets[-12:]:
        bucket.add(True, "verified", 1, 20, 20)
    graph = draw_history("hour", buckets)
    assert (graph.since, graph.until) == (buckets[-12].at, buckets[-1].at)
    assert [(one.x, one.width) for one in graph.band] == [(0, check_history.AREA.width)]


def test_a_trend_begins_at_the_left_and_marks_only_what_lies_in_it() -> None:
    history = [None] * 48 + [{"failed": number} for number in range(12)]
    found = sparklines.build_trend(history, [(50, "too early"), (11, "at its begin")])
    assert found.lines[0].startswith(f"M{sparklines.AREA.margin} ")
    assert [(mark.x, mark.label) for mark in found.marks] == [(sparklines.AREA.margin, "at its begin")]
    assert "too early 50 min ago" in found.sentence


def test_deploys_and_times_of_a_cause_follow_its_shorter_axis() -> None:
    span = timedelta(hours=2)
    deploys = [Deploy(1, "deploy.done", utc_text(NOW - timedelta(hours=ago)), "", "1.0") for ago in (3, 2, 1)]
    places = [mark.x for mark in mark_deploys(CHART, deploys, NOW, span).marks]
    assert places == [CHART.margin, CHART.width / 2]
    assert list_ticks(NOW, span) == [utc_text(NOW - span), utc_text(NOW - span / 2), utc_text(NOW)]
