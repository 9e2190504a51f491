"""The rollout never takes silence for health: what a plan did with nobody, a few people, and bad evidence."""

from dataclasses import replace
from typing import Any

import pytest
from flask import Flask

from app.config import Settings
from app.db import db, now_epoch, write
from app.flags.document import Flag
from app.flags.models import PlanRow, PollingRow, StageRow
from app.rollout import stages
from app.rollout.plan_options import PlanState
from tests.rollout.test_controller import STEPS, WELL, Scene, scene
from tests.rollout.test_rollout_api import URL, problem
from tests.support.cast import ADA, headers_of

__all__ = ["scene"]
PLAN = {
    "steps": [{"percentage": one, "holdMinutes": 1} for one in (10, 50, 100)],
    "reason": "slowly",
}


def went_on(scene: Scene, turns: int = 3, minutes: float = 60) -> int:
    """Hours later; the percentage."""
    for _ in range(turns):
        scene.watch.run_once()
        scene.held_for(minutes)
    scene.watch.run_once()
    found: int = scene.desk.get()["percentage"]
    return found


def evidence(scene: Scene) -> dict[str, Any]:
    found: dict[str, Any] = scene.plan("GET").get_json()["evidence"]
    return found


def polls(scene: Scene, *users: str) -> None:
    with scene.app.app_context(), write() as session:
        now = session.scalar(db.select(now_epoch())) or 0.0
        for user in users:
            session.merge(PollingRow(user=user, seen=now, program_seen=0.0))


def test_with_nobody_connected_it_stays_at_its_first_step_for_ever(scene: Scene) -> None:
    scene.plan("PUT", PLAN)
    assert went_on(scene, turns=10) == 10
    found = evidence(scene)
    assert found["sentence"].startswith("0 of 57 connects, 0 of 2 people, 0 of 24 stream-minutes, 0 events delivered")
    assert (found["enough"], found["waitsFor"]) == (False, ["waits for 57 connects, 2 people and 24 stream-minutes"])


def test_evidence_of_one_kind_is_not_enough(scene: Scene) -> None:
    scene.plan("PUT", PLAN)
    scene.watch.run_once()
    scene.streamed(500)
    assert went_on(scene) == 10
    scene.reported(2, ["ann"], **WELL)
    scene.reported(2, ["ann"], **WELL)
    assert went_on(scene) == 10
    assert evidence(scene)["waitsFor"] == ["waits for 57 connects and 1 person"]
    scene.reported(2, ["bea"], **WELL)
    scene.watch.run_once()
    assert evidence(scene)["waitsFor"] == ["waits for 17 connects"], "one person counts for at most half"
    scene.reported(2, ["bea"], **WELL)
    scene.watch.run_once()
    assert scene.desk.get()["percentage"] == 50


def test_enough_evidence_raises_one_step_and_is_kept_as_before(scene: Scene) -> None:
    scene.plan("PUT", PLAN)
    scene.watch.run_once()
    scene.went_well()
    assert went_on(scene) == 50
    found = evidence(scene)
    assert (found["streaming"]["connects"], found["before"]["connects"]) == (0, 100)


def test_it_survives_another_worker_and_a_pause(scene: Scene, settings: Settings) -> None:
    scene.plan("PUT", PLAN)
    scene.watch.run_once()
    scene.went_well()
    scene.plan("PATCH", {"action": "pause"})
    scene.plan("PATCH", {"action": "resume"})
    assert evidence(scene)["streaming"]["connects"] == 100
    scene.held_for(60)
    with scene.app.app_context(), write() as session:
        session.execute(db.text("DELETE FROM lease"))
    scene.watcher(settings, "two").run_once()
    assert scene.desk.get()["percentage"] == 50


def test_a_person_lets_it_go_on_with_a_reason_for_one_step(scene: Scene) -> None:
    scene.plan("PUT", PLAN)
    assert problem(scene.plan("PATCH", {"action": "go-on", "reason": "now"}), 409)["title"] == "No step yet"
    scene.watch.run_once()
    assert problem(scene.plan("PATCH", {"action": "go-on"}), 400)["title"] == "No reason"
    said = scene.plan("PATCH", {"action": "go-on", "reason": "a quiet Sunday"}).get_json()["plan"]
    assert said["goesOnWithoutEvidence"] == {"actor": "pia", "reason": "a quiet Sunday"}
    assert went_on(scene) == 50, "the next step waits again"
    assert scene.audited("rollout-plan-go-on") == [("pia", "rollout-plan-go-on", "a quiet Sunday")]


def test_a_lasting_difference_between_expected_and_actual_holds_it(scene: Scene) -> None:
    scene.plan("PUT", {**PLAN, "steps": PLAN["steps"][2:]})
    scene.watch.run_once()
    scene.went_well()
    with scene.app.app_context():
        scene.app.extensions["beacon"].flags.load(scene.provider.load())
    users = [f"user {number}" for number in range(4)]
    polls(scene, *users)
    drift = scene.app.extensions["beacon"].drift
    drift._since.seen, drift._since.claimed = {}, None
    with scene.app.app_context():
        drift.measure()
        drift._since.seen = {user: at - 60 for user, at in drift._since.seen.items()}
    scene.held_for(60)
    scene.watch.run_once()
    assert scene.plan("GET").get_json()["plan"]["step"] == 0, "it has not ended"
    assert "4 of 4 people who should stream have been polling for more than 30 s" in evidence(scene)["waitsFor"]


def test_another_worker_does_not_take_a_difference_for_over_before_it_has_looked_for_long(
    scene: Scene, settings: Settings
) -> None:
    scene.plan("PUT", PLAN)
    scene.watch.run_once()
    scene.went_well()
    with scene.app.app_context(), write() as session:
        row = session.get_one(PlanRow, Flag.SSE_STREAMING)
        row.state_json = replace(
            PlanState.parse(row.state_json), differs_since=1.0, difference="4 of 9 people poll"
        ).serialize()
        session.execute(db.text("DELETE FROM lease"))
    scene.held_for(60)
    other = scene.watcher(settings, "two")
    other.run_once()
    assert scene.desk.get()["percentage"] == 10
    assert evidence(scene)["waitsFor"] == ["4 of 9 people poll"]
    other._keeper._began_at[Flag.SSE_STREAMING] -= 300
    other._keeper._measured_at[Flag.SSE_STREAMING] -= 20
    other.run_once()
    assert scene.desk.get()["percentage"] == 50


def test_who_could_be_in_raises_the_number_of_people_that_it_waits_for(scene: Scene) -> None:
    scene.plan("PUT", {**PLAN, "steps": PLAN["steps"][2:]})
    scene.watch.run_once()
    polls(scene, *(f"user {number}" for number in range(20)))
    scene.watch._keeper._measured_at.clear()
    scene.watch.run_once()
    assert evidence(scene)["reachable"] == 20
    assert evidence(scene)["measures"]["people"] == {"there": 0, "needed": 19}


@pytest.mark.parametrize(
    ("on_trouble", "mode", "expected"),
    [
        (None, "hold", (50, True)),
        ("hold", "step-back", (50, True)),
        ("step-back", "hold", (10, True)),
        ("start", "hold", (5, True)),
        ("off", "hold", (50, False)),
        ("off", "dry-run", (50, True)),
    ],
)
def test_in_trouble_the_plan_says_what_happens(
    cast: Flask, settings: Settings, on_trouble: str | None, mode: str, expected: tuple[int, bool]
) -> None:
    scene = Scene(cast, settings, mode)
    scene.desk.put(percentage=5)
    scene.plan("PUT", {**PLAN, "onTrouble": on_trouble})
    scene.watch.run_once()
    scene.went_well()
    assert went_on(scene) == 50
    scene.reported(2, attempts=20, failures=18)
    for _ in range(3):
        scene.watch.run_once()
    now, plan = scene.desk.get(), scene.plan("GET").get_json()
    assert (now["percentage"], now["enabled"]) == expected
    if expected[0] < 50:
        assert plan["last"]["end"] == f"ended: the guardrail went back to {expected[0]} %"
    if mode == "dry-run":
        [(_, _, said)] = scene.audited("rollout-dry-run")
        assert said.startswith("would have held: ")
        assert "holds" not in str(scene.audited("rollout-hold"))


def test_another_person_approves_each_step(scene: Scene) -> None:
    scene.plan("PUT", {**PLAN, "approval": True})
    assert went_on(scene) == 0
    seen = scene.plan("GET").get_json()["plan"]["seen"]
    assert problem(scene.plan("PATCH", {"action": "approve", "expected": seen}), 403)["title"] == "Not your own plan"
    ada, client = headers_of(scene.app, ADA, "rollout"), scene.app.test_client()
    approve = {"action": "approve", "expected": seen}
    assert client.patch(f"{URL}/plan", json=approve, headers=ada).get_json()["plan"]["approvedBy"] == "ada"
    assert went_on(scene) == 10
    scene.went_well()
    assert went_on(scene) == 10
    assert scene.audited("rollout-plan-approve") == [("ada", "rollout-plan-approve", "step 1: 10 %")]
    assert client.patch(f"{URL}/plan", json=approve, headers=ada).status_code == 200
    assert went_on(scene) == 50


def test_a_held_last_step_does_not_end_the_plan(scene: Scene) -> None:
    scene.plan("PUT", {**PLAN, "steps": PLAN["steps"][:1]})
    scene.watch.run_once()
    scene.reported(2, attempts=20, failures=18)
    went_on(scene)
    shown = scene.plan("GET").get_json()
    assert (shown["plan"]["paused"], shown["blocked"] is None) == (True, False)


def test_limits_are_changed_without_a_restart_and_only_by_who_saw_them(scene: Scene) -> None:
    client, headers = scene.app.test_client(), headers_of(scene.app, ADA, "rollout")
    usual = client.get(f"{URL}/limits", headers=headers).get_json()
    assert usual == {
        "mode": "hold",
        "maxFailures": 0.05,
        "maxLagS": 2,
        "minAttempts": 30,
        "query": "",
        "maxValue": 0,
        "actor": None,
        "changedAt": None,
    }
    body = {"mode": "off", "reason": "a test of the network", "expected": None}
    assert client.put(f"{URL}/limits", json=body, headers=headers).get_json()["actor"] == "ada"
    assert problem(client.put(f"{URL}/limits", json=body, headers=headers), 409)["limits"]["mode"] == "off"
    assert client.put(f"{URL}/limits", json={"maxFailures": 2, "reason": "x"}, headers=headers).status_code == 400
    scene.desk.put(percentage=50)
    scene.reported(2, attempts=20, failures=18)
    scene.watch.run_once()
    assert scene.plan("GET").get_json()["blocked"] is None
    assert scene.audited("rollout-limits")[0][2] == "mode hold → off: a test of the network"


@pytest.mark.parametrize(("answers", "expected"), [([None], 10), ([3.0], 50), ([9.0], 10)])
def test_a_prometheus_query_is_one_more_measure(
    cast: Flask, settings: Settings, monkeypatch: pytest.MonkeyPatch, answers: list[float | None], expected: int
) -> None:
    """Only the request itself is replaced: nothing here answers like a Prometheus."""
    given = settings.model_copy(update={"prometheus_url": "http://prometheus.invalid"})
    cast.extensions["beacon"].settings = given
    monkeypatch.setattr("app.rollout.prometheus_query.fetch_value", lambda _url, _query: answers[0])
    scene = Scene(cast, given)
    ada = headers_of(cast, ADA, "rollout")
    limits = {"query": "sum(rate(errors[5m]))", "maxValue": 5, "reason": "errors of the queue"}
    assert cast.test_client().put(f"{URL}/limits", json=limits, headers=ada).status_code == 200
    scene.plan("PUT", PLAN)
    scene.watch.run_once()
    scene.went_well()
    for _ in range(3):
        scene.watch.run_once()
        scene.held_for(2)
        with cast.app_context(), write() as session:
            session.execute(db.update(StageRow).values(query_at=0.0))
        if scene.desk.get()["percentage"] == 50:
            break
    assert scene.desk.get()["percentage"] == expected
    if answers == [9.0]:
        scene.watch.run_once()
        assert scene.plan("GET").get_json()["blocked"].startswith("the Prometheus query is at 9, above 5 in 3 looks")


def test_a_query_needs_a_prometheus(scene: Scene) -> None:
    headers = headers_of(scene.app, ADA, "rollout")
    body = {"query": "up", "maxValue": 5, "reason": "x"}
    assert (
        problem(scene.app.test_client().put(f"{URL}/limits", json=body, headers=headers), 400)["title"]
        == "No Prometheus"
    )


def test_one_notification_says_that_a_plan_has_ended_and_none_is_for_its_steps(scene: Scene) -> None:
    scene.plan("PUT", STEPS)
    for _ in range(2):
        scene.watch.run_once()
        scene.reported(2, **WELL)
        scene.streamed(100)
        scene.held_for(60)
    scene.watch.run_once()
    assert scene.notified() == ["plan: ended: its last step was held"]


def test_a_step_to_where_it_stands_already_counts_its_evidence_from_then_on(scene: Scene) -> None:
    scene.desk.put(percentage=10)
    scene.went_well()
    scene.plan("PUT", PLAN)
    scene.watch.run_once()
    with scene.app.app_context(), write() as session:
        assert len(session.scalars(db.select(StageRow)).all()) == 2
        assert session.get_one(PlanRow, Flag.SSE_STREAMING).step == 0
        assert stages.find_stage(session, Flag.SSE_STREAMING) is not None
    assert evidence(scene)["streaming"]["connects"] == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"minimums": {"people": 0}},
        {"minimums": {"connects": 0}},
        {"onTrouble": "panic"},
        {"startAt": "soon"},
        {"quietHours": {"from": "22:00", "to": "22:00"}},
        {"quietHours": {"from": "22:00", "to": "23:00", "zone": "Atlantis"}},
    ],
)
def test_rules_that_make_no_sense_are_refused(scene: Scene, wrong: dict[str, Any]) -> None:
    assert problem(scene.plan("PUT", {**PLAN, **wrong}), 400)


def test_short_holds_are_said_when_the_plan_is_made(scene: Scene) -> None:
    polls(scene, *(f"user {number}" for number in range(8)))
    said = scene.plan("PUT", PLAN).get_json()["warnings"]
    assert said[0] == "at 10 % about 1 of 8 online would be in; it needs 2 people"
