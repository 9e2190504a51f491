"""Passwords of services are given in every way there is, and then looked for wherever Beacon says anything."""

import json
import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from app.cli import doctor
from app.config import ConfigError, current_settings
from app.db import write
from app.eventlog.append import NewEvent
from app.infra.lease import Lease
from app.reconciliation import registry, service_admin, service_form
from app.reconciliation.explanations import EventExplainer
from app.reconciliation.observer import ServiceObserver
from app.sources.toml_file import parse_services
from tests.support.application import database_path
from tests.support.cast import ADA, csrf_token, headers_of, logged_in, publish

SECRET = "s3same-0pen"
FILE = f"""
[[service]]
id = "filed"
kind = "rq"
url = "redis://beacon:{SECRET}-file@127.0.0.1:1/0"
"""
# Streams do not end; what stands in them stands in the log, which is looked at as it is.
STREAMS = {"/api/stream/events", "/reconciliation/stream", "/api/events/stream", "/api/sse"}
SERVICES = ("plain", "addressed", "celery", "enved", "filed")
# Where a password is kept on purpose.
KEPT = {("service", "password")}


@pytest.fixture
def registered(cast: Flask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Flask:
    """A service for each way to give a password; each was polled once, in vain, with everything logged."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "urllib3")  # an entry point that ran before has told it to be quiet
    monkeypatch.setenv("BEACON_SOURCE_MAIL", f"{SECRET}-env")
    sent = [
        {"id": "plain", "url": "http://127.0.0.1:1", "password": f"{SECRET}-field"},
        {"id": "addressed", "kind": "rq", "url": f"redis://:{SECRET}-url@127.0.0.1:1/0"},
        {"id": "celery", "kind": "celery", "url": f"redis://ann:{SECRET}-broker@127.0.0.1:1/0", "result_backend": True},
        {"id": "enved", "url": "http://127.0.0.1:1", "password_env": "BEACON_SOURCE_MAIL"},
    ]
    headers = headers_of(cast, ADA, "admin")
    for body in sent:
        answer = cast.test_client().post("/services", json=body, headers=headers)
        assert answer.status_code == 201, answer.text
        assert SECRET not in answer.text
    changed = cast.test_client().patch("/services/plain", json={"password": f"{SECRET}-new"}, headers=headers)
    assert changed.status_code == 200
    with cast.app_context():
        with write() as session:
            service_admin.sync_from_file(session, parse_services(FILE))
        _poll()
    publish(cast, NewEvent("job.failed", {"service": "plain", "jobId": "a"}))
    return cast


def _poll() -> None:
    lease = Lease()
    assert lease.try_acquire()
    observer = ServiceObserver(lease, 5.0, [EventExplainer()], second_snapshot_after_s=0)
    for service in registry.SourceRegistry(10).list_watched():
        assert not observer.observe(service).answered, service.id
        service.source.close()


def paths_of(rule: Rule) -> list[str]:
    """The addresses of a rule, with something real for each of its arguments."""
    real = {"service_id": SERVICES, "job_id": ("a",), "build": ("x",), "path": ("x",), "filename": ("css/all.css",)}
    found = [rule.rule]
    for name in rule.arguments:
        values = real.get(name, ("enable_sse_streaming",))
        marks = [part for part in rule.rule.split("/") if name in part]
        found = [path.replace(marks[0], value) for path in found for value in values]
    return found


def test_no_address_of_beacon_tells_a_password_not_even_to_an_administrator(registered: Flask) -> None:
    browser, headers = logged_in(registered, ADA), headers_of(registered, ADA, "admin", "read", "rollout", "command")
    seen: set[str] = set()
    for rule in registered.url_map.iter_rules():
        if "GET" not in (rule.methods or ()) or rule.rule in STREAMS:
            continue
        for path in paths_of(rule):
            answers = [
                browser.get(path, headers={"Accept": "text/html"}),
                registered.test_client().get(path, headers=headers),
            ]
            for answer in answers:
                _holds_none(path, answer)
            if any(answer.status_code == 200 for answer in answers):
                seen.add(rule.rule)
    assert seen >= {
        *("/", "/services/<service_id>", "/services/registered", "/services/<service_id>/jobs", "/api/events"),
        *("/admin/services", "/admin/services/<service_id>", "/admin/services/<service_id>/remove", "/metrics"),
        *("/services/<service_id>/jobs/<path:job_id>", "/reconciliation/discrepancies", "/api/events/frames"),
    }


def _holds_none(path: str, answer: TestResponse) -> None:
    told = f"{answer.get_data(as_text=True)} {answer.headers}"
    assert SECRET not in told, path


def test_no_table_but_the_one_that_keeps_it_holds_a_password(registered: Flask) -> None:
    """The log, and with it every stream, the audit, states, samples and notifications."""
    holding = set()
    with closing(sqlite3.connect(database_path(registered.extensions["beacon"].settings))) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            cursor = connection.execute(f"SELECT * FROM {table}")
            names = [column[0] for column in cursor.description]
            for row in cursor:
                holding |= {(table, name) for name, value in zip(names, row, strict=True) if SECRET in str(value)}
        polled = connection.execute("SELECT count(*) FROM service_state WHERE reason IS NOT NULL").fetchone()
    assert holding == KEPT
    assert polled == (len(SERVICES),)


def test_nothing_that_is_logged_while_polls_fail_tells_one(registered: Flask, caplog: pytest.LogCaptureFixture) -> None:
    records = caplog.get_records("setup")
    assert "Starting new HTTP connection" in str([record.getMessage() for record in records])
    assert SECRET not in json.dumps([f"{record.getMessage()} {record.__dict__}" for record in records])


def test_the_doctor_tells_none(registered: Flask, tmp_path: Path) -> None:
    file = tmp_path / "services.toml"
    file.write_text(FILE)
    with registered.app_context():
        settings = current_settings().model_copy(update={"sources_file": file})
    findings = doctor.run_checks(registered, settings)
    assert "filed" in str(findings)
    assert SECRET not in f"{findings} {doctor.settings_lines(settings)}"


BAD: list[dict[str, Any]] = [
    {"id": "plain", "url": "http://127.0.0.1:1", "password": SECRET},
    {"id": "Bad Id", "url": f"http://ann:{SECRET}@127.0.0.1:1"},
    {"id": "new", "kind": "rq", "url": f"redis://:{SECRET}@127.0.0.1:port/0"},
    {"id": "new", "kind": "rq", "url": f"gopher://:{SECRET}@127.0.0.1"},
    {"id": "new", "kind": "celery", "url": "redis://127.0.0.1:1/0", "result_backend": f"redis://:{SECRET}@127.0.0.1/1"},
    {"id": "new", "password": SECRET},
    {"id": "new", "url": "http://127.0.0.1:1", "password": SECRET, "password_env": "BEACON_SOURCE_MAIL"},
    {"id": "new", "url": "http://127.0.0.1:1", "password": [SECRET], "speed": {"password": SECRET}},
    {"id": "new", "kind": "oracle", "url": f"oracle://x:{SECRET}@y", "password": SECRET},
]


@pytest.mark.parametrize("body", BAD)
def test_an_error_repeats_none_of_it(cast: Flask, body: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with cast.app_context(), write() as session:
        registry.add(session, id="plain", name="Plain", kind="palantir", url="http://127.0.0.1:1")
    headers = headers_of(cast, ADA, "admin")
    for method, path in (("POST", "/services"), ("PATCH", "/services/plain")):
        answer = cast.test_client().open(path, method=method, json=body, headers=headers)
        if method == "POST" or body["id"] != "plain":
            assert answer.status_code in (400, 409), answer.text
        _holds_none(path, answer)
    assert SECRET not in caplog.text


def test_a_form_comes_back_without_the_password_that_stood_in_its_address(cast: Flask) -> None:
    browser = logged_in(cast, ADA)
    form = {"kind": "rq", "id": "Bad Id", "url": f"redis://ann:{SECRET}@127.0.0.1:1/0", "password": SECRET}
    sent = {"csrf_token": csrf_token(browser, "/"), **form}
    answer = browser.post("/admin/services", data=sent, headers={"Accept": "text/html"})
    assert answer.status_code == 400
    _holds_none("/admin/services", answer)
    assert "redis://ann@127.0.0.1:1/0" in answer.text


@pytest.mark.parametrize(
    "broken",
    [FILE + "speed = 9\n", FILE.replace("/0", "/x"), FILE + 'password = "x"\npassword_env = "Y"\n', FILE + "= 1"],
)
def test_a_wrong_file_is_named_without_the_password_in_it(broken: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_services(broken)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("redis://ann:pw@host:1/0", "redis://ann@host:1/0"),
        ("redis://:p@w/x@host/0", "redis://host/0"),
        ("ann:pw@host", "ann@host"),
        ("redis://host?password=pw&db=1", "redis://host?password=&db=1"),
        ("http://host:80/path", "http://host:80/path"),
        ("unix:///run/redis.sock?db=1", "unix:///run/redis.sock?db=1"),
        ("", ""),
    ],
)
def test_an_address_is_shown_without_what_may_be_a_password(typed: str, shown: str) -> None:
    assert service_form.strip_password(typed) == shown
