"""`/api/rollout/{flag}`: where a flag stands, and changing it only from where it was seen."""

from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from app.db import db, read, write
from app.eventlog import reader as log
from app.flags import embedded
from app.flags.evaluation import Flag, is_enabled
from tests.support.cast import ADA, ALICE, BOB, CAST, PIA, Person, csrf_token, headers_of, logged_in
from tests.support.waiting import wait_for

URL = "/api/rollout/enable_sse_streaming"
MEMBERS = ["flag", "enabled", "percentage", "mode", "workers", "actor", "changedAt"]


class Desk:
    """A program of whoever runs the rollout."""

    def __init__(self, app: Flask, person: Person = PIA) -> None:
        self.app, self._client = app, app.test_client()
        self._headers = headers_of(app, person, "rollout")

    def get(self) -> dict[str, Any]:
        response = self._client.get(URL, headers=self._headers)
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.get_json()
        return body

    def put(self, **body: Any) -> TestResponse:
        return self._client.put(URL, json={"reason": "because", **body}, headers=self._headers)

    def count(self, table: str) -> int:
        with self.app.app_context(), read() as session:
            return int(session.execute(db.text(f"SELECT count(*) FROM {table}")).scalar_one())


@pytest.fixture
def desk(cast: Flask) -> Desk:
    return Desk(cast)


def problem(response: TestResponse, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.content_type == "application/problem+json"
    body: dict[str, Any] = response.get_json()
    return body


class TestWhoMay:
    @pytest.mark.parametrize("person", CAST, ids=lambda person: person.name)
    def test_everyone_sees_and_product_and_admin_set(self, cast: Flask, person: Person) -> None:
        browser = logged_in(cast, person)
        headers = {"X-CSRFToken": csrf_token(browser, "/"), "Accept": "application/json"}
        assert browser.get(URL, headers=headers).status_code == 200
        response = browser.put(URL, json={"percentage": 5, "reason": "why"}, headers=headers)
        if person in (PIA, ADA):
            assert response.status_code == 200, response.text
        else:
            assert problem(response, 403)["reason"] == "role"

    def test_a_token_needs_the_scope(self, cast: Flask) -> None:
        client, body = cast.test_client(), {"percentage": 5, "reason": "why"}
        problem(client.get(URL), 401)
        for_reading, others = headers_of(cast, PIA, "read"), headers_of(cast, PIA, "stream", "admin", "command")
        assert client.get(URL, headers=for_reading).status_code == 200
        assert problem(client.get(URL, headers=others), 403)["reason"] == "scope"
        assert problem(client.put(URL, json=body, headers=for_reading), 403)["reason"] == "scope"
        assert problem(client.put(URL, json=body, headers=headers_of(cast, BOB, "rollout")), 403)["reason"] == "role"

    def test_a_cookie_needs_its_csrf_token(self, cast: Flask) -> None:
        response = logged_in(cast, PIA).put(URL, json={"percentage": 5, "reason": "why"})
        assert problem(response, 400)["reason"] == "csrf"

    @pytest.mark.parametrize("method", ["get", "put"])
    def test_an_unknown_flag_is_404_and_the_known_are_named(self, cast: Flask, method: str) -> None:
        body = {"percentage": 5, "reason": "why"}
        response = getattr(cast.test_client(), method)(
            "/api/rollout/enable_everything", json=body, headers=headers_of(cast, PIA, "rollout")
        )
        assert Flag.SSE_STREAMING in problem(response, 404)["detail"]


class TestSeeing:
    def test_a_flag_that_nobody_touched(self, desk: Desk) -> None:
        shown = desk.get()
        assert list(shown) == MEMBERS
        assert shown == {
            "flag": "enable_sse_streaming",
            "enabled": True,
            "percentage": 0,
            "mode": "embedded",
            "workers": None,
            "actor": None,
            "changedAt": None,
        }

    def test_who_changed_it_and_when(self, desk: Desk) -> None:
        changed = desk.put(percentage=10).get_json()
        assert changed == desk.get()
        assert list(changed) == MEMBERS
        assert (changed["percentage"], changed["actor"]) == (10, "pia")
        assert len(changed["changedAt"]) == len("2026-11-21T12:00:00.000Z")

    @pytest.mark.parametrize(("value", "said"), [(True, "on"), (False, "off")])
    def test_an_override_is_said_beside_the_rollout_that_it_beats(self, desk: Desk, value: bool, said: str) -> None:
        desk.app.extensions["beacon"].flags.overrides[Flag.SSE_STREAMING] = value
        assert desk.get()["override"] == said
        assert desk.put(percentage=50).get_json() == {**desk.get(), "percentage": 50, "override": said}


class TestChanging:
    def test_the_kill_switch_keeps_the_percentage(self, desk: Desk) -> None:
        desk.put(percentage=25)
        off = desk.put(enabled=False).get_json()
        assert (off["enabled"], off["percentage"]) == (False, 25)
        on = desk.put(enabled=True).get_json()
        assert (on["enabled"], on["percentage"]) == (True, 25)

    def test_a_change_is_told_with_its_reason_and_audited(self, desk: Desk) -> None:
        before = desk.count("command_audit")
        desk.put(percentage=25, reason="  a quarter  ")
        with desk.app.app_context(), read() as session:
            event, _notification = log.read_after(session, 0).events
        assert (event.type, event.audience) == ("flag.changed", "everyone")
        assert (event.data["percentage"], event.data["actor"], event.data["reason"]) == (25, "pia", "a quarter")
        assert desk.count("command_audit") == before + 1

    def test_a_running_worker_follows(self, live_app: Flask) -> None:
        def is_on() -> bool:
            with live_app.app_context():
                return is_enabled(Flag.SSE_STREAMING, ALICE.name)

        assert is_on()
        assert Desk(live_app).put(enabled=False).status_code == 200
        wait_for(lambda: not is_on())

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "body"),
            ({"percentage": None, "enabled": None}, "body"),
            ({"percentage": -1}, "percentage"),
            ({"percentage": 101}, "percentage"),
            ({"percentage": 50.5}, "percentage"),
            ({"percentage": "50"}, "percentage"),
            ({"percentage": True}, "percentage"),
            ({"enabled": "no"}, "enabled"),
            ({"enabled": 0}, "enabled"),
            ({"percentage": 5, "reason": ""}, "reason"),
            ({"percentage": 5, "reason": "   "}, "reason"),
            ({"percentage": 5, "reason": "x" * 501}, "reason"),
            ({"percentage": 5, "reason": None}, "reason"),
            ({"percentage": 5, "reason": "a\0b"}, "reason"),
            ({"percentage": 5, "reason": "\ud800"}, "reason"),
            ({"percentage": 5, "expected": {}}, "expected"),
            ({"percentage": 5, "expected": "10"}, "expected"),
            ({"percentage": 5, "expected": True}, "expected"),
            ({"percentage": 5, "expected": 101}, "expected.percentage"),
            ({"percentage": 5, "expected": 100.5}, "expected.percentage"),
            ({"percentage": 12.5, "expected": 10}, "percentage"),
            ({"percentage": 5, "expected": {"percentage": "10"}}, "expected.percentage"),
            ({"percentage": 5, "expected": {"enabled": 1}}, "expected.enabled"),
            ({"percentage": 5, "expected": {"workers": 1}}, "expected.workers"),
            ({"percentage": 5, "actor": "ada"}, "actor"),
        ],
    )
    def test_a_bad_field_is_named_and_nothing_changes(self, desk: Desk, body: dict[str, Any], field: str) -> None:
        assert list(problem(desk.put(**body), 400)["errors"]) == [field]
        assert desk.get()["changedAt"] is None

    def test_a_reason_is_needed(self, desk: Desk) -> None:
        response = desk.app.test_client().put(URL, json={"percentage": 5}, headers=headers_of(desk.app, PIA, "rollout"))
        assert list(problem(response, 400)["errors"]) == ["reason"]


class TestHistory:
    def test_it_is_newest_first_with_who_and_why_and_from_where_to_where(self, desk: Desk) -> None:
        desk.put(percentage=10, reason="a start")
        desk.put(enabled=False, reason="it hurts")

        def history(query: str = "") -> TestResponse:
            headers = headers_of(desk.app, ALICE, "read")
            return desk.app.test_client().get(f"{URL}/history{query}", headers=headers)

        off, start = history().get_json()["data"]
        assert (off["actor"], off["action"], off["reason"]) == ("pia", "rollout-set", "it hurts")
        assert (off["before"], off["after"]) == (
            {"enabled": True, "percentage": 10},
            {"enabled": False, "percentage": 10},
        )
        assert set(start) == {"at", "actor", "action", "reason", "before", "after"}
        assert history("?limit=1").get_json()["data"] == [off]
        for wrong in ("0", "501", "many", "-1"):
            assert list(problem(history(f"?limit={wrong}"), 400)["errors"]) == ["limit"]


class TestExpected:
    @pytest.mark.parametrize(
        "expected",
        [
            10,
            10.0,
            {"percentage": 10},
            {"enabled": True},
            {"percentage": 10, "enabled": True},
            {"percentage": 10, "enabled": None},
        ],
        ids=str,
    )
    def test_a_change_from_where_it_was_seen_is_taken(self, desk: Desk, expected: Any) -> None:
        desk.put(percentage=10)
        assert desk.put(percentage=25, expected=expected).get_json()["percentage"] == 25

    @pytest.mark.parametrize(
        "expected",
        [
            0,
            11,
            12.5,
            {"percentage": 9},
            {"enabled": False},
            {"percentage": 10, "enabled": False},
            {"percentage": 9, "enabled": True},
        ],
        ids=str,
    )
    def test_a_change_from_anywhere_else_is_409_and_says_where_it_stands(self, desk: Desk, expected: Any) -> None:
        desk.put(percentage=10)
        events, entries = desk.count("event"), desk.count("command_audit")
        refused = problem(desk.put(percentage=25, expected=expected), 409)
        assert refused["current"] == desk.get()
        assert desk.get()["percentage"] == 10
        assert (desk.count("event"), desk.count("command_audit")) == (events, entries)

    def test_a_flag_that_nobody_touched_is_at_0(self, desk: Desk) -> None:
        assert desk.put(percentage=1, expected=5).status_code == 409
        assert desk.put(percentage=1, expected=0).status_code == 200

    def test_of_two_who_saw_the_same_the_second_is_told(self, desk: Desk) -> None:
        ada = Desk(desk.app, ADA)
        seen = ada.get()["percentage"]
        assert desk.put(percentage=50, expected=seen).status_code == 200
        assert problem(ada.put(percentage=5, expected=seen), 409)["current"]["actor"] == "pia"

    def test_it_is_compared_in_the_transaction_that_sets(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """Somebody changes it after the request was let in, before it takes the lock."""
        begin = write

        def late(*args: Any) -> Any:
            monkeypatch.undo()
            with begin() as session:
                embedded.change_rollout(session, Flag.SSE_STREAMING, "ada", "first", 70)
            return begin(*args)

        monkeypatch.setattr("app.flags.provider.write", late)
        assert problem(desk.put(percentage=5, expected=0), 409)["current"]["percentage"] == 70
