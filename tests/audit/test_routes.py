"""The audit over HTTP: pages, filters, sorting, keys, exact totals, exports with the head, the Verify button."""

import csv
import io
import json
import re
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from app.audit import chain, count_cache, export, head_file, reader_pool, search
from app.audit.models import AuditRow
from app.audit.query_params import AuditCursor, AuditQuery
from app.config import Settings
from app.db import db, read, write
from app.web.audit import routes
from tests.support.application import copy_database, make_database
from tests.support.cast import ADA, ALICE, CAST, csrf_token, headers_of, join, logged_in
from tests.support.on_postgres import IS_ON_POSTGRES

HTML = {"Accept": "text/html"}


def entry(number: int) -> chain.Entry:
    return chain.Entry(
        ("bob", "ada")[number % 2],
        ("retry-job", "delete-job")[number % 3 == 0],
        ("mail", "search", "invoices")[number % 3],
        "failure" if number % 10 == 0 else "success",
        before={"failed": number, "same": 1},
        after={"failed": number + 1, "same": 1},
        params={"why": f"=note-{number}"},
        command_id="c1" if number % 50 == 7 else None,
    )


@pytest.fixture(scope="module")
def filled_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hundred entries of two people on three services; every tenth failed."""

    return make_database(tmp_path_factory.mktemp("filled"), *CAST, fill=fill)


def fill(app: Flask) -> None:
    with app.app_context(), write() as session:
        for number in range(200):
            chain.record(session, entry(number))


@pytest.fixture
def scene(app: Flask, settings: Settings, request: pytest.FixtureRequest) -> Flask:
    if IS_ON_POSTGRES:
        join(app, *CAST)
        fill(app)
    else:
        copy_database(request.getfixturevalue("filled_database"), settings)
    return app


def steps_of(app: Flask, **asked: Any) -> int:
    """How many steps SQLite's machine takes for one page."""
    made = AuditQuery.model_validate(asked)
    with app.app_context(), closing(reader_pool.open_file(str(db.engine.url.database))) as connection:
        counted: list[int] = []
        connection.set_progress_handler(lambda: counted.append(1), 1)

        def fetch(statement: Any, budget: Any = None) -> reader_pool.Rows:
            compiled = statement.compile(dialect=db.engine.dialect)
            values = [compiled.params[name] for name in compiled.positiontup or ()]
            return connection.execute(str(compiled), values).fetchall()

        search.find_page(fetch, made, count_cache.CountCache())
    return len(counted)


class Api:
    def __init__(self, app: Flask) -> None:
        self.app, self._headers = app, headers_of(app, ALICE, "read")

    def get(self, **query_: Any) -> dict[str, Any]:
        answer = self.app.test_client().get("/reconciliation/audit", query_string=query_, headers=self._headers)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.get_json()
        return found

    def raw(self, **query_: Any) -> Any:
        return self.app.test_client().get("/reconciliation/audit", query_string=query_, headers=self._headers)


@pytest.fixture
def api(scene: Flask) -> Api:
    return Api(scene)


def expected(app: Flask, *where: Any) -> list[int]:
    with app.app_context(), read() as session:
        return list(session.scalars(sa.select(AuditRow.seq).where(*where).order_by(AuditRow.seq.desc())))


def walked(api: Api, **query_: Any) -> list[int]:
    found = api.get(limit=17, **query_)
    seqs = [entry["seq"] for entry in found["data"]]
    for _ in range(100):
        if found["meta"]["next"] is None:
            return seqs
        found = api.get(limit=17, **query_, cursor=found["meta"]["next"])
        seqs += [entry["seq"] for entry in found["data"]]
    raise AssertionError("the pages have no end")


def test_an_entry_has_the_shape_of_the_contract(api: Api) -> None:
    entry = api.get(target="mail", limit=1, sortOrder="asc")["data"][0]
    assert {*entry} == {
        *("id", "seq", "timestamp", "actor", "actionType", "target", "stage", "outcome", "beforeState", "afterState"),
        *("commandParams", "logs", "prevHash", "hash", "origin"),
    }
    assert [*entry][:5] == ["id", "seq", "timestamp", "actor", "actionType"]
    assert (entry["beforeState"], entry["afterState"]) == ({"failed": 0, "same": 1}, {"failed": 1, "same": 1})
    assert (entry["actor"], entry["outcome"], entry["stage"]) == ("bob", "failure", "result")


FILTERS = [
    ({}, ()),
    ({"actor": "bob"}, (AuditRow.actor == "bob",)),
    ({"actionType": "delete-job"}, (AuditRow.action_type == "delete-job",)),
    ({"target": "mail", "outcome": "failure"}, (AuditRow.target == "mail", AuditRow.outcome == "failure")),
    ({"outcome": "success"}, (AuditRow.outcome == "success",)),
    ({"actor": "ada", "target": "search"}, (AuditRow.actor == "ada", AuditRow.target == "search")),
    ({"commandId": "c1"}, (AuditRow.command_id == "c1",)),
    ({"commandId": "c1", "outcome": "success"}, (AuditRow.command_id == "c1", AuditRow.outcome == "success")),
    ({"actor": "nobody"}, (AuditRow.actor == "nobody",)),
    ({"q": "note-19"}, (AuditRow.command_params_json.contains("note-19"),)),
    ({"q": "NOTE-1 mail"}, (AuditRow.command_params_json.contains("note-1"), AuditRow.target == "mail")),
]


@pytest.mark.parametrize(("asked", "where"), FILTERS)
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_by_key_hold_every_entry_once(
    api: Api, asked: dict[str, str], where: tuple[Any, ...], order: str
) -> None:
    wanted = expected(api.app, *where)
    assert walked(api, **asked, sortOrder=order) == (wanted if order == "desc" else wanted[::-1])


@pytest.mark.parametrize(("asked", "where"), [each for each in FILTERS if "q" not in each[0]])
def test_numbered_pages_hold_the_same_and_the_total_is_exact(
    api: Api, asked: dict[str, str], where: tuple[Any, ...]
) -> None:
    wanted = expected(api.app, *where)
    for page in (1, 2, 5):
        found = api.get(**asked, page=page, limit=10)
        assert [entry["seq"] for entry in found["data"]] == wanted[10 * page - 10 : 10 * page]
        assert (found["meta"]["total"], found["meta"]["totalPages"]) == (len(wanted), -(-len(wanted) // 10))
        assert "totalIsMinimum" not in found["meta"]


@pytest.mark.parametrize("column", ["actor", "actionType", "target", "outcome"])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_other_columns_sort_too(api: Api, column: str, order: str) -> None:
    seqs = walked(api, sortBy=column, sortOrder=order)
    by_seq = {entry["seq"]: entry for entry in api.get(limit=500)["data"]}
    assert sorted(seqs) == sorted(by_seq)
    keys = [(by_seq[seq][column], seq) for seq in seqs]
    assert keys == sorted(keys, reverse=order == "desc")


def test_the_way_back_leads_over_the_same_pages(api: Api) -> None:
    first = api.get(limit=20)
    second = api.get(limit=20, cursor=first["meta"]["next"])
    back = api.get(limit=20, cursor=second["meta"]["previous"])
    assert back["data"] == first["data"]
    assert first["meta"]["previous"] is None
    assert back["meta"]["next"] is not None


def test_entries_that_come_in_push_nothing_from_page_to_page(api: Api) -> None:
    first = api.get(limit=50, actor="bob")
    with api.app.app_context(), write() as session:
        chain.record(session, chain.Entry("bob", "x", "y"))
    second = api.get(limit=50, actor="bob", cursor=first["meta"]["next"])
    assert not {entry["seq"] for entry in first["data"]} & {entry["seq"] for entry in second["data"]}
    assert second["meta"]["total"] == 101


def total_of(app: Flask, asked: dict[str, Any], totals: count_cache.CountCache) -> int:
    query = AuditQuery.model_validate(asked)
    with app.app_context():
        return reader_pool.run_read(lambda fetch: search.find_page(fetch, query, totals).total)


def test_no_filter_is_shown_the_total_of_another(api: Api) -> None:
    """Each is counted with what the others have left in the cache, and again after further entries."""
    totals, moment = count_cache.CountCache(), api.get(limit=1, page=100)["data"][0]["timestamp"]
    times = ({}, {"startDate": moment}, {"endDate": moment}, {"endDate": "2999-01-01"})
    for _ in range(2):
        for asked in ({**one, **time} for one, _ in FILTERS if "q" not in one for time in times):
            assert total_of(api.app, asked, totals) == total_of(api.app, asked, count_cache.CountCache()), asked
        with api.app.app_context(), write() as session:
            chain.record(session, entry(7))


def test_a_total_is_exact_up_to_its_bound_and_then_the_least(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (count_cache, search):
        monkeypatch.setattr(module, "MAX_COUNTED_ROWS", 30)
    meta = api.get(actor="bob")["meta"]
    assert (meta["total"], meta["totalIsMinimum"]) == (30, True)
    assert api.get()["meta"]["totalIsMinimum"] is True


def test_a_span_of_time_is_found(api: Api) -> None:
    assert api.get(startDate="2999-01-01")["meta"]["total"] == 0
    assert api.get(endDate="2001-01-01")["meta"]["total"] == 0
    everything = api.get(startDate="2001-01-01", endDate="2999-01-01")["meta"]["total"]
    assert everything == len(expected(api.app))
    at = api.get(limit=1)["data"][0]["timestamp"]
    assert {entry["timestamp"] for entry in api.get(startDate=at)["data"]} == {at}


@pytest.mark.parametrize(
    "wrong",
    [
        {"page": 0}, {"limit": 501}, {"sortBy": "hash"}, {"outcome": "maybe"}, {"startDate": "yesterday"},
        {"cursor": AuditCursor(("\ud800", 5)).encode(), "sortBy": "actor"},
        {"cursor": AuditCursor(("a\0b", 5)).encode()}, {"cursor": "nonsense"}, {"cursor": "W10"},
        {"actor": "a\0b"}, {"format": "xml"},
    ],
)  # fmt: skip
def test_what_cannot_be_understood_is_refused_by_name(api: Api, wrong: dict[str, Any]) -> None:
    answer = api.raw(**wrong)
    assert answer.status_code == 400
    assert next(iter(wrong)) in answer.get_json()["errors"]


def test_a_search_that_finds_little_stops_and_goes_on_from_there(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "SEARCH_WINDOW_ROWS", 20)
    monkeypatch.setattr(search, "MAX_SEARCH_S", 0)
    assert api.get(q="note-3")["data"] == []
    assert len(walked(api, q="note-3")) == 11


@pytest.mark.parametrize("asked", [{"q": "note-3"}, {"q": "success"}, {"q": "NOTE-1 mail", "actor": "ada"}])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_a_searched_export_is_what_the_pages_show(
    api: Api, monkeypatch: pytest.MonkeyPatch, asked: dict[str, str], order: str
) -> None:
    monkeypatch.setattr(search, "SEARCH_WINDOW_ROWS", 20)
    answer = api.raw(**asked, sortOrder=order, format="ndjson")
    exported = [json.loads(line)["seq"] for line in answer.text.splitlines()[:-1]]
    assert exported == walked(api, **asked, sortOrder=order)


@pytest.mark.parametrize("asked", [{}, {"q": "note"}, {"sortBy": "actor"}])
def test_an_export_in_many_small_pieces_holds_every_entry_once(
    api: Api, monkeypatch: pytest.MonkeyPatch, asked: dict[str, str]
) -> None:
    whole = api.raw(**asked, format="ndjson").text
    monkeypatch.setattr(export, "MAX_READ_BYTES", 1)
    assert api.raw(**asked, format="ndjson").text == whole


def test_a_search_too_many_is_told_when_to_come_back(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = threading.BoundedSemaphore(1)
    monkeypatch.setattr(reader_pool, "_pending", turns)
    with turns:
        answer = api.raw(q="x")
        assert (answer.status_code, int(answer.headers["Retry-After"]) > 0) == (503, True)
    assert api.raw(q="x").status_code == 200


@pytest.mark.parametrize("path", ["/reconciliation/audit", "/audit"])
def test_exports_hold_the_whole_filter_and_the_head(api: Api, path: str) -> None:
    client = logged_in(api.app, ALICE)
    answer = client.get(f"{path}?format=ndjson&actor=bob")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["seq"] for line in lines[:-1]] == expected(api.app, AuditRow.actor == "bob")
    head = lines[-1]["head"]
    assert answer.headers["Audit-Head"] == f"seq={head['seq']} hash={head['hash']}"
    with api.app.app_context(), read() as session:
        assert chain.read_head(session).hash == head["hash"]


def test_no_spreadsheet_runs_a_csv_and_its_last_line_is_the_head(api: Api) -> None:
    with api.app.app_context(), write() as session:
        for hostile in ("=1+1", "+2", "-3", "@cmd", "\tx"):
            chain.record(session, chain.Entry("eve", "x", hostile))
    answer = logged_in(api.app, ALICE).get("/audit?format=csv&actor=eve")
    rows = list(csv.DictReader(io.StringIO(answer.get_data().decode(), newline="")))
    assert [row["target"] for row in rows[:-1]] == ["'\tx", "'@cmd", "'-3", "'+2", "'=1+1"]
    assert rows[-1]["actionType"] == "(head)"
    assert rows[-1]["hash"] in answer.headers["Audit-Head"]


def test_an_export_holds_no_connection_while_it_is_read(scene: Flask) -> None:
    answer = logged_in(scene, ALICE).get("/audit?format=ndjson", buffered=False)
    pieces = answer.iter_encoded()
    assert next(pieces)
    with scene.app_context():
        assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]  # of the pool that is used


def page(client: FlaskClient, address: str = "/audit") -> str:
    answer = client.get(address, headers=HTML)
    assert answer.status_code == 200, answer.text
    return answer.text


def rows_of(text: str) -> list[str]:
    found = re.findall(r"<tr data-seq=.*?</details>", text, re.DOTALL)
    return [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in found]


def test_the_page_shows_who_did_what_before_and_after_side_by_side(scene: Flask) -> None:
    [row] = rows_of(page(logged_in(scene, ALICE), "/audit?q=note-199"))
    assert "Success retry-job search ada failed: 199 → 200 Before After failed 199 200 same 1 1 why =note-199" in row


def test_the_pages_of_the_page_are_links(scene: Flask) -> None:
    client = logged_in(scene, ALICE)
    text = page(client, "/audit?actor=bob&sortOrder=asc")
    older = re.search(r'class="button" href="([^"]+)" rel="next"', text)
    assert older
    second = page(client, older[1].replace("&amp;", "&"))
    assert (len(rows_of(text)), len(rows_of(second))) == (50, 50)
    assert 'rel="prev"' in second
    assert "100 entries" in second


def test_what_cannot_be_understood_is_said_and_the_rest_is_shown(scene: Flask) -> None:
    text = page(logged_in(scene, ALICE), "/audit?startDate=yesterday&outcome=maybe&actor=bob&cursor=x")
    assert "“startDate”: expected a date or a time" in text
    assert len(rows_of(text)) == 50


def test_a_token_gets_no_page(scene: Flask) -> None:
    answer = scene.test_client().get("/audit", headers={**headers_of(scene, ALICE, "read"), **HTML})
    assert answer.content_type == "application/x-ndjson"
    assert scene.test_client().get("/audit", headers=headers_of(scene, ALICE, "stream")).status_code == 403


def test_the_button_tells_how_far_it_is_and_what_was_found(scene: Flask) -> None:
    client = logged_in(scene, ALICE)
    answer = client.post("/audit/verify", data={"csrf_token": csrf_token(client, "/")}, buffered=True)
    lines = answer.text.splitlines()
    count = len(expected(scene))
    assert lines[0] == f"{count} of {count}"
    assert re.fullmatch(rf"ok: {count} entries, head [0-9a-f]{{64}}, seq {count}; \S+Z", lines[-1])


def test_the_button_says_which_head_from_outside_it_compared(scene: Flask, database: Path) -> None:
    assert press_verify(scene)[-2] == "compared: no outside head: this shows only that the chain is consistent"
    with scene.app_context():
        head_file.current_keeper().update()
        kept = head_file.current_keeper().read_kept()
    assert kept is not None
    assert press_verify(scene)[-2] == f"compared: against {kept.description}"
    with closing(sqlite3.connect(database, isolation_level=None)) as intruder:
        intruder.execute("DROP TRIGGER command_audit_no_delete")
        intruder.execute("DELETE FROM command_audit WHERE seq > 3")
    assert press_verify(scene)[-1].startswith(f"broken: {kept.description} is newer than the log, which ends at seq ")
    Path(kept.file).write_text("{")
    assert press_verify(scene)[-1].startswith("cannot tell: the head kept by this host: ")


def press_verify(app: Flask) -> list[str]:
    client = logged_in(app, ALICE)
    answer = client.post("/audit/verify", data={"csrf_token": csrf_token(client, "/")}, buffered=True)
    return answer.text.splitlines()


def test_the_button_names_the_entry_that_does_not_hold(scene: Flask, database: Path) -> None:
    with closing(sqlite3.connect(database, isolation_level=None)) as intruder:
        intruder.execute("DROP TRIGGER command_audit_no_update")
        intruder.execute("UPDATE command_audit SET actor = 'somebody else' WHERE seq = 12")
    client = logged_in(scene, ALICE)
    answer = client.post("/audit/verify", data={"csrf_token": csrf_token(client, "/")}, buffered=True)
    [last] = answer.text.splitlines()
    wrong = r"broken: entry [0-9a-f]{32} \(seq 12\): its content does not match its hash"
    said = wrong + r"; 11 entries before it are valid; \S+Z"
    assert re.fullmatch(said, last)


def test_a_reading_that_cannot_begin_leaves_the_button_to_others(scene: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    client = logged_in(scene, ALICE)
    token = csrf_token(client, "/")

    def fails(_lines: object) -> None:
        raise MemoryError

    monkeypatch.setattr(routes, "stream_with_context", fails)
    assert client.post("/audit/verify", data={"csrf_token": token}).status_code == 500
    monkeypatch.undo()
    assert client.post("/audit/verify", data={"csrf_token": token}, buffered=True).status_code == 200


def test_one_reading_at_a_time_and_one_that_was_left_is_over(scene: Flask) -> None:
    client, other = logged_in(scene, ALICE), logged_in(scene, ADA)
    token, others = csrf_token(client, "/"), csrf_token(other, "/")
    first = client.post("/audit/verify", data={"csrf_token": token}, buffered=False)
    assert other.post("/audit/verify", data={"csrf_token": others}).status_code == 409
    first.close()
    assert other.post("/audit/verify", data={"csrf_token": others}, buffered=True).status_code == 200


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.sqlite("counts the steps of SQLite's machine")
def test_a_page_far_from_the_newest_reads_no_more_than_the_first(scene: Flask, backwards: bool) -> None:
    far = AuditCursor((100,), backwards=backwards).encode()
    assert steps_of(scene, limit=5, cursor=far) <= 1.1 * steps_of(scene, limit=5)
