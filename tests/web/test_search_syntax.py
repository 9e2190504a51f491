"""What a person types to find changes, and the addresses that the list of changes understands."""

import pytest

from app.web.dashboard.change_query import parse_change_query
from app.web.dashboard.change_rows import ChangeRow
from app.web.dashboard.search_syntax import KEYS, ChangeSearch
from app.web.dashboard.view_models import IdList

AT = "2026-11-21T12:03:05.000Z"
MAIL = ChangeRow(
    3,
    AT,
    "discrepancy",
    "Discrepancy",
    "Mail",
    "/services/m1",
    "Beacon knows 14 jobs",
    IdList.truncate(["job_7F3"]),
    "reconciliation.update",
    "m1",
)
JOB = ChangeRow(
    2,
    AT,
    "error",
    "Failed",
    "Search index",
    "/services/s",
    "connection refused in queue x",
    IdList.truncate(["j2"]),
    "job.failed",
    "s",
)
DEPLOY = ChangeRow(1, AT, "event", "Event", "deploy.done", None, "version 4 · by jenkins", type="deploy.done")
ROWS = (MAIL, JOB, DEPLOY)


def found(text: str) -> list[int]:
    search = ChangeSearch.parse(text)
    assert search.errors == ()
    return [row.id for row in ROWS if search.matches(row)]


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", [3, 2, 1]),
        ("   ", [3, 2, 1]),
        ("state:failed", [2]),
        ("STATE:Error", [2]),
        ("state:discrepancy", [3]),
        ("service:m1", [3]),
        ("service:mail", [3]),
        ('service:"search index"', [2]),
        ("-service:mail", [2, 1]),
        ("type:job", [2]),
        ("type:job.failed", [2]),
        ("id:7f3", [3]),
        ("refused", [2]),
        ('"connection refused"', [2]),
        ('"refused connection"', []),
        ("connection -queue", []),
        ("-jenkins", [3, 2]),
        ("-jenkins -state:failed", [3]),
        ("knows 14", [3]),
        ("a-b", []),
    ],
)
def test_terms_are_all_fulfilled_by_what_is_found(text: str, ids: list[int]) -> None:
    assert found(text) == ids


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("queue:mail", "Unknown filter “queue:”"),
        ("state:broken", "Unknown state “broken”"),
        ("state:", "needs a value"),
        ('service:""', "needs a value"),
        ('"open', "not closed"),
        ("x" * 201, "at most 200"),
    ],
)
def test_what_is_not_understood_is_said_in_a_sentence(text: str, part: str) -> None:
    search = ChangeSearch.parse(text)
    assert part in " ".join(search.errors)
    assert all(error.endswith(".") for error in search.errors)


def test_what_is_understood_beside_it_still_counts() -> None:
    search = ChangeSearch.parse("queue:mail state:failed")
    assert [row.id for row in ROWS if search.matches(row)] == [2]


def test_the_sentence_names_every_key() -> None:
    assert all(f"{key}:" in ChangeSearch.parse("x:y").errors[0] for key in KEYS)


@pytest.mark.parametrize(
    ("query", "takes"),
    [
        ({}, True),
        ({"q": " "}, True),
        ({"sort": "time"}, True),
        ({"order": "asc"}, False),
        ({"q": "x"}, False),
        ({"sort": "state"}, False),
        ({"sort": "nonsense"}, True),
    ],
)
def test_rows_enter_only_where_everything_newest_first_is_shown(query: dict[str, str], takes: bool) -> None:
    assert parse_change_query(query).accepts_new_rows is takes


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({}, [3, 2, 1]),
        ({"order": "asc"}, [1, 2, 3]),
        ({"sort": "service"}, [1, 3, 2]),
        ({"sort": "state", "order": "desc"}, [2, 1, 3]),
    ],
)
def test_the_list_is_sorted_as_the_address_says(query: dict[str, str], ids: list[int]) -> None:
    assert [row.id for row in parse_change_query(query).sort_rows(ROWS)] == ids


def test_heads_link_to_their_order_and_back_and_keep_the_search() -> None:
    wanted = parse_change_query({"q": 'a "b c"', "sort": "service", "refresh": "10"})
    own, other = wanted.column("service", "Service"), wanted.column("time", "Time")
    assert (own.aria_sort, own.href) == (
        "ascending",
        "/?q=a+%22b+c%22&refresh=10&sort=service&order=desc#changes-title",
    )
    assert (other.aria_sort, other.href) == (None, "/?q=a+%22b+c%22&refresh=10#changes-title")
