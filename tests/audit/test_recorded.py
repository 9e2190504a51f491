"""What changes something, or tries to, is an entry, with what matters of it; what changes nothing is none."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from app.accounts import login_throttle
from app.audit import attempt_log
from app.audit.models import AuditRow
from app.cli import demo
from app.db import read, write
from app.flags import embedded
from app.flags.evaluation import Flag
from app.infra.clock import utc_now
from app.infra.demo_guide import DemoService, parse_guide
from app.reconciliation import service_admin
from app.sources.service_config import ServiceEntry, parse_entry
from tests.support.cast import ADA, ALICE, BOB, Person, headers_of, log_in, make_token

URL = "http://127.0.0.1:9"


def entries(app: Flask, *action_types: str) -> list[AuditRow]:
    wanted = sa.select(AuditRow).where(AuditRow.action_type.in_(action_types)).order_by(AuditRow.seq)
    with app.app_context(), read() as session:
        return list(session.scalars(wanted))


def of_services(app: Flask) -> list[tuple[str, str, str]]:
    found = entries(app, "service-add", "service-change", "service-remove")
    return [(entry.action_type, entry.actor, entry.target) for entry in found]


def members(text: str | None) -> Any:
    return json.loads(text or "")


def service(service_id: str, **more: Any) -> ServiceEntry:
    return parse_entry({"id": service_id, "url": URL, **more})


def synced(app: Flask, *services: ServiceEntry) -> None:
    with app.app_context(), write() as session:
        service_admin.sync_from_file(session, services)


def test_what_the_services_file_adds_changes_and_removes_is_recorded(app: Flask) -> None:
    synced(app, service("one"), service("two"))
    synced(app, service("two", name="Zwei"))
    file = "the services file"
    assert of_services(app) == [
        ("service-add", file, "one"),
        ("service-add", file, "two"),
        ("service-change", file, "two"),
        ("service-remove", file, "one"),
    ]
    [change] = entries(app, "service-change")
    assert members(change.command_params_json) == {"changed": ["name"]}


def test_a_file_that_says_the_same_again_is_no_entry(app: Flask) -> None:
    for _ in range(2):
        synced(app, service("one", password="sesame"))
    assert len(of_services(app)) == 1


def test_that_the_file_takes_over_a_service_or_its_password_is_recorded(app: Flask) -> None:
    with app.app_context(), write() as session:
        service_admin.add(session, {"id": "one", "name": "one", "url": URL}, "ada")
    synced(app, service("one"))
    synced(app, service("one", password="sesame"))
    synced(app, service("one", password="another"))
    changed = [members(entry.command_params_json)["changed"] for entry in entries(app, "service-change")]
    assert changed == [["origin"], ["password"], ["password"]]
    assert "sesame" not in str([vars(entry) for entry in entries(app, "service-change")])


def test_the_demo_records_what_it_sets_up_and_once(app: Flask) -> None:
    with app.app_context():
        folder = app.extensions["beacon"].settings.instance_dir
        for services in (guide("shop", "mail"), guide("shop", "mail"), guide("shop")):
            demo._prepare_database(folder, services)
    assert of_services(app) == [
        ("service-add", "demo", "shop"),
        ("service-add", "demo", "mail"),
        ("service-remove", "demo", "mail"),
    ]


def guide(*ids: str) -> Sequence[DemoService]:
    words = dict.fromkeys(("title", "shows", "breaks", "breakCommand", "mends", "mendCommand"), "words")
    return parse_guide(json.dumps([{"id": service_id, "url": URL, **words} for service_id in ids]))


def test_why_a_rollout_was_changed_is_in_its_entry(app: Flask) -> None:
    with app.app_context(), write() as session:
        embedded.change_rollout(session, Flag.SSE_STREAMING, "pia", "half of us first", 50)
    [entry] = entries(app, "rollout-set")
    assert members(entry.command_params_json) == {"reason": "half of us first"}


def test_until_when_a_token_lives_is_in_its_entry(cast: Flask) -> None:
    make_token(cast, ALICE, "read", days=7)
    make_token(cast, ALICE, "read")
    first, second = (members(entry.after_state_json)["expiresAt"] for entry in entries(cast, "token-create"))
    assert first < second, "seven days, and ninety where nobody named a time"


@pytest.mark.parametrize("body", [{"scopes": ["read"], "user": "ada"}, {"scopes": ["publish"]}])
def test_who_asks_for_a_token_beyond_their_reach_is_recorded(cast: Flask, body: dict[str, Any]) -> None:
    answer = cast.test_client().post("/api/tokens", json=body, headers=headers_of(cast, ALICE, "admin"))
    assert answer.status_code == 403
    [entry] = entries(cast, "refused")
    assert (entry.actor, entry.target, entry.outcome) == ("alice", "POST /api/tokens", "failure")


@pytest.mark.parametrize(
    "event", [{"type": "flag.changed", "data": {}}, {"type": "job.failed", "data": {}, "audience": "control"}]
)
def test_who_publishes_what_is_beacons_own_is_recorded(cast: Flask, event: dict[str, Any]) -> None:
    answer = cast.test_client().post("/api/events", json=event, headers=headers_of(cast, BOB, "publish"))
    assert (answer.status_code, answer.get_json()["reason"]) == (403, "own-type")
    [entry] = entries(cast, "refused")
    assert (entry.actor, entry.target) == ("bob", "POST /api/events")


@pytest.mark.parametrize(("name", "told"), [("alice", "alice"), ("my password", "(no such user)")])
def test_who_goes_on_guessing_when_nothing_is_checked_any_more_is_recorded(
    cast: Flask, monkeypatch: pytest.MonkeyPatch, name: str, told: str
) -> None:
    policy = login_throttle.ThrottlePolicy(free_failures=1, max_wait_s=60)
    monkeypatch.setitem(login_throttle.POLICIES, "address", policy)
    # Neither the wait nor the second in which the same attempt is written once may end on a slow machine.
    started_at = utc_now()
    monkeypatch.setattr(login_throttle, "utc_now", lambda: started_at)
    monkeypatch.setattr(attempt_log, "WRITE_INTERVAL_S", 3_600)
    client = cast.test_client()
    assert log_in(client, Person(name, "viewer"), "wrong").status_code == 401
    for _ in range(3):
        assert log_in(client, Person(name, "viewer"), "wrong").status_code == 429
    [entry] = entries(cast, "login-throttled")
    assert (entry.actor, entry.target, entry.origin) == ("anonymous", told, "127.0.0.1")


def test_what_an_administrator_asks_for_is_no_refusal(cast: Flask) -> None:
    body = {"scopes": ["publish"], "user": "alice"}
    answer = cast.test_client().post("/api/tokens", json=body, headers=headers_of(cast, ADA, "admin"))
    assert answer.status_code == 201
    assert entries(cast, "refused") == []
