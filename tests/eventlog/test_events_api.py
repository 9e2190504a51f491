"""`POST /api/events`, `GET /api/events` and the test broadcast."""

import json
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.db import db, read, write
from app.eventlog import reader as log
from app.eventlog.append import NewEvent
from app.infra import concurrency
from tests.support.cast import ALICE, BOB, CHARLIE, PIA, csrf_token, headers_of, logged_in, publish
from tests.support.sse_client import open_stream

URL = "/api/events"
ONE = {"type": "my.event", "data": {"n": 1}}


@pytest.fixture
def client(cast: Flask) -> FlaskClient:
    return cast.test_client()


@pytest.fixture
def publisher(cast: Flask) -> dict[str, str]:
    return headers_of(cast, BOB, "publish")


@pytest.fixture
def reader(cast: Flask) -> dict[str, str]:
    return headers_of(cast, ALICE, "read")


def stored(app: Flask) -> list[log.Event]:
    with app.app_context(), read() as session:
        return log.read_after(session, 0, limit=2_000).events


def problem(response: TestResponse, status: int) -> dict[str, Any]:
    """The refusal's members; it must have the one error shape."""
    assert response.status_code == status, response.text
    assert response.content_type == "application/problem+json"
    body: dict[str, Any] = response.get_json()
    assert set(body) >= {"type", "title", "status", "detail"}
    assert body["status"] == status
    return body


class TestPublishing:
    def test_one_event(self, cast: Flask, client: FlaskClient, publisher: dict[str, str]) -> None:
        response = client.post(URL, json=ONE, headers=publisher)
        assert (response.status_code, response.get_json()) == (201, {"ids": [1]})
        assert [(e.type, e.audience, e.data) for e in stored(cast)] == [("my.event", "everyone", {"n": 1})]

    def test_many_events_in_order(self, cast: Flask, client: FlaskClient, publisher: dict[str, str]) -> None:
        batch: list[dict[str, Any]] = [
            {"type": "a", "data": {"n": n}, "audience": "role:operator"} for n in range(1_000)
        ]
        assert client.post(URL, json=batch, headers=publisher).get_json() == {"ids": list(range(1, 1_001))}
        assert [e.data["n"] for e in stored(cast)] == list(range(1_000))

    def test_all_or_nothing(self, cast: Flask, client: FlaskClient, publisher: dict[str, str]) -> None:
        response = client.post(
            URL, json=[ONE, ONE, {"type": "job.failed", "data": {"service": "m"}}], headers=publisher
        )
        assert list(problem(response, 400)["errors"]) == ["2.data.jobId"]
        assert stored(cast) == []

    @pytest.mark.parametrize("count", [0, 1_001])
    def test_1_to_1000_events(self, cast: Flask, client: FlaskClient, publisher: dict[str, str], count: int) -> None:
        problem(client.post(URL, json=[ONE] * count, headers=publisher), 400)
        assert stored(cast) == []

    @pytest.mark.parametrize(
        ("item", "field"),
        [
            ({"data": {}}, "0.type"),
            ({"type": "a"}, "0.data"),
            ({"type": "a", "data": []}, "0.data"),
            ({"type": "a", "data": None}, "0.data"),
            ({"type": "a", "data": "{}"}, "0.data"),
            ({"type": 7, "data": {}}, "0.type"),
            ({"type": "A B", "data": {}}, "0.type"),
            ({"type": "a", "data": {}, "audience": "all"}, "0.audience"),
            ({"type": "a", "data": {}, "audience": None}, "0.audience"),
            ({"type": "a", "data": {}, "id": 5}, "0.id"),
            ({"type": "job.failed", "data": {}}, "0.data.service"),
            (7, "0"),
            (None, "0"),
            ("a", "0"),
        ],
    )
    def test_bad_fields_are_named(
        self, cast: Flask, client: FlaskClient, publisher: dict[str, str], item: Any, field: str
    ) -> None:
        assert field in problem(client.post(URL, json=[item], headers=publisher), 400)["errors"]
        assert stored(cast) == []

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"nonsense",
            b"\xff\xfe",
            b'{"type": "a", "data": {"n": NaN}}',
            b'{"type": "a", "data": {"n": 1e999}}',
            b'{"type": "a", "data": {"n": ' + b"9" * 5_000 + b"}}",
            b'{"type": "a", "data": {"t": "\\ud800"}}',
            b'{"type": "a", "data": {"\\udfff": 1}}',
            b'{"type": "\\ud800", "data": {}}',
            b'{"type": "a", "data": {}, "\\ud800": 1}',
            b'{"type": "a", "data": {"x": ' + b"[" * 200 + b"]" * 200 + b"}}",
            b'{"type": "a", "data": {"x": ' + b"[" * 30_000 + b"]" * 30_000 + b"}}",
            b"[" * 100_000,
        ],
    )
    @pytest.mark.parametrize("accept", ["application/json", "text/html"])
    def test_bodies_that_are_no_good_json_are_400(
        self, cast: Flask, client: FlaskClient, publisher: dict[str, str], body: bytes, accept: str
    ) -> None:
        headers = {**publisher, "Content-Type": "application/json", "Accept": accept}
        response = client.post(URL, data=body, headers=headers)
        assert response.status_code == 400
        assert response.mimetype == ("text/html" if accept == "text/html" else "application/problem+json")
        assert stored(cast) == []

    def test_another_content_type_is_415(self, client: FlaskClient, publisher: dict[str, str]) -> None:
        problem(client.post(URL, data=json.dumps(ONE), headers={**publisher, "Content-Type": "text/plain"}), 415)

    def test_a_payload_over_64_kib_is_413(self, cast: Flask, client: FlaskClient, publisher: dict[str, str]) -> None:
        big = {"type": "a", "data": {"pad": "x" * 65_536}}
        assert list(problem(client.post(URL, json=[ONE, big], headers=publisher), 413)["errors"]) == ["1.data"]
        assert stored(cast) == []

    def test_a_body_over_8_mib_is_413(self, cast: Flask, client: FlaskClient, publisher: dict[str, str]) -> None:
        body = json.dumps({"type": "a", "data": {"pad": "x" * 9_000_000}})
        problem(client.post(URL, data=body, headers={**publisher, "Content-Type": "application/json"}), 413)

    def test_a_batch_just_under_8_mib_is_taken(self, client: FlaskClient, publisher: dict[str, str]) -> None:
        item = {"type": "a", "data": {"pad": "x" * 65_000}}
        assert client.post(URL, json=[item] * 128, headers=publisher).status_code == 201

    def test_a_body_as_large_as_json_can_make_it_is_413_before_it_is_parsed(
        self, cast: Flask, client: FlaskClient, publisher: dict[str, str]
    ) -> None:
        body = '[{"type": "a", "data": {}}, {"type": "a", "data": {"x": [' + "1," * 2_000_000
        headers = {**publisher, "Content-Type": "application/json"}
        assert list(problem(client.post(URL, data=body, headers=headers), 413)["errors"]) == ["1.data"]
        assert stored(cast) == []

    def test_of_very_many_bad_fields_the_first_are_named(self, client: FlaskClient, publisher: dict[str, str]) -> None:
        errors = problem(client.post(URL, json=[{"x": 1}] * 1_000, headers=publisher), 400)["errors"]
        assert list(errors)[:4] == ["0.type", "0.data", "0.x", "1.type"]
        assert 1_000 <= len(errors) < 1_010
        bad = {**ONE, **{f"x{n}": 1 for n in range(2_000)}}
        errors = problem(client.post(URL, json=[ONE, bad], headers=publisher), 400)["errors"]
        assert errors == {"1": "2000 of its fields are unknown"}

    def test_a_payload_of_a_known_type_has_few_fields(self, client: FlaskClient, publisher: dict[str, str]) -> None:
        data = {"service": "mail", "jobId": "a", **{f"x{n}": 1 for n in range(20_000)}}
        errors = problem(client.post(URL, json={"type": "job.failed", "data": data}, headers=publisher), 400)["errors"]
        assert errors == {"0.data": "expected at most 100 fields"}

    @pytest.mark.parametrize(
        "name",
        ["reconciliation.update", "command.status", "flag.changed", "notification.new", "flash.message", "control.x"],
    )
    def test_own_types_are_refused(
        self, cast: Flask, client: FlaskClient, publisher: dict[str, str], name: str
    ) -> None:
        response = client.post(URL, json=[ONE, {"type": name, "data": {}}], headers=publisher)
        assert problem(response, 403)["reason"] == "own-type"
        assert stored(cast) == []

    @pytest.mark.parametrize("is_first", [True, False])
    def test_of_several_mistakes_the_fields_are_told_first(
        self, client: FlaskClient, publisher: dict[str, str], is_first: bool
    ) -> None:
        """Whatever the order of the events: JSON, then their number, fields, Beacon's own types, payloads."""

        def answer(*batch: Any, end: str = "]") -> TestResponse:
            items = batch if is_first else batch[::-1]
            body = "[" + ",".join(json.dumps(item) for item in items) + end
            return client.post(URL, data=body, headers={**publisher, "Content-Type": "application/json"})

        no_type, own, bad = {"data": {}}, {"type": "control.x", "data": {}}, {"type": "job.failed", "data": {}}
        assert "not JSON" in problem(answer(no_type, own, bad, end=",]"), 400)["detail"]
        assert "1000" in problem(answer(*[no_type] * 1_001), 400)["detail"]
        assert [field[2:] for field in problem(answer(no_type, own, bad), 400)["errors"]] == ["type"]
        assert problem(answer(own, bad), 403)["reason"] == "own-type"
        assert [field[1:] for field in problem(answer(ONE, bad), 400)["errors"]] == [".data.service"]

    def test_the_control_audience_is_refused(self, client: FlaskClient, publisher: dict[str, str]) -> None:
        problem(client.post(URL, json={**ONE, "audience": "control"}, headers=publisher), 403)

    def test_names_that_only_look_like_own_types_are_taken(
        self, client: FlaskClient, publisher: dict[str, str]
    ) -> None:
        batch = [{"type": name, "data": {}} for name in ("flags.x", "flag", "my.command.status", "controls")]
        assert client.post(URL, json=batch, headers=publisher).status_code == 201


class TestWhoMayPublish:
    def test_nobody_without_a_credential(self, client: FlaskClient) -> None:
        problem(client.post(URL, json=ONE), 401)

    def test_a_token_with_the_scope_only(self, cast: Flask, client: FlaskClient) -> None:
        for_reading = headers_of(cast, BOB, "read", "stream", "command", "admin")
        assert problem(client.post(URL, json=ONE, headers=for_reading), 403)["reason"] == "scope"

    def test_an_operator_with_a_session_and_its_csrf_token(self, cast: Flask) -> None:
        browser = logged_in(cast, BOB)
        problem(browser.post(URL, json=ONE), 400)
        token = csrf_token(browser, "/")
        assert browser.post(URL, json=ONE, headers={"X-CSRFToken": token}).status_code == 201

    @pytest.mark.parametrize("person", [ALICE, PIA], ids=lambda person: person.name)
    def test_no_other_person(self, cast: Flask, person: Any) -> None:
        browser = logged_in(cast, person)
        response = browser.post(URL, json=ONE, headers={"X-CSRFToken": csrf_token(browser, "/")})
        assert problem(response, 403)["reason"] == "role"

    @pytest.mark.parametrize("method", ["put", "delete", "patch"])
    def test_other_methods_are_405(self, client: FlaskClient, publisher: dict[str, str], method: str) -> None:
        response = getattr(client, method)(URL, json=ONE, headers=publisher)
        problem(response, 405)
        assert set(response.headers["Allow"].split(", ")) >= {"GET", "POST"}


class TestReading:
    def get(self, client: FlaskClient, headers: dict[str, str], query: str) -> dict[str, Any]:
        response = client.get(f"{URL}?{query}", headers=headers)
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.get_json()
        assert set(body) == {"data", "meta"}
        assert len(body["meta"].pop("generation")) == 8
        assert set(body["meta"]) == {"head", "next", "reset"}
        return body

    def test_an_empty_log(self, client: FlaskClient, reader: dict[str, str]) -> None:
        assert self.get(client, reader, "") == {"data": [], "meta": {"head": 0, "next": None, "reset": None}}

    def test_events_have_id_type_timestamp_and_data(
        self, cast: Flask, client: FlaskClient, reader: dict[str, str]
    ) -> None:
        publish(cast, NewEvent("a", {"n": 1}))
        (found,) = self.get(client, reader, "after=0")["data"]
        assert list(found) == ["id", "type", "timestamp", "data"]
        assert (found["id"], found["type"], found["data"]) == (1, "a", {"n": 1})

    def test_pages_are_joined_by_next_without_gap_or_repeat(
        self, cast: Flask, client: FlaskClient, reader: dict[str, str]
    ) -> None:
        publish(cast, *(NewEvent("a", {}, "user:bob" if n % 3 else "everyone") for n in range(20)))
        seen, cursor = [], "0"
        while cursor != "None":
            page = self.get(client, reader, f"after={cursor}&limit=3")
            seen += [event["id"] for event in page["data"]]
            cursor = str(page["meta"]["next"])
        assert seen == [1, 4, 7, 10, 13, 16, 19]
        assert page["meta"]["head"] == 20

    @pytest.mark.parametrize(("cursor", "reset"), [(1, "pruned"), (9, "future")])
    def test_an_unusable_cursor_is_said(
        self, cast: Flask, client: FlaskClient, reader: dict[str, str], cursor: int, reset: str
    ) -> None:
        publish(cast, *(NewEvent("a", {}) for _ in range(4)))
        prune_through(cast, 2)
        body = self.get(client, reader, f"after={cursor}")
        assert body == {"data": [], "meta": {"head": 4, "next": None, "reset": reset}}

    def test_the_first_and_the_last_usable_cursor_are_no_reset(
        self, cast: Flask, client: FlaskClient, reader: dict[str, str]
    ) -> None:
        publish(cast, *(NewEvent("a", {}) for _ in range(4)))
        prune_through(cast, 2)
        oldest, newest = self.get(client, reader, "after=2"), self.get(client, reader, "after=0004")
        assert ([event["id"] for event in oldest["data"]], oldest["meta"]["reset"]) == ([3, 4], None)
        assert newest == {"data": [], "meta": {"head": 4, "next": None, "reset": None}}

    def test_without_a_cursor_it_begins_at_the_oldest_there_is(
        self, cast: Flask, client: FlaskClient, reader: dict[str, str]
    ) -> None:
        publish(cast, *(NewEvent("a", {}) for _ in range(4)))
        prune_through(cast, 2)
        body = self.get(client, reader, "")
        assert ([event["id"] for event in body["data"]], body["meta"]["reset"]) == ([3, 4], None)

    @pytest.mark.parametrize(
        "query",
        ["after=x", "after=", "after=-1", "after=1.5", "after=%00", "after=٣", "after=" + "9" * 19, "after=1e3",
         "limit=0", "limit=-1", "limit=1001", "limit=many", "limit="],
    )  # fmt: skip
    def test_a_malformed_number_is_400(self, client: FlaskClient, reader: dict[str, str], query: str) -> None:
        response = client.get(f"{URL}?{query}", headers=reader)
        assert list(problem(response, 400)["errors"]) == [query.partition("=")[0]]

    def test_it_needs_the_scope_read(self, cast: Flask, client: FlaskClient) -> None:
        problem(client.get(URL), 401)
        problem(client.get(URL, headers=headers_of(cast, BOB, "stream", "publish")), 403)

    def test_a_session_may_read(self, cast: Flask) -> None:
        assert logged_in(cast, CHARLIE).get(URL, headers={"Accept": "application/json"}).status_code == 200

    def test_unreadable_rows_are_left_out(self, cast: Flask, client: FlaskClient, reader: dict[str, str]) -> None:
        with cast.app_context(), write() as session:
            session.connection().exec_driver_sql("INSERT INTO event (type, data_json) VALUES ('a', '{')")
        publish(cast, NewEvent("b", {}))
        assert [event["id"] for event in self.get(client, reader, "after=0")["data"]] == [2]


class TestTurns:
    """A large body or page is work for many turns of the loop, and nothing scarce is held from one to the next."""

    @pytest.fixture
    def turns(self, monkeypatch: pytest.MonkeyPatch, cast: Flask) -> list[int]:
        """How many connections were out at each breath; no time passes, so that only the count of items counts."""
        taken: list[int] = []
        monkeypatch.setattr(concurrency, "yield_to_loop", lambda: taken.append(db.engine.pool.checkedout()))  # type: ignore[attr-defined]
        monkeypatch.setattr(concurrency.TimeSlice, "is_over", lambda _pace: False)
        return taken

    def test_publishing_lets_others_go_on_before_its_transaction(
        self, client: FlaskClient, publisher: dict[str, str], turns: list[int]
    ) -> None:
        assert client.post(URL, json=[ONE] * 1_000, headers=publisher).status_code == 201
        assert turns == [0] * (1_000 // concurrency.SLICE_ITEMS)

    def test_a_refused_batch_too(self, client: FlaskClient, publisher: dict[str, str], turns: list[int]) -> None:
        bad = {"type": "job.failed", "data": {}}
        assert client.post(URL, json=[ONE] * 999 + [bad], headers=publisher).status_code == 400
        assert len(turns) == 1_000 // concurrency.SLICE_ITEMS

    def test_nothing_is_checked_inside_the_transaction(
        self, client: FlaskClient, publisher: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out: list[int] = []
        dumps = json.dumps

        def noted(*args: Any, **kwargs: Any) -> str:
            out.append(db.engine.pool.checkedout())  # type: ignore[attr-defined]
            return dumps(*args, **kwargs)

        monkeypatch.setattr("app.eventlog.append.json.dumps", noted)
        body = dumps([ONE] * 3)
        headers = {**publisher, "Content-Type": "application/json"}
        assert client.post(URL, data=body, headers=headers).status_code == 201
        assert out[:3] == [0, 0, 0]

    def test_reading_lets_others_go_on(
        self, cast: Flask, client: FlaskClient, reader: dict[str, str], turns: list[int]
    ) -> None:
        publish(cast, *(NewEvent("a", {"n": n}) for n in range(500)))
        assert len(client.get(f"{URL}?after=0&limit=500", headers=reader).get_json()["data"]) == 500
        assert turns == [0] * (500 // concurrency.SLICE_ITEMS)

    def test_a_page_of_large_events_ends_early_and_the_next_goes_on(
        self, cast: Flask, client: FlaskClient, reader: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.web.events_api.routes.MAX_PAGE_CHARS", 1_000)
        publish(cast, *(NewEvent("a", {"n": n, "pad": "x" * 300}) for n in range(7)))
        pages, cursor = [], 0
        while cursor is not None:
            page = client.get(f"{URL}?after={cursor}", headers=reader).get_json()
            pages.append([event["data"]["n"] for event in page["data"]])
            cursor = page["meta"]["next"]
        assert pages == [[0, 1, 2, 3], [4, 5, 6]]


class TestBroadcast:
    def test_an_operator_broadcasts_to_everyone(self, live_app: Flask) -> None:
        client = live_app.test_client()
        with open_stream(client, headers=headers_of(live_app, CHARLIE)) as reader:
            reader.frames(1)
            response = client.post("/api/sse/test", headers=headers_of(live_app, BOB, "publish"))
            frame = reader.until("test.broadcast")[-1]
        assert (response.status_code, response.get_json()) == (201, {"id": 1})
        assert (frame.id, frame.json()["data"]["actor"]) == ("1", "bob")

    def test_it_needs_an_operator_and_the_scope(self, cast: Flask, client: FlaskClient) -> None:
        problem(client.post("/api/sse/test"), 401)
        problem(client.post("/api/sse/test", headers=headers_of(cast, ALICE, "publish")), 403)
        problem(client.post("/api/sse/test", headers=headers_of(cast, BOB, "read")), 403)
        problem(client.get("/api/sse/test", headers=headers_of(cast, BOB, "publish")), 405)


def prune_through(app: Flask, last: int) -> None:
    with app.app_context(), write() as session:
        session.connection().exec_driver_sql(f"DELETE FROM event WHERE id <= {last}")
