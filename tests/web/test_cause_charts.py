"""The graph of a cause: its line, its gaps, its deploys, and the sentence that says the same."""

from datetime import UTC, datetime, timedelta

import pytest

from app.eventlog.deploys import Deploy
from app.failures.failure_history import Slices
from app.infra.clock import utc_text
from app.web.failures.cause_charts import draw_sparkline, list_hours
from app.web.failures.deploy_marks import CHART, DeployMarks, mark_deploys

NOW = datetime(2026, 11, 21, 16, 30, tzinfo=UTC)


def deployed(hours_ago: float, version: str = "4.12.0") -> Deploy:
    return Deploy(1, "deploy.done", utc_text(NOW - timedelta(hours=hours_ago)), "", version)


@pytest.mark.parametrize(
    ("hours", "sentence"),
    [
        ([0] * 20 + [1, 4, 0, 2], "7 failed in the last day, 2 of them in the last hour; at most 4 an hour."),
        ([0] * 23 + [3], "3 failed in the last day, 3 of them in the last hour."),
        ([None] * 22 + [0, 3], "3 failed in the last day, 3 of them in the last hour; nothing known of 22 h."),
        ([0] * 24, "None failed in the last day."),
        ([0] * 23 + [None], "None failed in the last day as far as Beacon knows; nothing known of 1 h."),
    ],
)
def test_the_sentence_says_how_many_when_and_what_is_not_known(hours: Slices, sentence: str) -> None:
    assert draw_sparkline(hours, DeployMarks()).sentence == sentence


def test_no_line_crosses_a_gap() -> None:
    found = draw_sparkline([1] * 10 + [None] * 4 + [2] * 10, DeployMarks())
    assert len(found.lines) == 2
    assert found.last is not None
    assert found.last[1] == 2  # the top


def test_a_line_of_fewer_hours_begins_where_the_list_begins() -> None:
    hours = [None] * 14 + [0] * 9 + [3]
    found = draw_sparkline(hours, DeployMarks(), 10)
    assert found.lines[0].startswith("M7.8 ")
    assert found.sentence == draw_sparkline(hours, DeployMarks()).sentence


def test_without_anything_known_there_is_no_line() -> None:
    found = draw_sparkline([None] * 24, DeployMarks())
    assert (found.lines, found.last) == ((), None)


def test_a_deploy_is_marked_where_it_was_and_told() -> None:
    found = mark_deploys(CHART, [deployed(12)], NOW)
    [mark] = found.marks
    assert abs(mark.x - CHART.width / 2) < 1
    assert [(one.label, label.label) for one, label in zip(found.marks, found.labels, strict=True)] == [
        ("deploy.done 4.12.0", "4.12.0")
    ]
    assert found.sentence == "Deploy: deploy.done 4.12.0 12 h ago."
    assert draw_sparkline([0] * 24, found).sentence == f"None failed in the last day. {found.sentence}"


def test_labels_of_deploys_do_not_overlap_and_the_newest_has_one() -> None:
    found = mark_deploys(CHART, [deployed(2.2, "1"), deployed(2.1, "2"), deployed(2, "3")], NOW)
    assert len(found.marks) == 3
    assert [mark.label for mark in found.labels] == ["3"]


def test_many_deploys_are_counted_and_a_long_version_is_cut() -> None:
    found = mark_deploys(CHART, [deployed(12 - hour, f"{hour}-7f3a91c2e4") for hour in range(9)], NOW)
    assert found.sentence.endswith("deploy.done 8-7f3a91c2e4 4 h ago, and 5 before.")
    assert found.labels[0].label == "8-7f3a9…"


def test_the_table_has_the_same_numbers_the_newest_hour_first() -> None:
    rows = list_hours([*range(22), None, 5], [deployed(1.5)], NOW)
    assert [(row.since[11:16], row.failed, row.deploys) for row in rows[:3]] == [
        ("15:30", 5, ()),
        ("14:30", None, ("deploy.done 4.12.0",)),
        ("13:30", 21, ()),
    ]
