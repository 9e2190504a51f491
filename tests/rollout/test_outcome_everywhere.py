"""A parent that is off, or a rule that lets in few, makes "100 % of users are in" untrue, wherever it is said."""

import html
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import create_app
from app.config import Settings
from app.db import db, read
from app.eventlog import reader as log
from app.flags.document import Flag
from app.flags.unleash import snapshot_store
from tests.rollout.test_outcome import ONLY_ANN, rollout_of
from tests.support.cast import PIA, csrf_token, headers_of, logged_in
from tests.support.unleash_stub import Edge, OneFlag

FLAG = Flag.SSE_STREAMING
API = f"/api/rollout/{FLAG}"
UNTRUE = re.compile(r"[Ee]verybody (?:will be|is) in|100 % of users|is on for 100|lets everybody in")
WITHOUT_PARENT = {"dependencies": [{"feature": "checkout"}]}
FOR_ONE = {"strategies": [{**rollout_of(constraints=[ONLY_ANN]), "id": "one"}]}


class Desk:
    """Pia's browser and program, beside a flag of Unleash that is on at 100 % and has more rules."""

    def __init__(self, app: Flask, unleash: OneFlag) -> None:
        self.app, self.unleash = app, unleash
        self.client, self.headers = logged_in(app, PIA), headers_of(app, PIA, "rollout")
        self.csrf = csrf_token(self.client, "/")

    def has(self, rules: dict[str, Any]) -> None:
        """Unleash sends these rules, and a worker keeps them."""
        self.unleash.more = rules
        self.unleash.moves()
        with self.app.app_context():
            assert snapshot_store.SnapshotWriter(lambda _flag: snapshot_store.Author("Unleash")).store(
                self.unleash.text
            )
            self.app.extensions["beacon"].flags.load(self.app.extensions["beacon"].provider.load())

    def page(self, query: str = "") -> str:
        return self._words(self.client.get(f"/rollout{query}", headers={"Accept": "text/html"}).text)

    def api(self, path: str = "") -> str:
        return self.client.get(f"{API}{path}", headers=self.headers).text

    def put(self) -> str:
        said = {"percentage": 100, "reason": "all of them"}
        return self._program().put(API, json=said, headers=self.headers).text

    def plan(self) -> str:
        said = {"steps": [{"percentage": 100, "holdMinutes": 5}], "reason": "slowly"}
        return self._program().put(f"{API}/plan", json=said, headers=self.headers).text

    def unconfirmed(self) -> str:
        """A plan as typed, without what confirms it."""
        plan = {"do": "start", "percentage": "100", "minutes": "5", "reason": "slowly", "typed": "no"}
        sent = self.client.post(
            "/rollout/plan", data={"csrf_token": self.csrf, **plan}, headers={"Accept": "text/html"}
        )
        assert sent.status_code == 400
        return self._words(sent.text)

    def events(self) -> str:
        with self.app.app_context(), read() as session:
            told = [event for event in log.read_after(session, 0).events if event.type == "flag.changed"]
        return json.dumps(told[-1].data)

    def notifications(self) -> str:
        return self._words(self.client.get("/notifications/panel").text)

    def _program(self) -> FlaskClient:
        return self.app.test_client()

    @staticmethod
    def _words(text: str) -> str:
        return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


@pytest.fixture
def desk(cast: Flask, settings: Settings) -> Iterator[Desk]:
    edge = Edge()
    unleash = OneFlag(edge, FLAG)
    told = {"unleash_url": unleash.url, "unleash_api_token": "x", "unleash_admin_token": "y"}
    app = create_app(settings.model_copy(update=told))
    yield Desk(app, unleash)
    with app.app_context():
        db.engine.dispose()
    edge.close()


PLACES: dict[str, Callable[[Desk], str]] = {
    "the page": lambda desk: desk.page(),
    "its review": lambda desk: desk.page("?percentage=100").split("Set to 100 %?")[1],
    "its plan, not confirmed": lambda desk: desk.unconfirmed().split("Staged plan")[1],
    "its plan, running": lambda desk: (desk.plan(), desk.page().split("Staged plan")[1])[1],
    "GET": lambda desk: desk.api(),
    "PUT": lambda desk: desk.put(),
    "preview": lambda desk: desk.api("/preview?percentage=100"),
    "the plan": lambda desk: desk.plan(),
    "the event": lambda desk: desk.events(),
    "the event of a change from here": lambda desk: (desk.put(), desk.events())[1],
    "the notification": lambda desk: desk.notifications(),
    "the notification of a change from here": lambda desk: (desk.put(), desk.notifications())[1],
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("rules", "why"), [(WITHOUT_PARENT, "parent checkout is not there"), (FOR_ONE, "those whom its constraint lets in")]
)
def test_who_is_in_is_the_outcome_of_all_rules_wherever_it_is_said(
    desk: Desk, place: str, rules: dict[str, Any], why: str
) -> None:
    desk.has(rules)
    said = PLACES[place](desk)
    assert why.lower() in said.lower(), said
    assert not UNTRUE.search(said), said


@pytest.mark.parametrize("place", ["its review", "its plan, not confirmed"])
def test_where_no_other_rule_is_everybody_will_be_in(desk: Desk, place: str) -> None:
    desk.has({})
    assert "verybody will be in" in PLACES[place](desk)


def test_the_guardrail_judges_nothing_where_nobody_is_in(desk: Desk) -> None:
    desk.has(WITHOUT_PARENT)
    assert "Nothing to judge Parent checkout is not there: nobody is in." in desk.page()
