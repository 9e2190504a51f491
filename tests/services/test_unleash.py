"""A real Unleash and the embedded mode: one suite for both, and what each failure of Unleash does."""

import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

import app as beacon
from app import create_app
from app.cli import doctor
from app.config import Settings
from app.flags import document
from app.flags.document import Rollout
from app.flags.evaluation import Flags
from app.flags.unleash import admin_api, feed_poller
from app.flags.unleash import unleash_provider as rollout
from app.flags.unleash.admin_api import AdminClient
from app.flags.unleash.feed_poller import UnleashPoller
from tests.services.unleash_scene import FLAG, FOLLOW_S, USERS, Desk, Workers, close_database
from tests.support.cast import PIA, headers_of, join
from tests.support.ports import free_port
from tests.support.postgres import Postgres
from tests.support.unleash_server import ADMIN_TOKEN, CLIENT_TOKEN, Unleash
from tests.support.waiting import wait_for

STEPS = (0, 1, 10, 50, 99, 100)


@pytest.fixture(scope="module")
def editor(unleash_server: Unleash) -> str:
    return unleash_server.editors_token()


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers in this process ask and report more often; `test_unleash_deployment.py` keeps the real times."""
    monkeypatch.setattr(feed_poller, "POLL_EVERY_S", 0.1)
    monkeypatch.setattr(beacon, "FLAG_RETRY_S", 0.1)
    monkeypatch.setattr(rollout, "MAX_SEND_DELAY_S", 60.0)  # what tests do between look and change takes seconds


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Beacon on SQLite, which is quick to make; what several workers write at once is shown on PostgreSQL."""
    return Settings(instance_dir=tmp_path / "instance", secret_key="for the tests only", heartbeat_s=0.2)


@pytest.fixture
def app(settings: Settings, database: Path) -> Iterator[Flask]:
    made = create_app(settings)
    yield made
    close_database(made)


@pytest.fixture
def worker(cast: Flask, settings: Settings) -> Iterator[Workers]:
    """Starts workers on one migrated database."""
    made = Workers(settings, headers_of(cast, PIA, "rollout"))
    yield made
    made.end()


@pytest.fixture
def postgres_worker(postgres: Postgres, settings: Settings) -> Iterator[Workers]:
    there = Settings(**{**settings.model_dump(), "database_url": postgres.migrated_database()})
    first = create_app(there)
    join(first, PIA)
    made = Workers(there, headers_of(first, PIA, "rollout"))
    yield made
    made.end()
    close_database(first)


@pytest.fixture(params=["embedded", "unleash"])
def desk(request: pytest.FixtureRequest, worker: Workers) -> Desk:
    """At 10 %, in either mode."""
    if request.param == "unleash":
        made = worker(request.getfixturevalue("unleash"))
    else:
        made = worker()
        made.put(percentage=10)
    made.stands_at(10)
    return made


class TestBothModes:
    def test_a_new_percentage_reaches_the_worker_and_the_kill_switch_keeps_it(self, desk: Desk) -> None:
        assert desk.put(percentage=50).get_json()["percentage"] == 50
        desk.stands_at(50)
        assert 0.4 < desk.share() < 0.6
        assert desk.put(enabled=False).get_json()["percentage"] == 50
        desk.stands_at(50, enabled=False)
        assert desk.share() == 0
        assert desk.put(enabled=True, percentage=100).status_code == 200
        desk.stands_at(100)
        assert desk.share() == 1

    def test_a_change_is_audited_and_told_once_with_its_actor_and_reason(self, desk: Desk) -> None:
        told, entries = len(desk.changes()), len(desk.audit())
        assert desk.put(percentage=25, reason="a quarter").status_code == 200
        desk.stands_at(25)
        (change,) = desk.changes()[told:]
        said = {"flag": FLAG, "enabled": True, "percentage": 25, "actor": "pia", "reason": "a quarter"}
        assert change == {**said, "cause": "manual", "kind": "set"}
        ours = ("pia", "rollout-set", "success", {"enabled": True, "percentage": 25})
        assert desk.audit()[entries:] == [ours]
        assert desk.get()["actor"] == "pia"

    def test_a_change_from_anywhere_else_than_was_seen_is_409(self, desk: Desk) -> None:
        refused = desk.put(percentage=50, expected=25)
        assert (refused.status_code, refused.get_json()["current"]["percentage"]) == (409, 10)
        assert desk.put(percentage=50, expected={"percentage": 10, "enabled": True}).status_code == 200
        desk.stands_at(50)

    def test_setting_what_is_set_already_is_taken_and_told(self, desk: Desk) -> None:
        told = len(desk.changes())
        assert desk.put(percentage=10, reason="to be sure").status_code == 200
        assert [change["reason"] for change in desk.changes()[told:]] == ["to be sure"]


def test_both_modes_have_the_same_people_in_and_nobody_leaves_when_it_grows(unleash: Unleash) -> None:
    texts: list[str] = []
    asking = UnleashPoller(unleash.url, CLIENT_TOKEN, texts.append)
    before: set[str] = set()

    def sent(wanted: int) -> bool:
        asking.poll_once()
        return bool(texts) and document.read_state(texts[-1], FLAG).percentage == wanted

    unleash.set(FLAG, STEPS[0])
    for percentage, following in zip(STEPS, (*STEPS[1:], 10), strict=True):
        wait_for(lambda wanted=percentage: sent(wanted), FOLLOW_S)  # type: ignore[misc]
        unleash.set(FLAG, following)  # which takes it a second, while people are asked about
        real, ours = Flags({}), Flags({})
        real.load(texts[-1])
        ours.load({FLAG: Rollout(enabled=True, percentage=percentage)})
        members = {user for user in USERS if real.is_enabled(FLAG, user)}
        assert members == {user for user in USERS if ours.is_enabled(FLAG, user)}
        assert before <= members
        assert abs(len(members) / len(USERS) - percentage / 100) < 0.02
        before = members
    asking.stop()


class TestSomebodyElse:
    def test_a_change_in_unleash_is_told_once_whatever_the_number_of_workers(
        self, unleash: Unleash, postgres_worker: Workers
    ) -> None:
        desks = [postgres_worker(unleash), postgres_worker(unleash)]
        desks[0].stands_at(10)
        wait_for(lambda: desks[0].get()["workers"] == {"holding": 2, "total": 2}, FOLLOW_S)
        told = len(desks[0].changes())
        unleash.set(FLAG, 75)
        desks[1].stands_at(75)
        assert all(0.65 < desk.share() < 0.85 for desk in desks)
        (change,) = desks[0].changes()[told:]
        assert (change["percentage"], change["actor"]) == (75, "admin (Unleash)")
        assert desks[0].audit()[-1][:2] == ("admin (Unleash)", "rollout-seen")

    def test_an_edit_between_look_and_apply_is_kept_and_named(
        self, unleash: Unleash, worker: Workers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        desk = worker(unleash)
        desk.stands_at(10)
        unleash.set(FLAG, 20)
        early = desk.put(percentage=100, expected=10)
        assert (early.status_code, early.get_json()["current"]["percentage"]) == (409, 20)
        apply = AdminClient.set_percentage

        def late(*arguments: Any) -> None:
            unleash.set(FLAG, 25)
            apply(*arguments)

        monkeypatch.setattr(AdminClient, "set_percentage", late)
        refused = desk.put(percentage=100, expected=20)
        assert refused.status_code == 409
        assert "is now at 25 %" in refused.get_json()["detail"]
        assert "changed by admin less than a minute ago" in refused.get_json()["detail"]
        assert unleash.percentage(FLAG) == 25
        assert [entry[2] for entry in desk.audit() if entry[0] == "pia"] == ["failure"]
        desk.stands_at(25)

    def test_a_kill_with_a_percentage_says_that_only_the_kill_came_about(
        self, unleash: Unleash, worker: Workers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        desk = worker(unleash)
        desk.stands_at(10)
        entries, apply = len(desk.audit()), AdminClient.set_percentage

        def late(*arguments: Any) -> None:
            unleash.set(FLAG, 25)
            apply(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(AdminClient, "set_percentage", late)
            partly = desk.put(enabled=False, percentage=0)
        assert (partly.status_code, partly.get_json()["reason"]) == (409, "unleash-partly")
        assert partly.get_json()["title"] == "Changed in part"
        assert partly.get_json()["detail"] == "Switched off. The rest failed: somebody else changed it first"
        desk.stands_at(25, enabled=False)
        ours = [entry for entry in desk.audit()[entries:] if entry[0] == "pia"]
        assert ours == [
            ("pia", "rollout-set", "success", {"enabled": False, "percentage": 10}),
            ("pia", "rollout-set", "failure", {"enabled": False, "percentage": 0}),
        ]
        entries = len(desk.audit())
        assert desk.put(enabled=True, percentage=100, reason="all of it").status_code == 200
        desk.stands_at(100)
        assert desk.audit()[entries:] == [("pia", "rollout-set", "success", {"enabled": True, "percentage": 100})]
        assert [change["actor"] for change in desk.changes() if change["reason"] == "all of it"][-1] == "pia"

    def test_constraints_and_variants_outlive_a_change(self, unleash: Unleash, worker: Workers) -> None:
        variant = {"name": "blue", "weight": 1000, "weightType": "variable", "stickiness": "default"}
        only = {"contextName": "userId", "operator": "NOT_IN", "values": ["mallory"]}
        unleash.replace_strategies(FLAG, {"constraints": [only], "variants": [variant]})
        desk = worker(unleash)
        desk.stands_at(10)
        assert desk.put(percentage=100).status_code == 200
        desk.stands_at(100)
        assert not desk.flags.is_enabled(FLAG, "mallory")
        (strategy,) = unleash.strategies(FLAG)
        assert (strategy["parameters"]["rollout"], len(strategy["variants"])) == ("100", 1)
        assert strategy["constraints"][0]["values"] == ["mallory"]


class TestWhyNot:
    def test_more_than_one_strategy_is_left_alone_and_the_kill_switch_works(
        self, unleash: Unleash, worker: Workers
    ) -> None:
        unleash.add_strategy(FLAG, 20)
        desk = worker(unleash)
        wait_for(lambda: "2 strategies" in desk.get().get("whyNot", ""), FOLLOW_S)
        assert desk.get()["percentage"] is None
        refused = desk.put(percentage=50)
        assert (refused.status_code, refused.get_json()["reason"]) == (409, "unleash-strategies")
        assert refused.get_json()["link"] == f"{unleash.url}/projects/default/features/{FLAG}"
        assert desk.put(enabled=False).status_code == 200
        wait_for(lambda: desk.get()["enabled"] is False and desk.share() == 0, FOLLOW_S)
        assert len(unleash.strategies(FLAG)) == 2

    @pytest.mark.parametrize(
        ("token", "reason"),
        [("", "unleash-no-token"), ("*:*.bad", "unleash-bad-token"), (CLIENT_TOKEN, "unleash-forbidden")],
        ids=["none", "bad", "of clients"],
    )
    def test_without_a_good_admin_token_it_says_so(
        self, unleash: Unleash, worker: Workers, token: str, reason: str
    ) -> None:
        desk = worker(unleash, unleash_admin_token=token)
        desk.stands_at(10)
        refused = desk.put(percentage=50)
        assert (refused.status_code, refused.get_json()["reason"]) == (403, reason)
        assert refused.get_json()["link"].startswith(unleash.url)
        assert unleash.percentage(FLAG) == 10
        assert desk.doctor().ok is (token == "")
        assert "BEACON_UNLEASH_ADMIN_TOKEN" in desk.doctor().text

    def test_an_approval_that_is_needed_is_named_and_nothing_changes(
        self, unleash: Unleash, worker: Workers, editor: str
    ) -> None:
        """The real server's own refusal. Its kill switch needs the approval too; a token that may do anything none."""
        desk, almighty = worker(unleash, unleash_admin_token=editor), worker(unleash)
        desk.stands_at(10)
        with unleash.approvals():
            for wish in ({"percentage": 50}, {"enabled": False}):
                refused = desk.put(**wish)
                assert (refused.status_code, refused.get_json()["reason"]) == (403, "unleash-approval")
                assert "approval" in refused.get_json()["detail"]
                assert refused.get_json()["link"] == f"{unleash.url}/projects/default/features/{FLAG}"
            assert unleash.percentage(FLAG) == 10
            assert almighty.put(percentage=25).status_code == 200
        desk.stands_at(25)
        assert [entry[2] for entry in desk.audit() if entry[1] == "rollout-set"] == ["failure", "failure", "success"]
        assert desk.put(percentage=50).status_code == 200, "no approval is needed any more"

    def test_a_flag_that_unleash_does_not_have_is_off_and_named(self, unleash: Unleash, worker: Workers) -> None:
        desk = worker(unleash)
        desk.stands_at(10)
        unleash.archive(FLAG)
        try:
            wait_for(lambda: "no flag of this name" in desk.get().get("whyNot", ""), FOLLOW_S)
            wait_for(lambda: desk.share() == 0, FOLLOW_S)
            refused = desk.put(percentage=50)
            assert (refused.status_code, refused.get_json()["reason"]) == (409, "unleash-missing")
            assert desk.doctor().text.startswith(f"Unleash answers but has no {FLAG}")
        finally:
            unleash.bring_back(FLAG)


class TestAway:
    def test_killed_and_restarted(self, unleash: Unleash, worker: Workers, caplog: pytest.LogCaptureFixture) -> None:
        first = worker(unleash)
        first.stands_at(10)
        caplog.clear()
        unleash.kill()
        wait_for(lambda: "cannot be reached" in first.get().get("note", ""), FOLLOW_S)
        restarted = worker(unleash)
        wait_for(lambda: "last known flags apply" in restarted.get().get("note", ""), FOLLOW_S)
        assert restarted.share() == first.share() > 0
        assert restarted.ready()["status"] == 200
        assert "cannot be reached" in restarted.ready()["flags"]
        assert "the last flags it sent apply" in restarted.doctor().text
        refused = restarted.put(percentage=50)
        assert (refused.status_code, refused.get_json()["reason"]) == (503, "unleash-away")
        assert len(warnings(caplog)) <= 2, "one line for each worker, however long it lasts"
        unleash.start()
        wait_for(lambda: "note" not in restarted.get() and restarted.ready()["flags"] == "ok", FOLLOW_S)
        assert restarted.put(percentage=50).status_code == 200
        restarted.stands_at(50)

    def test_frozen_holds_up_nobody(
        self,
        unleash: Unleash,
        worker: Workers,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        desk = worker(unleash)
        desk.stands_at(10)
        caplog.clear()
        unleash.freeze()
        monkeypatch.setattr(feed_poller, "POLL_TIMEOUT_S", 2.0)
        monkeypatch.setattr(admin_api, "ADMIN_TIMEOUT_S", 1.0)
        late, took_s = worker(unleash), list[float]()  # starts beside a frozen one

        def noted() -> bool:
            began = time.monotonic()
            late.share()
            note = late.get().get("note", "")
            took_s.append(time.monotonic() - began)
            return "does not respond in time" in note

        wait_for(noted, FOLLOW_S)
        assert max(took_s) < feed_poller.POLL_TIMEOUT_S, "a request waited for Unleash"
        assert late.share() == desk.share() > 0
        assert desk.put(percentage=50).status_code == 503
        assert len(warnings(caplog)) <= 2
        monkeypatch.setattr(feed_poller, "POLL_TIMEOUT_S", 10.0)
        unleash.thaw()
        wait_for(lambda: "note" not in desk.get() and "note" not in late.get(), FOLLOW_S)
        assert unleash.percentage(FLAG) == 10, "what was refused did not come about later"

    def test_frozen_in_the_middle_of_a_change_claims_nothing_and_ends_as_unleash_has_it(
        self, unleash: Unleash, worker: Workers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What it had received it may still carry out."""
        desk = worker(unleash)
        desk.stands_at(10)
        apply = AdminClient.set_percentage

        def stuck(*arguments: Any) -> None:
            unleash.freeze()
            monkeypatch.setattr(admin_api, "ADMIN_TIMEOUT_S", 0.5)
            apply(*arguments)

        monkeypatch.setattr(AdminClient, "set_percentage", stuck)
        refused = desk.put(percentage=50)
        assert (refused.status_code, refused.get_json()["reason"]) == (503, "unleash-away")
        assert "Check the flag before you retry" in refused.get_json()["detail"]
        assert desk.get()["percentage"] == 10
        unleash.thaw()
        monkeypatch.setattr(admin_api, "ADMIN_TIMEOUT_S", 10.0)
        wait_for(lambda: "note" not in desk.get() and desk.get()["percentage"] == unleash.percentage(FLAG), FOLLOW_S)
        assert [entry[2] for entry in desk.audit() if entry[0] == "pia"] == ["failure"]

    def test_a_bad_token_is_said_and_everybody_is_polled(self, unleash: Unleash, worker: Workers) -> None:
        desk = worker(unleash, unleash_api_token="default:development.bad")
        wait_for(lambda: "rejects BEACON_UNLEASH_API_TOKEN" in desk.get().get("note", ""), FOLLOW_S)
        assert "declared defaults apply" in desk.get()["note"]
        assert desk.share() == 0
        assert not desk.doctor().ok
        assert "BEACON_UNLEASH_API_TOKEN" in desk.doctor().text

    def test_one_that_never_answered_leaves_the_declared_defaults(self, worker: Workers) -> None:
        nowhere = f"http://127.0.0.1:{free_port()}"
        desk = worker(unleash_url=nowhere, unleash_api_token=CLIENT_TOKEN, unleash_admin_token=ADMIN_TOKEN)
        wait_for(lambda: "cannot be reached" in desk.get().get("note", ""), FOLLOW_S)
        shown = desk.get()
        assert "declared defaults apply" in shown["note"]
        assert (shown["percentage"], shown["whyNot"]) == (None, "Unleash has sent no flags yet")
        assert desk.share() == 0
        assert desk.ready()["status"] == 200
        assert desk.put(percentage=50).status_code == 503
        assert "the declared defaults apply" in desk.doctor().text


class TestInForce:
    def test_a_kill_while_the_token_of_the_workers_is_revoked_is_in_force_in_all_of_them(
        self, unleash: Unleash, worker: Workers
    ) -> None:
        token = unleash.workers_token()
        desks = [worker(unleash, unleash_api_token=token) for _ in range(2)]
        for desk in desks:
            assert unleash.percentage(FLAG) == 10
            wait_for(lambda desk=desk: desk.share() > 0, FOLLOW_S)  # type: ignore[misc]
        unleash.revoke(token)
        for desk in desks:
            wait_for(lambda desk=desk: "rejects" in desk.get().get("note", ""), FOLLOW_S)  # type: ignore[misc]
        assert desks[0].put(enabled=False).status_code == 200
        wait_for(lambda: all(desk.share() == 0 for desk in desks), FOLLOW_S)
        wait_for(lambda: desks[1].get()["inForce"] == [{"enabled": False, "percentage": 10, "workers": 2}], FOLLOW_S)
        assert "with what Beacon has changed since" in desks[1].get()["note"]
        answering = worker(unleash)
        wait_for(lambda: "note" not in answering.get(), FOLLOW_S)
        assert (answering.get()["enabled"], answering.share()) == (False, 0)

    def test_a_change_is_in_force_before_unleash_has_sent_it_and_is_told_once(
        self, unleash: Unleash, worker: Workers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        desk = worker(unleash)
        desk.stands_at(10)
        told = len(desk.changes())
        monkeypatch.setattr(feed_poller, "POLL_EVERY_S", 3.0)
        assert desk.put(percentage=100).status_code == 200
        desk.stands_at(100)
        monkeypatch.setattr(feed_poller, "POLL_EVERY_S", 0.1)
        wait_for(lambda: not desk.is_ahead(), FOLLOW_S)
        assert [change["percentage"] for change in desk.changes()[told:]] == [100]

    def test_the_outcome_of_a_segment_of_one_and_of_a_parent_that_is_off_is_what_is_said(
        self, unleash: Unleash, worker: Workers
    ) -> None:
        desk = worker(unleash)
        segment = unleash.add_segment("beta", USERS[0])
        unleash.replace_strategies(FLAG, {"segments": [segment]}, percentage=100)
        said = "100 % of those whom segment beta lets in"
        wait_for(lambda: desk.get().get("outcome") == said, FOLLOW_S)
        wait_for(lambda: desk.share() == 1 / 500, FOLLOW_S)
        unleash.replace_strategies(FLAG, {}, percentage=100)
        unleash.add_flag("checkout", 100)
        unleash.switch("checkout", on=False)
        unleash.set_parent(FLAG, "checkout")
        try:
            wait_for(lambda: desk.get().get("outcome") == "parent checkout is off: nobody is in", FOLLOW_S)
            wait_for(lambda: desk.share() == 0, FOLLOW_S)
            assert "parent checkout is off: nobody is in" in desk.doctor().text
        finally:
            unleash.remove_parents(FLAG)
        wait_for(lambda: "outcome" not in desk.get() and desk.share() == 1, FOLLOW_S)

    def test_a_percentage_that_is_no_whole_number_is_said_with_what_comes_of_it(
        self, unleash: Unleash, worker: Workers
    ) -> None:
        desk = worker(unleash)
        desk.stands_at(10)
        (strategy,) = unleash.strategies(FLAG)
        patch = [{"op": "replace", "path": "/parameters/rollout", "value": "12.5"}]
        place = f"/projects/default/features/{FLAG}/environments/development/strategies/{strategy['id']}"
        unleash.admin("PATCH", place, patch)
        wait_for(lambda: desk.get()["percentage"] == 12.5, FOLLOW_S)
        assert desk.get()["outcome"].endswith("nobody is in")
        wait_for(lambda: desk.share() == 0, FOLLOW_S)
        assert desk.put(percentage=25, expected=12).status_code == 409
        assert desk.put(percentage=25, expected=12.5).status_code == 200
        desk.stands_at(25)


class TestDoctor:
    def test_doctor_says_where_the_flag_stands_and_no_token(self, unleash: Unleash, worker: Workers) -> None:
        unleash.switch(FLAG, on=False)
        desk = worker(unleash)
        assert desk.doctor().ok
        assert f"Unleash answers; {FLAG} switched off" in desk.doctor().text
        lines = "\n".join(doctor.settings_lines(desk.app.extensions["beacon"].settings))
        assert ADMIN_TOKEN not in lines
        assert CLIENT_TOKEN not in lines


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What a person is told that has anything to do with Unleash or with reaching it."""
    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    return [
        record.getMessage() for record in told if re.search("(?i)unleash|urllib3|requests", record.name + record.msg)
    ]
