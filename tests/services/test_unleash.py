"""A real Unleash and the embedded mode: one suite for both, and what each failure of Unleash does."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests
import sqlalchemy as sa
from flask import Flask
from werkzeug.test import TestResponse

from app import create_app, doctor
from app.audit.models import AuditRow
from app.config import Settings
from app.db import db, read
from app.eventlog import read as log
from app.rollout import configuration
from app.rollout.admin import Admin
from app.rollout.configuration import Flag, Rollout
from app.rollout.feed import Feed
from app.rollout.flags import Flags
from tests.cast import CAST, PIA, headers_of, join
from tests.postgres_process import Postgres
from tests.unleash_process import ADMIN_TOKEN, CLIENT_TOKEN, Unleash
from tests.waiting import eventually

FLAG = Flag.SSE_STREAMING
URL = f"/api/rollout/{FLAG}"
STEPS = (0, 1, 10, 25, 50, 75, 99, 100)
USERS = [f"user{number}" for number in range(10_000)]
# A change shows after up to two seconds; the machine may be busy.
FOLLOW_S = 20.0


@pytest.fixture(scope="module")
def server(postgres: Postgres) -> Iterator[Unleash]:
    made = Unleash(postgres.new_database())
    made.add_flag(FLAG, 0)
    yield made
    made.kill()


@pytest.fixture
def unleash(server: Unleash) -> Iterator[Unleash]:
    """Running, with one gradual rollout at 10 %, switched on."""
    server.reset(FLAG, 10)
    yield server
    server.revive()


def settings_of(settings: Settings, server: Unleash, **more: Any) -> Settings:
    known = {"unleash_url": server.url, "unleash_api_token": CLIENT_TOKEN, "unleash_admin_token": ADMIN_TOKEN, **more}
    return Settings(**{**settings.model_dump(), **known})


@pytest.fixture
def worker(app: Flask, settings: Settings) -> Iterator[Callable[..., "Desk"]]:
    """Starts workers on one migrated database; keywords are further settings."""
    join(app, *CAST)
    headers = headers_of(app, PIA, "rollout")
    made: list[Flask] = []

    def start(server: Unleash | None = None, **more: Any) -> Desk:
        chosen = settings if server is None else settings_of(settings, server, **more)
        made.append(create_app(chosen))
        made[-1].extensions["beacon_live"].start()
        return Desk(made[-1], headers)

    yield start
    for each in made:
        each.extensions["beacon_live"].stop()
        with each.app_context():
            db.engine.dispose()


class Desk:
    """Whoever runs the rollout, at one worker."""

    def __init__(self, app: Flask, headers: dict[str, str]) -> None:
        self.app, self._headers, self._client = app, headers, app.test_client()
        self.flags: Flags = app.extensions["beacon_flags"]

    def get(self) -> dict[str, Any]:
        response = self._client.get(URL, headers=self._headers)
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.get_json()
        return body

    def put(self, **body: Any) -> TestResponse:
        return self._client.put(URL, json={"reason": "because", **body}, headers=self._headers)

    def ready(self) -> dict[str, Any]:
        response = self._client.get("/readyz")
        return {"status": response.status_code, **response.get_json()["parts"]}

    def share(self) -> float:
        return sum(self.flags.is_enabled(FLAG, user) for user in USERS[:500]) / 500

    def stands_at(self, percentage: int, *, enabled: bool = True) -> None:
        """Until the API says so, and every worker holds it."""

        def holds() -> bool:
            now = self.get()
            workers = now["workers"]
            figures = (now["percentage"], now["enabled"]) == (percentage, enabled)
            return figures and workers is not None and workers["holding"] == workers["total"] > 0

        eventually(holds, FOLLOW_S)

    def changes(self) -> list[dict[str, Any]]:
        with self.app.app_context(), read() as session:
            return [dict(event.data) for event in log.after(session, 0).events if event.type == "flag.changed"]

    def audit(self) -> list[tuple[str, str, str, dict[str, Any]]]:
        query = sa.select(AuditRow).where(AuditRow.target == FLAG).order_by(AuditRow.seq)
        with self.app.app_context(), read() as session:
            rows = session.scalars(query).all()
            return [(row.actor, row.action_type, row.outcome, json.loads(row.after_state_json or "{}")) for row in rows]


@pytest.fixture(params=["embedded", "unleash"])
def desk(request: pytest.FixtureRequest, worker: Callable[..., Desk]) -> Desk:
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
        assert change == {"flag": FLAG, "enabled": True, "percentage": 25, "actor": "pia", "reason": "a quarter"}
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


def test_both_modes_have_the_same_10000_people_in_and_nobody_leaves_when_it_grows(unleash: Unleash) -> None:
    texts: list[str] = []
    feed = Feed(unleash.url, CLIENT_TOKEN, texts.append)
    before: set[str] = set()

    def sent(wanted: int) -> bool:
        feed.look()
        return bool(texts) and configuration.nominal(texts[-1], FLAG).percentage == wanted

    for percentage in STEPS:
        unleash.set(FLAG, percentage)
        eventually(lambda wanted=percentage: sent(wanted), FOLLOW_S)  # type: ignore[misc]
        real, ours = Flags({}), Flags({})
        real.load(texts[-1])
        ours.load({FLAG: Rollout(enabled=True, percentage=percentage)})
        members = {user for user in USERS if real.is_enabled(FLAG, user)}
        assert members == {user for user in USERS if ours.is_enabled(FLAG, user)}
        assert before <= members
        assert abs(len(members) / len(USERS) - percentage / 100) < 0.02
        before = members
    feed.stop()


class TestSomebodyElse:
    def test_a_change_in_unleash_is_told_once_whatever_the_number_of_workers(
        self, unleash: Unleash, worker: Callable[..., Desk]
    ) -> None:
        desks = [worker(unleash), worker(unleash)]
        desks[0].stands_at(10)
        eventually(lambda: desks[0].get()["workers"] == {"holding": 2, "total": 2}, FOLLOW_S)
        told = len(desks[0].changes())
        unleash.set(FLAG, 75)
        desks[1].stands_at(75)
        assert all(0.65 < desk.share() < 0.85 for desk in desks)
        (change,) = desks[0].changes()[told:]
        assert (change["percentage"], change["actor"]) == (75, "admin (Unleash)")
        assert desks[0].audit()[-1][:2] == ("admin (Unleash)", "rollout-seen")

    def test_an_edit_between_look_and_apply_is_kept_and_named(
        self, unleash: Unleash, worker: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        desk = worker(unleash)
        desk.stands_at(10)
        apply = Admin.set_percentage

        def late(*arguments: Any) -> None:
            unleash.set(FLAG, 25)
            apply(*arguments)

        monkeypatch.setattr(Admin, "set_percentage", late)
        refused = desk.put(percentage=100, expected=10)
        assert refused.status_code == 409
        assert "is at 25 %" in refused.get_json()["detail"]
        assert "changed by admin less than a minute ago" in refused.get_json()["detail"]
        assert unleash.percentage(FLAG) == 25
        assert [entry[2] for entry in desk.audit() if entry[0] == "pia"] == ["failure"]
        desk.stands_at(25)

    def test_constraints_and_variants_outlive_a_change(self, unleash: Unleash, worker: Callable[..., Desk]) -> None:
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
        self, unleash: Unleash, worker: Callable[..., Desk]
    ) -> None:
        unleash.add_strategy(FLAG, 20)
        desk = worker(unleash)
        eventually(lambda: "2 strategies" in desk.get().get("whyNot", ""), FOLLOW_S)
        assert desk.get()["percentage"] is None
        refused = desk.put(percentage=50)
        assert (refused.status_code, refused.get_json()["reason"]) == (409, "unleash-strategies")
        assert refused.get_json()["link"] == f"{unleash.url}/projects/default/features/{FLAG}"
        assert desk.put(enabled=False).status_code == 200
        eventually(lambda: desk.get()["enabled"] is False and desk.share() == 0, FOLLOW_S)
        assert len(unleash.strategies(FLAG)) == 2

    @pytest.mark.parametrize(
        ("token", "status", "reason"), [("", 403, "unleash-no-token"), ("*:*.bad", 403, "unleash-bad-token")]
    )
    def test_without_a_good_admin_token_it_says_so(
        self, unleash: Unleash, worker: Callable[..., Desk], token: str, status: int, reason: str
    ) -> None:
        desk = worker(unleash, unleash_admin_token=token)
        desk.stands_at(10)
        refused = desk.put(percentage=50)
        assert (refused.status_code, refused.get_json()["reason"]) == (status, reason)
        assert refused.get_json()["link"].startswith(unleash.url)
        assert unleash.percentage(FLAG) == 10

    def test_an_approval_that_is_needed_is_named(self, unleash: Unleash, worker: Callable[..., Desk]) -> None:
        """Change requests are not part of the open-source server: what its paid sibling answers is said by ours."""
        with approving(unleash) as url:
            desk = worker(unleash, unleash_url=url)
            desk.stands_at(10)
            refused = desk.put(percentage=50)
        assert (refused.status_code, refused.get_json()["reason"]) == (403, "unleash-approval")
        assert "approval" in refused.get_json()["detail"]
        assert unleash.percentage(FLAG) == 10


class TestAway:
    def test_killed_and_restarted(
        self, unleash: Unleash, worker: Callable[..., Desk], caplog: pytest.LogCaptureFixture
    ) -> None:
        first = worker(unleash)
        first.stands_at(10)
        unleash.kill()
        eventually(lambda: "cannot be reached" in first.get().get("note", ""), FOLLOW_S)
        restarted = worker(unleash)
        eventually(lambda: "last known flags apply" in restarted.get().get("note", ""), FOLLOW_S)
        assert restarted.share() == first.share() > 0
        assert restarted.ready()["status"] == 200
        assert "cannot be reached" in restarted.ready()["flags"]
        refused = restarted.put(percentage=50)
        assert (refused.status_code, refused.get_json()["reason"]) == (503, "unleash-away")
        said = [record for record in caplog.records if "cannot be reached" in record.getMessage()]
        assert len(said) == 2, "once for each worker, however long it lasts"
        unleash.start()
        eventually(lambda: "note" not in restarted.get() and restarted.ready()["flags"] == "ok", FOLLOW_S)
        assert restarted.put(percentage=50).status_code == 200
        restarted.stands_at(50)

    def test_frozen_holds_up_nobody(self, unleash: Unleash, worker: Callable[..., Desk]) -> None:
        desk = worker(unleash)
        desk.stands_at(10)
        unleash.freeze()
        longest = 0.0

        def noted() -> bool:
            nonlocal longest
            began = time.monotonic()
            note = desk.get().get("note", "")
            desk.share()
            longest = max(longest, time.monotonic() - began)
            return "does not answer in time" in note

        eventually(noted, FOLLOW_S)
        assert longest < 1.5, "less than Unleash was waited for"
        assert desk.put(percentage=50).status_code == 503
        unleash.thaw()
        eventually(lambda: "note" not in desk.get(), FOLLOW_S)

    def test_a_bad_token_is_said_and_everybody_is_polled(
        self, unleash: Unleash, worker: Callable[..., Desk], caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING):
            desk = worker(unleash, unleash_api_token="default:development.bad")
            eventually(lambda: "refuses UNLEASH_API_TOKEN" in desk.get().get("note", ""), FOLLOW_S)
        assert "declared defaults apply" in desk.get()["note"]
        assert desk.share() == 0
        findings = {
            finding.subject: finding for finding in doctor.examine(desk.app, desk.app.extensions["beacon_settings"])
        }
        assert not findings["flags"].ok
        assert "BEACON_UNLEASH_API_TOKEN" in findings["flags"].words

    def test_doctor_says_that_all_is_well(self, unleash: Unleash, worker: Callable[..., Desk]) -> None:
        app = worker(unleash).app
        findings = {finding.subject: finding for finding in doctor.examine(app, app.extensions["beacon_settings"])}
        assert findings["flags"].ok
        lines = "\n".join(doctor.settings_lines(app.extensions["beacon_settings"]))
        assert ADMIN_TOKEN not in lines
        assert CLIENT_TOKEN not in lines


class approving:  # noqa: N801 -- reads as the context manager it is
    """Passes everything on to the real server, but a PATCH needs an approval."""

    def __init__(self, behind: Unleash) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                kept = {
                    name: value for name, value in self.headers.items() if name in ("Authorization", "If-None-Match")
                }
                answer = requests.get(behind.url + self.path, headers=kept, timeout=10)
                self._answer(answer.status_code, answer.content, answer.headers.get("ETag", ""))

            def do_PATCH(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                text = "You need permission=[SKIP_CHANGE_REQUEST] to perform this action on environment=[development]"
                self._answer(403, json.dumps({"name": "NoAccessError", "message": text}).encode())

            def _answer(self, status: int, body: bytes, etag: str = "") -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(0 if status == 304 else len(body)))
                self.send_header("ETag", etag)
                self.end_headers()
                if status != 304:
                    self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_port}"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
