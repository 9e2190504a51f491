"""Plan and guardrail as they act on a flag: audited, told, never above the plan."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from app.accounts.models import User
from app.audit import checkpoint
from app.audit.models import AuditRow
from app.config import Settings
from app.db import db, now_epoch, read, write
from app.eventlog import reader as log
from app.flags import embedded
from app.flags.document import Flag, Rollout
from app.flags.models import FlagRow, GuardrailRow, PlanRow, ReportRow, WitnessRow
from app.flags.outcome import RolloutOutcome
from app.flags.provider import ChangeRefused, EmbeddedProvider, FlagView
from app.infra.lease import Lease, LeaseLost, LeaseRow
from app.infra.problems import Problem
from app.notifications.models import Notification
from app.rollout import flag_changes, stages, witnesses
from app.rollout.controller import RolloutController
from app.rollout.witnesses import PersonReport
from tests.rollout.test_rollout_api import URL, Desk, problem
from tests.support.cast import ADA, ALICE, PIA, csrf_token, headers_of, logged_in

# What each of five people reports: in all 20 of 100 attempts failed, or none.
BAD, WELL = {"attempts": 20, "failures": 4}, {"attempts": 20}
TROUBLE = "20 of 100 attempts to connect failed (between 7.2 % and 39 %); the limit is 5 %"
PEOPLE = ("ann", "bea", "cid", "dan", "eve")


class Slow(EmbeddedProvider):
    """Something happens while a change is on its way to Unleash, or it refuses."""

    def __init__(self) -> None:
        self.meanwhile: Callable[[], object] = lambda: None
        self.refuses = ""

    def change(self, *args: Any, **kwargs: Any) -> FlagView:
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        if self.refuses:
            raise ChangeRefused(self.refuses, "unleash-approval")
        return super().change(*args, **kwargs)


class Scene:
    def __init__(self, app: Flask, settings: Settings, mode: str = "hold") -> None:
        self.app, self.desk, self.provider = app, Desk(app), Slow()
        self._client, self._headers = app.test_client(), headers_of(app, PIA, "rollout")
        self.watch = self.watcher(settings.model_copy(update={"guardrail_mode": mode}), "one")

    def watcher(self, settings: Settings, holder: str) -> RolloutController:
        with self.app.app_context():
            return RolloutController(self.app, settings, self.provider, Lease("rollout", 3_600, holder))

    def plan(self, method: str, body: Any = None) -> TestResponse:
        return self._client.open(f"{URL}/plan", method=method, json=body, headers=self._headers)

    def reported(self, minute: int, people: Sequence[str] = PEOPLE, cohort: str = "streaming", **figures: int) -> None:
        """By each of the people, so many minutes from now."""
        flag, secret = Flag.SSE_STREAMING, self.app.extensions["beacon"].settings.secret_key
        with self.app.app_context(), write() as session:
            now = (session.scalar(db.select(now_epoch())) or 0.0) + 60 * minute
            reports = {(cohort, user): PersonReport(**figures) for user in people}
            witnesses.save_reports(session, flag, stages.find_stage_start(session, flag), reports, now, 300, secret)

    def went_well(self, minutes: float = 100) -> None:
        """There is enough evidence, also of the time."""
        self.reported(0, **WELL)
        self.streamed(minutes)

    def streamed(self, minutes: float) -> None:
        with self.app.app_context(), write() as session:
            stages.ensure_stage(session, Flag.SSE_STREAMING, 10).stream_minutes = minutes

    def stands_for(self, minutes: float) -> None:
        """The flag lets in as many as it does since so long."""
        with self.app.app_context(), write() as session:
            session.execute(db.update(FlagRow).values(level_since=now_epoch() - 60 * minutes))

    def held_for(self, minutes: float) -> None:
        with self.app.app_context(), write() as session:
            row = session.get(PlanRow, Flag.SSE_STREAMING)
            assert row is not None
            row.since -= minutes * 60

    def held_until_now(self) -> None:
        """The window of the guardrail is over, what was reported before is old, and streams have worked since."""
        with self.app.app_context(), write() as session:
            row = session.get(GuardrailRow, Flag.SSE_STREAMING)
            assert row is not None
            row.since -= 301
            session.execute(db.delete(WitnessRow))
        self.reported(0, **WELL)

    def audited(self, *actions: str) -> list[tuple[str, str, Any]]:
        """`(actor, action, reason)` of the entries with these actions."""
        with self.app.app_context(), read() as session:
            rows = session.scalars(db.select(AuditRow).order_by(AuditRow.seq)).all()
        found = [(row.actor, row.action_type, json.loads(row.command_params_json or "{}")) for row in rows]
        return [(actor, action, params.get("reason")) for actor, action, params in found if action in actions]

    def retries(self) -> int:
        with self.app.app_context(), read() as session:
            return session.scalar(db.select(GuardrailRow.refusals)) or 0

    def wait_over(self) -> None:
        with self.app.app_context(), write() as session:
            session.execute(db.update(GuardrailRow).values(retry_at=0.0))

    def notified(self) -> list[str]:
        with self.app.app_context(), read() as session:
            return list(session.scalars(db.select(Notification.body).order_by(Notification.id)))

    def facts(self) -> list[tuple[str, str]]:
        """Cause and kind of each event."""
        with self.app.app_context(), read() as session:
            events = [event.data for event in log.read_after(session, 0).events if event.type == "flag.changed"]
        return [(event["cause"], event["kind"]) for event in events]

    def changes(self) -> list[tuple[str, int, str]]:
        with self.app.app_context(), read() as session:
            events = [event.data for event in log.read_after(session, 0).events if event.type == "flag.changed"]
        return [(event["actor"], event["percentage"], event["reason"]) for event in events]


@pytest.fixture
def scene(cast: Flask, settings: Settings) -> Scene:
    return Scene(cast, settings)


STEPS = {"steps": [{"percentage": 10, "holdMinutes": 1}, {"percentage": 50, "holdMinutes": 1}], "reason": "slowly"}


def test_a_plan_is_followed_paused_resumed_and_ends(scene: Scene) -> None:
    assert scene.plan("PUT", STEPS).status_code == 200
    scene.watch.run_once()
    scene.watch.run_once()
    assert scene.desk.get()["percentage"] == 10
    assert scene.plan("PATCH", {"action": "pause"}).get_json()["plan"]["paused"] is True
    scene.held_for(10)
    scene.watch.run_once()
    assert scene.desk.get()["percentage"] == 10
    scene.plan("PATCH", {"action": "resume"})
    scene.went_well()
    for _ in range(3):
        scene.watch.run_once()
    assert scene.plan("GET").get_json()["plan"]["step"] == 1, "its last step is held too"
    scene.held_for(1)
    scene.watch.run_once()
    assert scene.plan("GET").get_json()["plan"]["step"] == 1, "and needs evidence like any other"
    scene.reported(2, **WELL)
    scene.streamed(100)
    scene.watch.run_once()
    assert scene.changes() == [
        ("plan", 10, "step 1 of 2 of pia's plan: slowly"),
        ("plan", 50, "step 2 of 2 of pia's plan: slowly"),
        ("plan", 50, "ended: its last step was held"),
    ]
    assert scene.facts() == [("plan", "set"), ("plan", "set"), ("plan", "ended")]
    ended = scene.plan("GET").get_json()
    assert (ended["plan"], ended["blocked"], ended["last"]["end"]) == (None, None, "ended: its last step was held")
    assert [(stage["percentage"], stage["people"], stage["connects"]) for stage in ended["last"]["evidence"]] == [
        (10, 5, 100),
        (50, 5, 100),
    ]


def test_somebody_elses_plan_is_replaced_only_by_who_has_seen_it(scene: Scene) -> None:
    bea = headers_of(scene.app, ADA, "rollout")

    def put(**more: Any) -> TestResponse:
        return scene.app.test_client().put(f"{URL}/plan", json={**STEPS, **more}, headers=bea)

    mine = scene.plan("PUT", STEPS).get_json()["plan"]
    for unseen in ({}, {"expected": None}, {"expected": "another"}):
        refused = problem(put(**unseen), 409)
        assert refused["plan"] == mine, unseen
    assert scene.plan("GET").get_json()["plan"] == mine
    assert put(expected=mine["seen"]).get_json()["plan"]["actor"] == "ada"
    assert problem(scene.plan("PUT", {**STEPS, "expected": mine["seen"]}), 409)["plan"]["actor"] == "ada"


def test_somebody_elses_plan_is_steered_only_by_who_has_seen_it(scene: Scene) -> None:
    ada, client = headers_of(scene.app, ADA, "rollout"), scene.app.test_client()
    mine = scene.plan("PUT", STEPS).get_json()["plan"]
    for verb, unseen in (
        ("pause", client.patch(f"{URL}/plan", json={"action": "pause"}, headers=ada)),
        ("resume", client.patch(f"{URL}/plan", json={"action": "resume", "expected": None}, headers=ada)),
        ("stop", client.delete(f"{URL}/plan", headers=ada)),
    ):
        refused = problem(unseen, 409)
        assert refused["plan"] == mine
        assert refused["detail"] == (
            f"The plan was started by pia (10 → 50 %: slowly). To {verb} it, pass its id as expected. "
            "Nothing was changed."
        )
    for action in ("pause", "resume"):
        seen = scene.plan("GET").get_json()["plan"]["seen"]
        body = {"action": action, "expected": seen}
        assert client.patch(f"{URL}/plan", json=body, headers=ada).status_code == 200
    assert client.delete(f"{URL}/plan?expected={mine['seen']}", headers=ada).get_json()["plan"] is None


def test_who_steers_a_plan_may_say_which_they_saw(scene: Scene) -> None:
    seen = scene.plan("PUT", STEPS).get_json()["plan"]["seen"]
    assert problem(scene.plan("PATCH", {"action": "pause", "expected": "another"}), 409)["plan"]["seen"] == seen
    assert scene.plan("PATCH", {"action": "pause", "expected": seen}).status_code == 200
    headers = headers_of(scene.app, PIA, "rollout")
    client = scene.app.test_client()
    assert client.delete(f"{URL}/plan?expected=another", headers=headers).status_code == 409
    assert client.delete(f"{URL}/plan?expected={seen}", headers=headers).get_json()["plan"] is None


def test_ones_own_plan_is_replaced_without_a_word(scene: Scene) -> None:
    scene.plan("PUT", STEPS)
    assert scene.plan("PUT", {**STEPS, "reason": "faster"}).get_json()["plan"]["reason"] == "faster"
    scene.plan("DELETE")
    assert scene.plan("PUT", {**STEPS, "expected": None}).status_code == 200


def test_a_stopped_plan_moves_nothing(scene: Scene) -> None:
    scene.plan("PUT", STEPS)
    assert scene.plan("DELETE").get_json()["plan"] is None
    scene.watch.run_once()
    assert scene.desk.get()["percentage"] == 0
    assert problem(scene.plan("DELETE"), 404)


def test_a_plan_that_does_not_grow_is_refused(scene: Scene) -> None:
    body = {"steps": STEPS["steps"][::-1], "reason": "why"}  # type: ignore[index]
    assert list(problem(scene.plan("PUT", body), 400)["errors"]) == ["steps"]


def test_the_guardrail_holds_says_so_once_and_lets_people_take_back(scene: Scene) -> None:
    scene.desk.put(percentage=50)
    scene.reported(2, **BAD)
    scene.watch.run_once()
    scene.watch.run_once()
    said = [change for change in scene.changes() if change[0] == "guardrail"]
    assert said == [("guardrail", 50, f"holds: {TROUBLE}")]
    assert scene.facts() == [("manual", "set"), ("guardrail", "held")]
    refused = problem(scene.desk.put(percentage=100), 409)
    assert (refused["reason"], "20 of 100" in refused["detail"]) == ("guardrail", True)
    assert scene.desk.put(percentage=0).status_code == 200
    assert scene.desk.put(enabled=False).status_code == 200


def test_nothing_is_judged_where_another_rule_lets_nobody_in(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.desk.put(percentage=50)
    scene.reported(2, **BAD)
    provider, asked = scene.provider, scene.provider.view
    nobody = RolloutOutcome(nobody="parent checkout is off")
    monkeypatch.setattr(provider, "view", lambda *given: replace(asked(*given), outcome=nobody))
    scene.watch.run_once()
    assert [change for change in scene.changes() if change[0] == "guardrail"] == []
    monkeypatch.setattr(provider, "view", asked)
    scene.watch.run_once()
    assert [change[0] for change in scene.changes()][-1] == "guardrail"


def test_the_guardrail_steps_back_to_the_percentage_before(cast: Flask, settings: Settings) -> None:
    scene = Scene(cast, settings, "step-back")
    for percentage in (10, 50):
        scene.desk.put(percentage=percentage)
    scene.reported(2, **BAD)
    scene.watch.run_once()
    now = scene.desk.get()
    assert (now["percentage"], now["actor"]) == (10, "guardrail")
    assert scene.facts() == [("manual", "set"), ("manual", "set"), ("guardrail", "set")]


def test_the_guardrail_steps_back_although_the_audit_has_forgotten_where_it_was(
    cast: Flask, settings: Settings
) -> None:
    scene = Scene(cast, settings, "step-back")
    for percentage in (10, 50):
        scene.desk.put(percentage=percentage)
    with cast.app_context():
        checkpoint.seal_before("2999-01-01T00:00:00.000Z", "ada")
        checkpoint.delete_covered()
    assert scene.audited("rollout-set") == []
    scene.reported(2, **BAD)
    scene.watch.run_once()
    assert scene.desk.get()["percentage"] == 10
    newest = scene.app.test_client().get(f"{URL}/history", headers=headers_of(cast, ALICE, "read")).get_json()["data"]
    assert [(entry["actor"], entry["before"]["percentage"]) for entry in newest] == [
        ("guardrail", 50),
        ("pia", 10),
        ("pia", 0),
    ]


class TestWindow:
    """It begins at the last change of who is in, by the clock that dates what is reported."""

    def test_setting_what_is_set_does_not_begin_it_anew(self, scene: Scene) -> None:
        scene.desk.put(percentage=50)
        scene.stands_for(3)
        scene.reported(0, **BAD)
        scene.desk.put(percentage=50)
        scene.watch.run_once()
        assert scene.plan("GET").get_json()["blocked"] is not None

    def test_other_people_begin_it_anew(self, scene: Scene) -> None:
        scene.desk.put(percentage=50)
        scene.stands_for(3)
        scene.reported(0, **BAD)
        scene.desk.put(percentage=60)
        scene.watch.run_once()
        assert scene.plan("GET").get_json()["blocked"] is None

    @pytest.mark.parametrize("said", ["2000-01-01T00:00:00.000Z", "2999-01-01T00:00:00.000Z"])
    def test_another_clock_neither_blinds_it_nor_lets_it_see_what_was_before(self, scene: Scene, said: str) -> None:
        scene.reported(0, **BAD)
        with scene.app.app_context(), write() as session:
            embedded.write_rollout(
                session, Flag.SSE_STREAMING, Rollout(True, 50), "eve (Unleash)", "changed in Unleash", said
            )
        scene.watch.run_once()
        assert scene.plan("GET").get_json()["blocked"] is None
        scene.reported(2, **BAD)
        scene.watch.run_once()
        assert scene.plan("GET").get_json()["blocked"] is not None


def test_a_user_who_has_the_name_of_the_plan_is_a_person_to_notifications(scene: Scene) -> None:
    with scene.app.app_context(), write() as session:
        session.execute(db.update(User).where(User.name == PIA.name).values(name="plan"))
    scene.desk.put(percentage=25, reason="paused: for lunch")
    assert (scene.facts(), scene.changes()) == ([("manual", "set")], [("plan", 25, "paused: for lunch")])
    with scene.app.app_context(), read() as session:
        assert session.scalars(db.select(Notification.title)).all() == ["enable_sse_streaming is on for 25 %"]


def test_a_held_plan_waits(scene: Scene) -> None:
    scene.plan("PUT", STEPS)
    scene.watch.run_once()
    scene.reported(2, **BAD)
    scene.held_for(10)
    scene.watch.run_once()
    assert scene.desk.get()["percentage"] == 10


class TestKilled:
    def test_while_it_holds_does_not_keep_the_flag_off_for_good(self, scene: Scene) -> None:
        scene.desk.put(percentage=50)
        scene.reported(2, **BAD)
        scene.watch.run_once()
        scene.desk.put(enabled=False)
        scene.watch.run_once()
        assert problem(scene.desk.put(enabled=True), 409)["reason"] == "guardrail"
        scene.held_until_now()
        scene.watch.run_once()
        assert scene.desk.put(enabled=True).status_code == 200
        released = ("guardrail", "rollout-release", "holds no longer: no trouble was reported")
        assert scene.audited("rollout-release") == [released]
        assert scene.notified().count(f"guardrail: {released[2]}") == 1
        assert scene.facts()[-2:] == [("guardrail", "released"), ("manual", "set")]

    def test_its_plan_is_paused_and_raises_nothing_when_it_is_on_again(self, scene: Scene) -> None:
        scene.plan("PUT", STEPS)
        scene.watch.run_once()
        scene.desk.put(enabled=False)
        scene.watch.run_once()
        scene.desk.put(enabled=True)
        scene.held_for(60 * 24)
        scene.watch.run_once()
        assert scene.desk.get()["percentage"] == 10
        assert scene.plan("GET").get_json()["plan"]["paused"] is True
        assert scene.audited("rollout-plan-pause") == [("plan", "rollout-plan-pause", "the flag is switched off")]
        assert scene.notified().count("plan: paused: the flag is switched off") == 1
        assert ("plan", "paused") in scene.facts()

    def test_at_0_it_may_be_switched_on_while_the_guardrail_holds(self, scene: Scene) -> None:
        scene.desk.put(percentage=50)
        scene.reported(2, **BAD)
        scene.watch.run_once()
        scene.desk.put(enabled=False)
        assert scene.desk.put(enabled=True, percentage=0).status_code == 200


class TestWhileItIsSet:
    @pytest.fixture
    def due(self, scene: Scene) -> Scene:
        """The step to 50 % is due."""
        scene.plan("PUT", STEPS)
        scene.watch.run_once()
        scene.went_well()
        scene.held_for(10)
        return scene

    def test_a_pause_stands(self, due: Scene) -> None:
        due.provider.meanwhile = lambda: due.plan("PATCH", {"action": "pause"})
        due.watch.run_once()
        due.watch.run_once()
        assert due.desk.get()["percentage"] == 10
        assert due.plan("GET").get_json()["plan"]["paused"] is True

    def test_a_stop_stands(self, due: Scene) -> None:
        due.provider.meanwhile = lambda: due.plan("DELETE")
        due.watch.run_once()
        due.watch.run_once()
        assert due.desk.get()["percentage"] == 10
        assert due.plan("GET").get_json()["plan"] is None

    def test_another_plan_begins_at_its_own_beginning(self, due: Scene) -> None:
        other = {"steps": [{"percentage": 10, "holdMinutes": 60}, {"percentage": 20, "holdMinutes": 1}], "reason": "b"}
        due.provider.meanwhile = lambda: due.plan("PUT", other)
        due.watch.run_once()
        assert due.plan("GET").get_json()["plan"]["step"] == -1
        due.watch.run_once()
        assert due.desk.get()["percentage"] == 10

    def test_what_somebody_took_back_to_where_it_was_is_not_raised_again(self, due: Scene) -> None:
        def there_and_back() -> None:
            due.desk.put(percentage=50)
            due.desk.put(percentage=10, reason="it hurts")

        due.provider.meanwhile = there_and_back
        due.watch.run_once()
        assert due.desk.get()["percentage"] == 10

    def test_a_holder_that_lost_the_lease_sets_nothing(self, due: Scene, settings: Settings) -> None:
        def frozen() -> None:
            with due.app.app_context(), write() as session:
                session.execute(db.update(LeaseRow).values(expires_at=0.0))
            due.watcher(settings, "two").run_once()  # which makes the step
            assert due.desk.get()["percentage"] == 50
            due.desk.put(percentage=10)

        due.provider.meanwhile = frozen
        with pytest.raises(LeaseLost):
            due.watch.run_once()
        assert due.desk.get()["percentage"] == 10

    def test_a_hold_that_comes_meanwhile_blocks(self, scene: Scene) -> None:
        scene.desk.put(percentage=50)
        unless_held = flag_changes.reject_if_held(Flag.SSE_STREAMING)
        with scene.app.app_context(), write() as session:
            session.add(GuardrailRow(flag=Flag.SSE_STREAMING, since=0.0, reason="trouble", refusals=0, retry_at=0.0))
            with pytest.raises(Problem, match="trouble"):
                embedded.change_rollout(session, Flag.SSE_STREAMING, "pia", "up", 100, precondition=unless_held)


class TestRefused:
    def test_a_step_back_is_told_once_and_tried_rarely(self, cast: Flask, settings: Settings) -> None:
        scene = Scene(cast, settings, "step-back")
        for percentage in (10, 50):
            scene.desk.put(percentage=percentage)
        scene.plan("PUT", {"steps": [{"percentage": 100, "holdMinutes": 1}], "reason": "up"})
        scene.reported(2, **BAD)
        scene.provider.refuses = "needs an approval"
        for _ in range(3):
            scene.watch.run_once()
        [(_, _, said)] = scene.audited("rollout-hold")
        assert said.endswith("the limit is 5 %; stepping back was refused: needs an approval")
        assert scene.notified().count(f"guardrail: {said}") == 1
        assert scene.retries() == 1
        assert scene.plan("GET").get_json()["plan"]["paused"] is True
        scene.wait_over()
        scene.watch.run_once()
        scene.watch.run_once()
        assert (scene.retries(), len(scene.audited("rollout-hold"))) == (2, 1)
        scene.wait_over()
        scene.provider.refuses = ""
        scene.watch.run_once()
        assert scene.desk.get()["percentage"] == 10

    def test_what_it_says_afterwards_is_where_the_flag_stands_by_then(self, cast: Flask, settings: Settings) -> None:
        """A refusal may take seconds: whoever switched it off meanwhile must not read that it is on."""
        scene = Scene(cast, settings, "step-back")
        for percentage in (10, 50):
            scene.desk.put(percentage=percentage)
        scene.reported(2, **BAD)
        scene.provider.refuses = "needs an approval"
        scene.provider.meanwhile = lambda: scene.desk.put(enabled=False)
        scene.watch.run_once()
        with scene.app.app_context(), read() as session:
            told = [event.data for event in log.read_after(session, 0).events if event.type == "flag.changed"][-1]
            held = session.scalars(db.select(AuditRow).where(AuditRow.action_type == "rollout-hold")).one()
        assert (told["actor"], told["enabled"], told["percentage"]) == ("guardrail", False, 50)
        assert json.loads(held.after_state_json or "") == {"enabled": False, "percentage": 50}

    def test_a_step_of_a_plan_pauses_it_and_says_so(self, scene: Scene) -> None:
        scene.plan("PUT", STEPS)
        scene.provider.refuses = "needs an approval"
        scene.watch.run_once()
        scene.watch.run_once()
        shown = scene.plan("GET").get_json()["plan"]
        assert (shown["step"], shown["paused"]) == (-1, True)
        why = "10 % was refused: needs an approval"
        assert scene.audited("rollout-plan-pause") == [("plan", "rollout-plan-pause", why)]
        assert scene.notified() == [f"plan: paused: {why}"]
        scene.provider.refuses = ""
        scene.plan("PATCH", {"action": "resume"})
        scene.watch.run_once()
        assert scene.desk.get()["percentage"] == 10


def test_a_plan_that_ends_because_somebody_moved_the_flag_says_so(scene: Scene) -> None:
    scene.plan("PUT", STEPS)
    scene.watch.run_once()
    scene.desk.put(percentage=20)
    scene.watch.run_once()
    assert scene.audited("rollout-plan-end") == [("plan", "rollout-plan-end", "the flag was moved to 20 %")]
    assert "plan: ended: the flag was moved to 20 %" in scene.notified()
    assert scene.plan("GET").get_json()["plan"] is None


def test_a_held_plan_waits_for_a_person_even_when_the_hold_is_over(scene: Scene) -> None:
    scene.plan("PUT", STEPS)
    scene.watch.run_once()
    scene.reported(2, **BAD)
    scene.held_for(10)
    scene.watch.run_once()
    scene.held_until_now()
    scene.watch.run_once()
    scene.watch.run_once()
    assert scene.desk.get()["percentage"] == 10
    assert scene.audited("rollout-plan-pause") == [("guardrail", "rollout-plan-pause", "the guardrail holds")]
    scene.plan("PATCH", {"action": "resume"})
    scene.watch.run_once()
    assert scene.desk.get()["percentage"] == 10, "what was seen before the hold is no evidence of what comes"
    scene.reported(2, **WELL)
    scene.streamed(100)
    scene.watch.run_once()
    assert scene.desk.get()["percentage"] == 50


def test_one_person_alone_holds_nothing_and_plain_failure_of_two_holds_at_once(scene: Scene) -> None:
    scene.desk.put(percentage=50)
    for _ in range(5):
        scene.reported(2, ["ann"], attempts=12, failures=12)
    scene.watch.run_once()
    assert scene.plan("GET").get_json()["blocked"] is None
    scene.reported(2, ["bea"], attempts=6, failures=6)
    scene.watch.run_once()
    assert scene.plan("GET").get_json()["blocked"].startswith("66 of 66 attempts to connect failed")


@pytest.mark.parametrize("mode", ["hold", "step-back"])
@pytest.mark.parametrize("decides", [True, False])
def test_a_flag_that_a_setting_decides_is_neither_held_nor_stepped_back(
    cast: Flask, settings: Settings, mode: str, decides: bool
) -> None:
    scene = Scene(cast, settings.model_copy(update={"flag_overrides": {Flag.SSE_STREAMING: decides}}), mode)
    for percentage in (10, 50):
        scene.desk.put(percentage=percentage)
    scene.reported(2, **BAD)
    scene.watch.run_once()
    assert scene.desk.get()["percentage"] == 50
    assert scene.plan("GET").get_json()["blocked"] is None


def test_what_is_reported_of_streams_judges_no_other_flag(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.desk.put(percentage=50)
    scene.reported(2, **BAD)
    monkeypatch.setattr("app.rollout.observation.JUDGED_FLAGS", frozenset())
    scene.watch.run_once()
    assert scene.plan("GET").get_json()["blocked"] is None
    monkeypatch.undo()
    scene.watch.run_once()
    assert scene.plan("GET").get_json()["blocked"] is not None


def test_only_one_worker_acts(scene: Scene, settings: Settings) -> None:
    other = scene.watcher(settings, "two")
    scene.watch.run_once()
    scene.plan("PUT", STEPS)
    other.run_once()
    assert scene.desk.get()["percentage"] == 0
    scene.watch.run_once()
    assert scene.desk.get()["percentage"] == 10


def test_a_report_keeps_the_cohort_alone_and_comes_once_in_30_s(cast: Flask) -> None:
    browser = logged_in(cast, ALICE)
    headers = {"X-CSRFToken": csrf_token(browser, "/"), "Accept": "application/json"}
    body = {"attempts": 1, "failures": 0, "helloMs": [40], "lagMs": [12, 900]}
    answers = [browser.post("/api/client-reports", json=body, headers=headers).status_code for _ in range(5)]
    assert answers[0] == 204
    taken = answers.count(204)
    assert taken <= 2, "one, and one more where a window of 30 s ends between them"
    cast.extensions["beacon"].report_buffer.flush()
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
