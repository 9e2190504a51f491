"""Plan and guardrail as they act on a flag: audited, told, never above the plan."""

import json
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from app.config import Settings
from app.db import db, now_epoch, read, write
from app.eventlog import read as log
from app.rollout import reports
from app.rollout.configuration import Flag
from app.rollout.models import PlanRow, ReportRow
from app.rollout.provider import provider
from app.rollout.watch import Watch
from app.sources.lease import Lease
from tests.cast import ALICE, PIA, csrf_token, headers_of, logged_in
from tests.rollout.test_rollout_api import URL, Desk, problem

BAD = {"attempts": 100, "failures": 20}


class Scene:
    def __init__(self, app: Flask, settings: Settings, mode: str = "hold") -> None:
        self.app, self.desk = app, Desk(app)
        self._client, self._headers = app.test_client(), headers_of(app, PIA, "rollout")
        self.watch = self.watcher(settings.model_copy(update={"guardrail_mode": mode}), "one")

    def watcher(self, settings: Settings, holder: str) -> Watch:
        with self.app.app_context():
            return Watch(self.app, settings, provider(), Lease("rollout", holder=holder))

    def plan(self, method: str, body: Any = None) -> TestResponse:
        return self._client.open(f"{URL}/plan", method=method, json=body, headers=self._headers)

    def reported(self, minute: int, **figures: int) -> None:
        """By the streaming cohort, so many minutes from now: what was reported before a change does not count."""
        with self.app.app_context(), write() as session:
            now = session.scalar(db.select(now_epoch())) or 0.0
            reports.add(session, "streaming", reports.Report(**figures), now + 60 * minute)

    def held_for(self, minutes: float) -> None:
        with self.app.app_context(), write() as session:
            row = session.get(PlanRow, Flag.SSE_STREAMING)
            assert row is not None
            row.since -= minutes * 60

    def changes(self) -> list[tuple[str, int, str]]:
        with self.app.app_context(), read() as session:
            events = [event.data for event in log.after(session, 0).events if event.type == "flag.changed"]
        return [(event["actor"], event["percentage"], event["reason"]) for event in events]


@pytest.fixture
def scene(cast: Flask, settings: Settings) -> Scene:
    return Scene(cast, settings)


STEPS = {"steps": [{"percentage": 10, "holdMinutes": 1}, {"percentage": 50, "holdMinutes": 1}], "reason": "slowly"}


def test_a_plan_is_followed_paused_resumed_and_ends(scene: Scene) -> None:
    assert scene.plan("PUT", STEPS).status_code == 200
    scene.watch.look()
    scene.watch.look()
    assert scene.desk.get()["percentage"] == 10
    assert scene.plan("PATCH", {"action": "pause"}).get_json()["plan"]["paused"] is True
    scene.held_for(10)
    scene.watch.look()
    assert scene.desk.get()["percentage"] == 10
    scene.plan("PATCH", {"action": "resume"})
    scene.watch.look()
    scene.watch.look()
    assert scene.changes() == [
        ("plan", 10, "step 1 of 2 of pia's plan: slowly"),
        ("plan", 50, "step 2 of 2 of pia's plan: slowly"),
    ]
    assert scene.plan("GET").get_json() == {"plan": None, "blocked": None}


def test_a_stopped_plan_moves_nothing(scene: Scene) -> None:
    scene.plan("PUT", STEPS)
    assert scene.plan("DELETE").get_json()["plan"] is None
    scene.watch.look()
    assert scene.desk.get()["percentage"] == 0
    assert problem(scene.plan("DELETE"), 404)


def test_a_plan_that_does_not_grow_is_refused(scene: Scene) -> None:
    body = {"steps": STEPS["steps"][::-1], "reason": "why"}  # type: ignore[index]
    assert list(problem(scene.plan("PUT", body), 400)["errors"]) == ["steps"]


def test_the_guardrail_holds_says_so_once_and_lets_people_take_back(scene: Scene) -> None:
    scene.desk.put(percentage=50)
    scene.reported(1, **BAD)
    scene.watch.look()
    scene.watch.look()
    said = [change for change in scene.changes() if change[0] == "guardrail"]
    assert said == [("guardrail", 50, "holds: 20 of 100 attempts to connect failed; at most 5% may")]
    refused = problem(scene.desk.put(percentage=100), 409)
    assert (refused["reason"], "20 of 100" in refused["detail"]) == ("guardrail", True)
    assert scene.desk.put(percentage=0).status_code == 200
    assert scene.desk.put(enabled=False).status_code == 200


def test_the_guardrail_steps_back_to_the_percentage_before(cast: Flask, settings: Settings) -> None:
    scene = Scene(cast, settings, "step-back")
    for percentage in (10, 50):
        scene.desk.put(percentage=percentage)
    scene.reported(1, **BAD)
    scene.watch.look()
    now = scene.desk.get()
    assert (now["percentage"], now["actor"]) == (10, "guardrail")


def test_a_held_plan_waits(scene: Scene) -> None:
    scene.plan("PUT", STEPS)
    scene.watch.look()
    scene.reported(1, **BAD)
    scene.held_for(10)
    scene.watch.look()
    assert scene.desk.get()["percentage"] == 10


def test_a_tiny_sample_holds_nothing(scene: Scene) -> None:
    scene.desk.put(percentage=50)
    scene.reported(1, attempts=29, failures=29)
    scene.watch.look()
    assert scene.plan("GET").get_json()["blocked"] is None


def test_only_one_worker_acts(scene: Scene, settings: Settings) -> None:
    other = scene.watcher(settings, "two")
    scene.watch.look()
    scene.plan("PUT", STEPS)
    other.look()
    assert scene.desk.get()["percentage"] == 0
    scene.watch.look()
    assert scene.desk.get()["percentage"] == 10


def test_a_report_keeps_the_cohort_alone_and_comes_once_in_30_s(cast: Flask) -> None:
    browser = logged_in(cast, ALICE)
    headers = {"X-CSRFToken": csrf_token(browser, "/"), "Accept": "application/json"}
    body = {"attempts": 1, "failures": 0, "helloMs": [40], "lagMs": [12, 900]}
    answers = [browser.post("/api/client-reports", json=body, headers=headers).status_code for _ in range(5)]
    assert answers[0] == 204
    taken = answers.count(204)
    assert taken <= 2, "one, and one more where a window of 30 s ends between them"
    with cast.app_context(), read() as session:
        rows = session.scalars(db.select(ReportRow)).all()
    assert {row.cohort for row in rows} == {"polling"}
    assert sum(row.reports for row in rows) == taken
    assert sum(json.loads(row.lag_json)["1000"] for row in rows) == taken


@pytest.mark.parametrize("body", [{"attempts": -1}, {"user": "alice"}, {"lagMs": [1] * 101}, {"attempts": "1"}])
def test_a_bad_report_is_refused(cast: Flask, body: dict[str, Any]) -> None:
    browser = logged_in(cast, ALICE)
    headers = {"X-CSRFToken": csrf_token(browser, "/"), "Accept": "application/json"}
    assert problem(browser.post("/api/client-reports", json=body, headers=headers), 400)["errors"]
