"""The record of discrepancies: open first, filtered by its address, read by key, exported whole."""

import csv
import io
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from app.db import db, write
from app.infra import streaming_export
from app.reconciliation.incidents import IncidentPosition
from app.reconciliation.models import DiscrepancyEvent, Service
from app.web.discrepancies import incident_reader
from app.web.discrepancies.incident_query import PageStart
from tests.support.cast import ALICE, headers_of, logged_in
from tests.web.record_scene import at, happened, item, put, watched

HTML = {"Accept": "text/html"}


@pytest.fixture
def scene(cast: Flask) -> Flask:
    """Mail lost two jobs, an operator accepted them; it does not answer now. Of search one job is unaccounted for."""
    watched(cast, "mail", "search")
    closed = {"at": at(5), "how": "accepted", "by": "bob", "why": "deleted by hand"}
    lost = ["job_lost_1", "job_lost_2"]
    put(
        cast,
        happened("mail", "verified", at(0)),
        happened("mail", "discrepancy", at(1), lost),
        *(item("mail", job, "missing", at(1), **closed) for job in lost),
        happened("mail", "verified", at(5)),
        happened("mail", "stale", at(7)),
        happened("search", "verified", at(2)),
        item("search", "gone_1", "unaccounted", at(3)),
        happened("search", "discrepancy", at(30), [], expected=9, actual=12),
        happened("search", "verified", at(40)),
    )
    return cast


def text_of(client: FlaskClient, query: str = "") -> str:
    answer = client.get(f"/discrepancies{query}", headers=HTML)
    assert answer.status_code == 200, answer.text
    return answer.text


def rows_of(text: str) -> list[str]:
    """What stands in each row, tags taken out."""
    found = re.findall(r"<tr data-row=.*?</tr>", text, re.DOTALL)
    return [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in found]


def states_of(text: str) -> list[str]:
    return [
        " ".join(re.findall(r"(Stale|Discrepancy|Unaccounted for|Verified|Mail|Search)", row)) for row in rows_of(text)
    ]


def test_what_is_open_stands_first_and_says_so(scene: Flask) -> None:
    rows = rows_of(text_of(logged_in(scene, ALICE)))
    assert [("Open" in row) for row in rows] == [True, True, False, False]
    assert "Stale Mail" in rows[0]
    assert "Unaccounted for Search 1 job unaccounted for: go ne_1" in rows[1]
    assert "Discrepancy Search Beacon knows 9 jobs, Search reports 12" in rows[2]
    assert "Discrepancy Mail Beacon knows 14 jobs, Mail reports 12; 2 missing:" in rows[3]


def test_a_row_names_the_jobs_and_says_how_when_by_whom_and_why_it_ended(scene: Flask) -> None:
    text = text_of(logged_in(scene, ALICE), "?service=mail&kind=missing")
    [row] = rows_of(text)
    assert "job_lo st_1" in row
    assert row.endswith("2026-11-21 12:05:00 · 2 accepted by bob: deleted by hand")
    assert "verified again" in text


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("?service=mail", ["Stale Mail", "Discrepancy Mail Mail"]),
        ("?status=verified", ["Verified Search", "Verified Mail", "Verified Search", "Verified Mail"]),
        ("?status=stale", ["Stale Mail"]),
        ("?show=open", ["Stale Mail", "Unaccounted for Search"]),
        ("?show=closed&status=discrepancy", ["Discrepancy Search Search", "Discrepancy Mail Mail"]),
        ("?kind=missing", ["Discrepancy Mail Mail"]),
        ("?kind=extra", []),
        ("?kind=unaccounted", ["Unaccounted for Search"]),
        ("?kind=other", ["Discrepancy Search Search"]),
        ("?from=2026-11-21T12:06", ["Stale Mail", "Discrepancy Search Search"]),
        ("?to=2026-11-20", []),
        ("?from=2026-11-21&to=2026-11-21&status=stale", ["Stale Mail"]),
        ("?q=id:lost_2", ["Discrepancy Mail Mail"]),
        ("?q=state:stale", ["Stale Mail", "Unaccounted for Search"]),
        ('?q="deleted by hand" -service:search', ["Discrepancy Mail Mail"]),
        (
            "?sort=service",
            ["Discrepancy Mail Mail", "Stale Mail", "Unaccounted for Search", "Discrepancy Search Search"],
        ),
        ("?order=asc&status=stale", ["Stale Mail"]),
    ],
)
def test_the_address_says_what_is_shown(scene: Flask, query: str, wanted: list[str]) -> None:
    assert [re.sub(r" unaccounted.*", "", one) for one in states_of(text_of(logged_in(scene, ALICE), query))] == wanted


def test_what_cannot_be_understood_is_said_under_the_box_and_the_rest_is_shown(scene: Flask) -> None:
    text = text_of(logged_in(scene, ALICE), "?q=colour:red&from=yesterday&status=nonsense&after=garbage")
    assert "Unknown filter" in text
    assert "“from”: expected a date or a time" in text
    assert 'aria-invalid="true"' in text
    assert len(rows_of(text)) == 4


def test_jobs_that_were_missing_when_a_service_stopped_answering_stay_open_with_it(cast: Flask) -> None:
    watched(cast, "mail")
    put(
        cast,
        happened("mail", "discrepancy", at(1), ["job_lost_1"]),
        item("mail", "job_lost_1", "missing", at(1)),
        happened("mail", "stale", at(2), reason="answered 500"),
    )
    client = logged_in(cast, ALICE)
    silent, lost = rows_of(text_of(client, "?show=open"))
    assert "Stale Mail answered 500 Open" in silent
    assert "1 missing: job_lo st_1 Open" in lost
    told = [json.loads(line) for line in client.get("/discrepancies?format=ndjson&show=open").text.splitlines()]
    assert [one["jobIds"] for one in told] == [[], ["job_lost_1"]]
    put(cast, happened("mail", "verified", at(3)))
    assert rows_of(text_of(client, "?show=open")) == []


def test_one_loss_is_one_episode_however_it_shrinks_grows_and_falls_silent(cast: Flask) -> None:
    watched(cast, "mail")
    first = happened("mail", "discrepancy", at(1), ["a", "b", "c"])
    accepted = {"how": "accepted", "by": "bob", "why": "by hand"}
    put(
        cast,
        first,
        happened("mail", "stale", at(2), reason="answered 500"),
        happened("mail", "discrepancy", at(3), ["a", "b", "c"], episode=first.id),
        happened("mail", "discrepancy", at(4), ["b", "c"], episode=first.id),
        happened("mail", "discrepancy", at(5), ["c", "d"], episode=first.id),
        *(item("mail", job, "missing", at(1), at=at(when), **accepted) for job, when in (("a", 4), ("b", 5))),
    )
    client = logged_in(cast, ALICE)
    lost, silent = rows_of(text_of(client))
    assert lost.endswith("Open Act on it")
    assert "4 missing: a b c d" in lost
    assert "Stale Mail answered 500 2026-11-21 12:03:00" in silent, "the cause stays when it has ended"
    put(
        cast,
        *(item("mail", job, "missing", at(1), at=at(9), how="reappeared") for job in ("c", "d")),
        happened("mail", "verified", at(9)),
    )
    [lost] = rows_of(text_of(client, "?status=discrepancy"))
    assert lost.endswith("12:09:00 · 2 accepted by bob: by hand; 2 reappeared")
    assert "another discrepancy" not in text_of(client)
    [told] = client.get("/discrepancies?format=ndjson&status=discrepancy").text.splitlines()
    assert json.loads(told)["jobIds"] == ["a", "b", "c", "d"]


def test_a_loss_of_other_jobs_is_another_episode(cast: Flask) -> None:
    watched(cast, "mail")
    put(cast, happened("mail", "discrepancy", at(1), ["a"]), happened("mail", "discrepancy", at(2), ["b"]))
    newest, before = rows_of(text_of(logged_in(cast, ALICE)))
    assert newest.endswith("Open Act on it")
    assert before.endswith("another discrepancy followed")


def test_a_cause_that_has_ended_says_as_much_as_one_that_has_not(cast: Flask) -> None:
    watched(cast, "mail")
    found = [{"kind": "orphaned", "jobIds": ["r1", "r2"], "since": at(1)}]
    put(cast, happened("mail", "discrepancy", at(1), findings=found, reason="worker w1 died", expected=3, actual=3))
    client = logged_in(cast, ALICE)
    [still] = rows_of(text_of(client))
    put(cast, happened("mail", "verified", at(2)))
    [ended] = rows_of(text_of(client))
    assert "2 running on a dead worker; worker w1 died" in still
    assert still.split(" Open ")[0] == ended.split(" 2026-11-21 12:02")[0]


def test_nothing_wrong_and_nothing_found_say_what_to_do(cast: Flask, scene: Flask) -> None:
    client = logged_in(scene, ALICE)
    assert "No matches." in text_of(client, "?q=id:nobody")


def test_an_empty_record_explains_itself(cast: Flask) -> None:
    assert "No discrepancies recorded" in text_of(logged_in(cast, ALICE))


def test_a_service_that_is_no_longer_watched_has_nothing_open(scene: Flask) -> None:
    with scene.app_context(), write() as session:
        session.execute(sa.update(Service).where(Service.id == "mail").values(removed_at=at(50)))
    [row] = rows_of(text_of(logged_in(scene, ALICE), "?status=stale"))
    assert row.endswith("2026-11-21 12:50:00 · no longer watched")


@pytest.fixture
def long(cast: Flask) -> Flask:
    """A hundred and thirty discrepancies of two services, many at the same moment, jobs unaccounted for in between."""
    watched(cast, "mail", "search")
    moments = [at(number % 60, 10 + number // 60) for number in range(65)]
    put(
        cast,
        *(happened("mail", "discrepancy", when, [f"mail_{n}"]) for n, when in enumerate(moments)),
        *(happened("search", "discrepancy", when, [f"search_{n}"]) for n, when in enumerate(moments)),
        *(item("mail", f"u_{n}", "unaccounted", when) for n, when in enumerate(moments) if n % 3 == 0),
    )
    return cast


def pages(client: FlaskClient, query: str) -> Iterator[list[str]]:
    """The rows of each page, by following the links."""
    address = f"/discrepancies{query}"
    for _ in range(20):
        text = client.get(address, headers=HTML).text
        yield re.findall(r'data-row="([^"]+)"', text)
        older = re.search(r'class="button" href="([^"]+)">(?:Older|Search older)<', text)
        if older is None:
            return
        address = older[1].replace("&amp;", "&")
    raise AssertionError("the pages have no end")


@pytest.mark.parametrize(
    "query", ["", "?order=asc", "?sort=service", "?sort=service&order=desc", "?show=closed", "?q=id:9"]
)
def test_the_pages_hold_every_row_once(long: Flask, query: str) -> None:
    found = list(pages(logged_in(long, ALICE), query))
    rows = [row for page in found for row in page]
    assert len(rows) == len(set(rows))
    assert all(len(page) <= incident_reader.PAGE_ROWS for page in found)
    assert len(rows) == {"": 152, "?show=closed": 128, "?q=id:9": 14}.get(query, 152)


def test_rows_that_come_in_push_nothing_from_page_to_page(long: Flask) -> None:
    client = logged_in(long, ALICE)
    walk = pages(client, "")
    first = next(walk)
    put(long, *(happened("mail", "discrepancy", at(0, 13), ["later"]) for _ in range(60)))
    rows = [*first, *(row for page in walk for row in page)]
    assert len(rows) == len(set(rows))
    assert len(rows) >= 151


def test_a_search_that_finds_little_stops_and_goes_on_from_there(long: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incident_reader, "MAX_ROWS_SEARCHED", 20)
    client = logged_in(long, ALICE)
    assert "20 rows searched so far" in text_of(client, "?q=id:mail_1")
    rows = [row for page in pages(client, "?q=id:mail_1+-id:mail_11") for row in page]
    assert len(rows) == 10


FILTERS = [
    f"?{order}{service}{status}{show}"
    for order in ("", "order=asc", "sort=service", "sort=service&order=desc")
    for service in ("", "&service=mail")
    for status in ("", "&status=stale", "&kind=unaccounted")
    for show in ("", "&show=open", "&show=closed")
]


@pytest.mark.parametrize("query", FILTERS)
def test_a_deep_page_takes_no_longer_than_the_first(cast: Flask, query: str) -> None:
    """By what the database does: it goes straight to the key, and sorts nothing but what is open."""
    watched(cast, "mail")
    client, place = logged_in(cast, ALICE), PageStart(0, IncidentPosition(("b", "c"), ("b", "c")))
    if "sort=service" in query and "service=mail" not in query:
        place = PageStart(0, IncidentPosition(("a", "b", "c"), ("b", "c")))
    asked: list[tuple[str, Any]] = []

    def hear(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if " LIMIT ?" in statement and re.search("FROM (discrepancy_event|open_item)", statement):
            asked.append((statement, parameters))

    with cast.app_context():
        engine = db.engine
    sa.event.listen(engine, "before_cursor_execute", hear)
    try:
        client.get(f"/discrepancies{query}&after={place.encode()}", headers=HTML)
    finally:
        sa.event.remove(engine, "before_cursor_execute", hear)
    deep = [(statement, given) for statement, given in asked if "< (" in statement or "> (" in statement]
    assert deep
    with engine.connect() as connection:
        for statement, given in deep:
            steps = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", given)]
            if any("(id=?)" in step for step in steps):
                continue  # the newest row of each service is all that may be open: those are sorted
            assert any(re.match(r"SEARCH (discrepancy_event|open_item) USING .*INDEX ix_", step) for step in steps), (
                steps
            )
            assert not any("TEMP B-TREE" in step for step in steps), (statement, steps)


def test_csv_is_the_whole_filter_and_no_spreadsheet_runs_it(scene: Flask) -> None:
    hostile = ["=1+1", "+2", "-3", "@cmd", "\tx", "\ry"]
    put(scene, *(happened("mail", "discrepancy", at(41 + number), [name]) for number, name in enumerate(hostile)))
    answer = logged_in(scene, ALICE).get("/discrepancies?format=csv&status=discrepancy", headers=HTML)
    assert answer.content_type == "text/csv; charset=utf-8"
    assert re.fullmatch(
        r'attachment; filename="discrepancies-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ\.csv"',
        answer.headers["Content-Disposition"],
    )
    rows = list(csv.DictReader(io.StringIO(answer.get_data().decode(), newline="")))
    assert len(rows) == 8
    assert [row["jobIds"] for row in rows][:6] == [f"'{name}" for name in reversed(hostile)]
    accepted = rows[-1]
    assert (accepted["jobs"], accepted["closed"], accepted["open"]) == ("2", "2 accepted by bob: deleted by hand", "no")


@pytest.mark.parametrize(
    ("said", "written"),
    [
        (" =1+1", "' =1+1"),
        ("\u00a0\u200b\ufeff@cmd", "'\u00a0\u200b\ufeff@cmd"),
        ("\uff1d1+1", "'\uff1d1+1"),
        ("\n=1", "'\n'=1"),
        ("gone; =HYPERLINK(1)", "gone; '=HYPERLINK(1)"),
        ("job-17+a=b@c", "job-17+a=b@c"),
        ("", ""),
        (-3, -3),
        (True, "yes"),
    ],
)
def test_no_cell_begins_a_formula_behind_what_is_trimmed_or_in_another_list_separator(said: Any, written: Any) -> None:
    assert streaming_export.escape_formula(said) == written


def test_ndjson_holds_an_object_a_line_and_more_than_a_page(long: Flask) -> None:
    answer = long.test_client().get("/discrepancies?format=ndjson", headers=headers_of(long, ALICE, "read"))
    assert answer.content_type == "application/x-ndjson"
    rows = [json.loads(line) for line in answer.text.splitlines()]
    assert len(rows) == 152
    assert {row["kind"] for row in rows} == {"missing", "unaccounted"}
    assert [row["timestamp"] for row in rows] == sorted((row["timestamp"] for row in rows), reverse=True)


def test_a_token_gets_ndjson_and_no_page(scene: Flask) -> None:
    answer = scene.test_client().get("/discrepancies", headers={**headers_of(scene, ALICE, "read"), **HTML})
    assert answer.content_type == "application/x-ndjson"
    refused = scene.test_client().get("/discrepancies", headers=headers_of(scene, ALICE, "stream"))
    assert refused.status_code == 403


@pytest.mark.parametrize("query", ["?format=xml", "?format=csv&from=yesterday"])
def test_an_export_that_cannot_be_what_was_asked_is_refused(scene: Flask, query: str) -> None:
    assert logged_in(scene, ALICE).get(f"/discrepancies{query}").status_code == 400


def test_a_slow_reader_of_an_export_holds_no_connection(long: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incident_reader, "BATCH_ROWS", 10)
    answer = logged_in(long, ALICE).get("/discrepancies?format=ndjson", buffered=False)
    pieces = answer.iter_encoded()
    assert next(pieces)
    with long.app_context():
        assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]  # of the pool that is used
        assert db.session.scalar(sa.select(sa.func.count()).select_from(DiscrepancyEvent)) == 130
    assert sum(piece.count(b"\n") for piece in pieces) > 0
