"""Services over the API: added, changed and removed by administrators, audited; what each can do and how it is."""

import json
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from werkzeug.test import TestResponse

from app.audit.models import AuditRow
from app.audit.verify import verify
from app.cli import doctor
from app.config import current_settings
from app.db import read, write
from app.infra.clock import utc_now, utc_text
from app.reconciliation import registry, service_admin
from app.reconciliation.models import Service, ServiceState
from app.sources.palantir.palantir_source import NO_WORKERS
from app.sources.protocol import ACTION_NAMES, VIEWS, ServiceAddress, SourceError
from app.sources.service_config import parse_entry
from tests.reconciliation.desk import SERVICE, Desk
from tests.reconciliation.values import look
from tests.support.cast import ADA, ALICE, BOB, csrf_token, headers_of, logged_in

URL = "http://127.0.0.1:9"
NEW = {"id": "post", "name": "Post", "kind": "palantir", "url": URL, "password": "sesame", "finished_visible_for_s": 60}


class Api:
    """A program of an administrator."""

    def __init__(self, app: Flask) -> None:
        self.app, self._headers = app, headers_of(app, ADA, "admin", "read")

    def send(self, method: str, path: str, body: Any = None) -> TestResponse:
        return self.app.test_client().open(path, method=method, json=body, headers=self._headers)

    def registered(self, service_id: str) -> dict[str, Any]:
        found = self.app.test_client().get("/services/registered", headers=self._headers).get_json()
        return next(one for one in found if one["id"] == service_id)


@pytest.fixture
def api(believing: Flask) -> Api:
    return Api(believing)


def row_of(app: Flask, service_id: str) -> Service:
    with app.app_context(), read() as session:
        query = sa.select(Service).options(sa.orm.undefer(Service.password)).where(Service.id == service_id)
        return session.scalars(query).one()


def audited(app: Flask) -> list[tuple[str, str, str, Any, Any]]:
    with app.app_context(), read() as session:
        assert verify().broken is None
        rows = session.scalars(sa.select(AuditRow).where(AuditRow.action_type.like("service-%")).order_by(AuditRow.seq))
        return [
            (row.action_type, row.actor, row.target, *map(_read, (row.before_state_json, row.after_state_json)))
            for row in rows
        ]


def _read(text: str | None) -> Any:
    return text and json.loads(text)


def test_a_service_is_added_changed_and_removed_and_each_is_audited(api: Api) -> None:
    added = api.send("POST", "/services", NEW)
    assert (added.status_code, added.headers["Location"]) == (201, "/services/post")
    assert added.get_json() == api.registered("post")
    assert added.get_json()["metadata"] == {
        "origin": "admin",
        "finishedVisibleForS": 60.0,
        "showArguments": "none",
    }

    changed = api.send("PATCH", "/services/post", {"name": "Letters"})
    assert (changed.status_code, changed.get_json()["name"]) == (200, "Letters")
    assert changed.get_json() == api.registered("post")

    assert api.send("DELETE", "/services/post").status_code == 204
    assert api.send("DELETE", "/services/post").status_code == 404
    first = {
        "name": "Post",
        "kind": "palantir",
        "url": URL,
        "options": {"finished_visible_for_s": 60.0, "show_arguments": "none"},
    }
    first["password"] = "kept"
    second = {**first, "name": "Letters"}
    assert audited(api.app) == [
        ("service-add", "ada", "post", None, first),
        ("service-change", "ada", "post", first, second),
        ("service-remove", "ada", "post", second, None),
    ]
    assert row_of(api.app, "post").password is None


def test_a_program_that_says_what_it_saw_overwrites_nobody(api: Api) -> None:
    seen = api.send("POST", "/services", NEW).get_json()["revision"]
    named = api.send("PATCH", "/services/post", {"name": "Letters", "expected": seen})
    assert (named.status_code, named.get_json()["revision"] > seen) == (200, True)
    refused = api.send("PATCH", "/services/post", {"name": "Mine", "expected": seen})
    said = refused.get_json()
    assert (refused.status_code, said["reason"]) == (409, "changed")
    assert said["current"] == api.registered("post")
    (change,) = said["changes"]
    assert (change["actor"], change["action"]) == ("ada", "service-change")
    assert change["fields"] == [{"name": "name", "before": "Post", "after": "Letters"}]
    assert said["detail"].startswith("ada changed name at 20")
    assert api.send("DELETE", f"/services/post?expected={seen}").status_code == 409
    assert api.send("PATCH", "/services/post", {"name": "Letters", "expected": None}).status_code == 200
    assert api.registered("post")["revision"] == named.get_json()["revision"], "what changes nothing is no revision"
    for wrong in (True, -1, 1.5, "x", [], 2**70):
        answer = api.send("PATCH", "/services/post", {"name": "Mine", "expected": wrong})
        assert (answer.status_code, list(answer.get_json()["errors"])) == (400, ["expected"]), wrong
    assert api.send("DELETE", "/services/post?expected=x").status_code == 400
    assert row_of(api.app, "post").name == "Letters"
    assert api.send("DELETE", f"/services/post?expected={api.registered('post')['revision']}").status_code == 204


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({"name": "Other"}, ("sesame", None)),
        ({"url": "http://127.0.0.1:8", "password": "sesame"}, ("sesame", None)),
        ({"url": "http://127.0.0.1:8", "password": None}, (None, None)),
        ({"password": None}, (None, None)),
        ({"password": "open"}, ("open", None)),
        ({"password_env": "BEACON_SOURCE_MAIL"}, (None, "BEACON_SOURCE_MAIL")),
        ({"finished_visible_for_s": None}, ("sesame", None)),
    ],
)
def test_a_change_leaves_what_it_does_not_name_and_null_removes(
    api: Api, given: dict[str, Any], left: tuple[str | None, str | None]
) -> None:
    api.send("POST", "/services", NEW)
    answer = api.send("PATCH", "/services/post", given)
    assert answer.status_code == 200, answer.text
    row = row_of(api.app, "post")
    assert (row.password, row.password_env) == left
    seconds = "lookup" if "finished_visible_for_s" in given else 60.0
    expected = {"finished_visible_for_s": seconds, "show_arguments": "none"}
    assert json.loads(row.options_json) == expected
    assert audited(api.app)[-1][0] == "service-change"


@pytest.mark.parametrize(
    "given",
    [
        {"url": "http://127.0.0.1:8"},
        {"url": "https://127.0.0.1:9"},
        {"url": "http://localhost:9"},
        {"url": f"{URL}/elsewhere"},
        {"kind": "rq", "url": "redis://127.0.0.1:9/0", "finished_visible_for_s": 9},
    ],
)
def test_a_password_that_is_kept_is_not_sent_to_a_new_address(api: Api, given: dict[str, Any]) -> None:
    api.send("POST", "/services", NEW)
    answer = api.send("PATCH", "/services/post", given)
    assert (answer.status_code, answer.mimetype) == (400, "application/problem+json")
    assert answer.get_json()["errors"] == {"password": service_admin.PASSWORD_REQUIRED}
    assert row_of(api.app, "post").url == NEW["url"]
    assert api.send("PATCH", "/services/post", {**given, "password": "sesame"}).status_code == 200
    assert row_of(api.app, "post").password == "sesame"


def test_nor_to_a_new_address_in_an_option(api: Api) -> None:
    made = {"id": "tasks", "kind": "celery", "url": "redis://127.0.0.1:1/0", "password": "sesame"}
    assert api.send("POST", "/services", made).status_code == 201
    answer = api.send("PATCH", "/services/tasks", {"result_backend": "redis://127.0.0.1:2/0"})
    assert answer.get_json()["errors"] == {"password": service_admin.PASSWORD_REQUIRED}
    assert api.send("PATCH", "/services/tasks", {"result_backend": True}).status_code == 200


def test_a_service_that_has_no_password_is_moved_as_before(api: Api) -> None:
    api.send("POST", "/services", {**NEW, "password": None})
    assert api.send("PATCH", "/services/post", {"url": "http://127.0.0.1:8"}).status_code == 200


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"password_env": "PATH"}, "begins with BEACON_SOURCE_, or let BEACON_PASSWORD_ENV_PREFIXES allow this one"),
        ({"url": "http://169.254.169.254"}, "BEACON_ALLOWED_NETWORKS can allow it"),
        ({"url": "http://[::ffff:169.254.169.254]:80"}, "BEACON_ALLOWED_NETWORKS can allow it"),
        ({"url": "unix:///run/redis.sock", "kind": "rq"}, "BEACON_ALLOWED_SOCKETS can allow it"),
    ],
)
def test_what_is_the_hosts_is_refused_when_it_is_named(api: Api, given: dict[str, str], said: str) -> None:
    answer = api.send("POST", "/services", {"id": "post", "url": URL, **given})
    assert answer.status_code == 400
    assert said in answer.get_json()["errors"][next(iter(given))]


def test_a_variable_from_before_is_named_and_not_asked(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Configured by an older Beacon; one that the services file names is the host's own word."""
    monkeypatch.setenv("OLD_NAME", "the host's")
    with api.app.app_context(), write() as session:
        service_admin.sync_from_file(session, [parse_entry({"id": "filed", "url": URL, "password_env": "OLD_NAME"})])
        row = session.get(Service, SERVICE)
        assert row is not None
        row.password_env = "OLD_NAME"
    [refusal] = set(api.registered(SERVICE)["capabilities"].values())
    assert "the variable OLD_NAME, which this host does not allow; give the variable a name that begins" in refusal
    assert api.registered("filed")["capabilities"]["stuck"] is None
    with api.app.app_context():
        findings = {one.subject: one for one in doctor.run_checks(api.app, current_settings())}
    assert not findings["passwords"].ok
    assert findings["passwords"].text.startswith(f"{SERVICE} names OLD_NAME: give the variable a name")
    assert "filed" not in findings["passwords"].text


def test_sockets_are_the_hosts_and_so_is_the_services_file(api: Api) -> None:
    def address(service_id: str) -> ServiceAddress:
        with api.app.app_context(), read() as session:
            built = registry.source_maker(registry.find(session, service_id), 1)
        found = built.args[1]  # type: ignore[attr-defined]
        assert isinstance(found, ServiceAddress)
        return found

    filed = {"id": "filed", "url": "unix:///run/redis.sock", "kind": "rq"}
    with api.app.app_context(), write() as session:
        service_admin.sync_from_file(session, [parse_entry(filed)])
    assert address("filed").reach.explain_refused_socket("/run/redis.sock") is None
    assert address(SERVICE).reach.explain_refused_socket("/run/redis.sock") is not None


def test_a_change_to_what_is_already_so_is_no_entry_in_the_audit(api: Api) -> None:
    api.send("POST", "/services", NEW)
    assert api.send("PATCH", "/services/post", {"name": "Post"}).status_code == 200
    assert [entry[0] for entry in audited(api.app)] == ["service-add"]


def test_a_new_password_alone_is_audited_without_either(api: Api) -> None:
    api.send("POST", "/services", NEW)
    api.send("PATCH", "/services/post", {"password": "open"})
    _, _, _, before, after = audited(api.app)[-1]
    assert before == after
    with api.app.app_context(), read() as session:
        newest = session.scalars(sa.select(AuditRow).order_by(AuditRow.seq.desc())).first()
        assert newest is not None
        assert json.loads(newest.command_params_json or "") == {"changed": ["password"]}


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, {"id", "url"}),
        ({"id": "Bad Id", "url": "gopher://x", "speed": 9}, {"id", "speed"}),
        ({"id": "a", "url": "http://ann:hidden@host"}, {"url"}),
        (
            {"id": "a", "url": URL, "finished_visible_for_s": "soon", "nonsense": 1},
            {"finished_visible_for_s", "nonsense"},
        ),
        ({"id": "a", "url": URL, "kind": "oracle"}, {"kind"}),
        ({"id": "a", "url": URL, "kind": ["palantir"]}, {"kind"}),
        ({"id": "a", "url": URL, "password": "hidden", "password_env": "X"}, {"password_env"}),
        ({"id": "a", "url": URL, "password_env": "BEACON_SECRET_KEY"}, {"password_env"}),
        ({"id": "a", "url": URL, "password": ["hidden"]}, {"password"}),
    ],
)
def test_bad_input_names_each_field_and_repeats_no_secret(api: Api, given: dict[str, Any], named: set[str]) -> None:
    answer = api.send("POST", "/services", given)
    assert (answer.status_code, answer.mimetype) == (400, "application/problem+json")
    assert set(answer.get_json()["errors"]) == named
    assert "hidden" not in answer.text
    assert audited(api.app) == []


@pytest.mark.parametrize("body", [[], "mail", 3, None])
def test_a_body_that_is_no_object_is_refused(api: Api, body: Any) -> None:
    assert api.send("POST", "/services", body).status_code in (400, 415)


def test_a_taken_id_is_a_conflict_and_nothing_changes(api: Api) -> None:
    answer = api.send("POST", "/services", {**NEW, "id": SERVICE})
    assert (answer.status_code, set(answer.get_json()["errors"])) == (409, {"id"})
    assert row_of(api.app, SERVICE).name == "Mail"


@pytest.mark.parametrize(("method", "body"), [("PATCH", {"name": "X"}), ("DELETE", None)])
def test_what_the_file_names_is_changed_in_the_file_only(api: Api, method: str, body: Any) -> None:
    with api.app.app_context(), write() as session:
        service_admin.sync_from_file(session, [parse_entry({"id": "filed", "url": URL})])
    answer = api.send(method, "/services/filed", body)
    assert (answer.status_code, answer.get_json()["reason"]) == (409, "file")
    assert "defined in the services file" in answer.get_json()["detail"]
    assert row_of(api.app, "filed").removed_at is None
    assert api.send(method, "/services/nowhere", body).status_code == 404


def test_an_id_is_not_changed_and_another_kind_forgets_what_was_known(desk: Desk, believing: Flask) -> None:
    api = Api(believing)
    assert set(api.send("PATCH", f"/services/{SERVICE}", {"id": "other"}).get_json()["errors"]) == {"id"}
    desk.observe(look(queued=["a", "b"]))
    desk.observe(look(queued=["a"]))
    answer = api.send("PATCH", f"/services/{SERVICE}", {"kind": "rq", "url": "redis://127.0.0.1:1/0"})
    assert answer.status_code == 200, answer.text
    assert (desk.known, desk.closed) == ({}, {"b": "accepted"})
    assert (answer.get_json()["type"], answer.get_json()["health"]) == ("rq", "unknown")


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/services"), ("PATCH", "/services/mail"), ("DELETE", "/services/mail")]
)
def test_only_administrators_change_services_and_a_cookie_alone_never(believing: Flask, method: str, path: str) -> None:
    client = believing.test_client()
    assert client.open(path, method=method, json=NEW).status_code == 401
    for person, scopes in ((BOB, ("command", "read")), (ALICE, ("read",)), (ADA, ("read", "command"))):
        answer = client.open(path, method=method, json=NEW, headers=headers_of(believing, person, *scopes))
        assert answer.status_code == 403, person
    browser = logged_in(believing, ADA)
    assert browser.open(path, method=method, json=NEW).get_json()["reason"] == "csrf"
    assert row_of(believing, SERVICE).removed_at is None
    sent = {"X-CSRFToken": csrf_token(browser, "/")}
    assert browser.open(path, method=method, json=NEW if method == "POST" else {}, headers=sent).status_code < 300


def test_clients_learn_what_a_source_cannot_do_and_why(api: Api) -> None:
    found = api.registered(SERVICE)["capabilities"]
    assert set(found) == {*ACTION_NAMES, *VIEWS}
    assert found["stuck"] is None
    assert found["workers"] == NO_WORKERS


def test_of_a_service_that_cannot_be_used_here_everything_is_refused_with_the_reason(api: Api) -> None:
    api.send("POST", "/services", {**NEW, "id": "keyed", "password": None, "password_env": "BEACON_SOURCE_NONE"})
    with api.app.app_context(), write() as session:
        row = session.get(Service, SERVICE)
        assert row is not None
        row.kind = "from-the-future"
    refusals = {one: set(api.registered(one)["capabilities"].values()) for one in ("keyed", SERVICE)}
    assert refusals == {
        "keyed": {"the service needs its password in the environment variable BEACON_SOURCE_NONE, which is not set"},
        SERVICE: {"the service is of the kind from-the-future, which is not installed here"},
    }


def test_health_is_the_services_own_word_and_old_polls_say_nothing(desk: Desk, believing: Flask) -> None:
    api = Api(believing)
    assert api.registered(SERVICE)["health"] == "unknown"
    desk.observe(look())
    assert api.registered(SERVICE)["health"] == "ok"
    with write() as session:
        session.execute(sa.update(ServiceState).values(health="degraded"))
    assert api.registered(SERVICE)["health"] == "degraded"
    desk.observe(SourceError("answered 500"))
    assert api.registered(SERVICE)["health"] == "failing"
    with write() as session:
        long_ago = utc_text(utc_now().replace(year=2020))
        session.execute(sa.update(ServiceState).values(last_poll_at=long_ago))
    assert current_settings().poll_interval_s < 60
    assert api.registered(SERVICE)["health"] == "unknown"
