"""Every route for every role: one table. A route that it does not name, or that is gone, fails."""

from collections.abc import Mapping
from typing import Literal

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.routing import Rule

from app.eventlog.audience import ROLES
from tests.support.cast import ADA, ALICE, BOB, PIA, csrf_token, headers_of, logged_in

Who = Literal["anyone", "viewer", "operator", "product", "admin"]

# `METHOD path`: the role that it takes; `anyone` needs no login.
TABLE: Mapping[str, Who] = {
    "GET /": "viewer",
    "GET /admin/services": "admin",
    "POST /admin/services": "admin",
    "GET /admin/services/<service_id>": "admin",
    "POST /admin/services/<service_id>": "admin",
    "GET /admin/services/<service_id>/remove": "admin",
    "POST /admin/services/<service_id>/remove": "admin",
    "GET /api/events": "viewer",
    "POST /api/events": "operator",
    "GET /api/events/frames": "viewer",
    "GET /api/events/stream": "viewer",
    "POST /api/flash": "operator",
    "GET /api/jobs/stuck": "viewer",
    "GET /api/rollout": "viewer",
    "GET /api/rollout/<flag>": "viewer",
    "PUT /api/rollout/<flag>": "product",
    "GET /api/rollout/<flag>/evidence": "viewer",
    "GET /api/rollout/<flag>/history": "viewer",
    "GET /api/rollout/<flag>/limits": "viewer",
    "PUT /api/rollout/<flag>/limits": "product",
    "GET /api/rollout/<flag>/plan": "viewer",
    "PUT /api/rollout/<flag>/plan": "product",
    "PATCH /api/rollout/<flag>/plan": "product",
    "DELETE /api/rollout/<flag>/plan": "product",
    "GET /api/rollout/<flag>/preview": "product",
    "POST /api/client-reports": "viewer",
    "GET /api/sse": "viewer",
    "POST /api/sse/test": "operator",
    "GET /api/search": "viewer",
    "GET /api/stream/events": "viewer",
    "POST /api/stream/token": "viewer",
    "GET /api/tokens": "viewer",
    "POST /api/tokens": "viewer",
    "DELETE /api/tokens/<token_id>": "viewer",
    "GET /api/users": "admin",
    "POST /api/users": "admin",
    "PATCH /api/users/<name>": "admin",
    "POST /api/widgets/token": "admin",
    "GET /audit": "viewer",
    "POST /audit/client-error": "anyone",
    "GET /audit/head": "viewer",
    "POST /audit/verify": "viewer",
    "GET /commands": "viewer",
    "GET /commands/<command_id>": "viewer",
    "POST /commands/run": "operator",
    "GET /cost": "viewer",
    "GET /discrepancies": "viewer",
    "GET /failures": "viewer",
    "GET /failures/<group_id>": "viewer",
    "POST /failures/<group_id>/mute": "operator",
    "GET /healthz": "anyone",
    "GET /login": "anyone",
    "POST /login": "anyone",
    "POST /logout": "anyone",
    "GET /metrics": "viewer",
    "GET /notifications": "viewer",
    "POST /notifications": "operator",
    "POST /notifications/dismiss": "viewer",
    "POST /notifications/mute": "viewer",
    "GET /notifications/panel": "viewer",
    "POST /notifications/read": "viewer",
    "GET /readyz": "anyone",
    "GET /reconciliation/audit": "viewer",
    "GET /reconciliation/discrepancies": "viewer",
    "GET /reconciliation/stream": "viewer",
    "POST /services": "admin",
    "PATCH /services/<service_id>": "admin",
    "DELETE /services/<service_id>": "admin",
    "GET /rollout": "viewer",
    "GET /rollout/plan": "viewer",
    "POST /rollout": "product",
    "POST /rollout/limits": "product",
    "POST /rollout/plan": "product",
    "GET /search": "viewer",
    "GET /services/<service_id>": "viewer",
    "GET /services/<service_id>/commands": "viewer",
    "POST /services/<service_id>/commands": "operator",
    "GET /services/<service_id>/commands/review": "operator",
    "POST /services/<service_id>/discrepancies/accept": "operator",
    "GET /services/<service_id>/failures": "viewer",
    "GET /services/<service_id>/jobs": "viewer",
    "GET /services/<service_id>/jobs/<path:job_id>": "viewer",
    "GET /services/<service_id>/stuck": "viewer",
    "GET /services/registered": "viewer",
    "GET /static/<build>/<path:name>": "anyone",
    "POST /theme": "viewer",
    "POST /view": "viewer",
    "GET /trends": "viewer",
    "GET /help": "viewer",
    "GET /widgets/notifications": "anyone",
    "GET /widgets/notifications/content": "viewer",
}
INCLUDED: Mapping[str, set[str]] = {
    "viewer": {"anyone", "viewer"},
    "operator": {"anyone", "viewer", "operator"},
    "product": {"anyone", "viewer", "product"},
    "admin": {"anyone", "viewer", "operator", "product", "admin"},
}
PEOPLE = {"viewer": ALICE, "operator": BOB, "product": PIA, "admin": ADA}
# No such thing anywhere: whoever may gets as far as an answer about that.
VALUES = {"token_id": "987654", "build": "none", "name": "nobody"}
LEAVES = "POST /logout"
# Its own word to whoever it lets try: wrong name or password.
TRIES = "POST /login"
# Asks for work, and changes nothing.
READS = "POST /audit/verify"


def routes(app: Flask) -> dict[str, Rule]:
    return {
        f"{method} {rule}": rule
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
    }


def ask(client: FlaskClient, route: str, rule: Rule, headers: Mapping[str, str]) -> int:
    values = {name: VALUES.get(name, "nothing") for name in rule.arguments}
    with client.application.test_request_context():
        _, path = rule.build(values) or ("", "")
    # Streams are not read; the status is there before their first byte.
    answer = client.open(path, method=route.split(" ", 1)[0], headers={"Accept": "application/json", **headers})
    text = answer.text if route == TRIES else ""
    answer.close()
    return 200 if route == TRIES and "Wrong name or password" in text else answer.status_code


def test_the_table_names_every_route_and_no_other(app: Flask) -> None:
    assert set(routes(app)) == set(TABLE)


@pytest.mark.parametrize("role", sorted(ROLES))
def test_each_role_gets_what_the_table_says(live_app: Flask, role: str) -> None:
    browser = logged_in(live_app, PEOPLE[role])
    headers = {"X-CSRFToken": csrf_token(browser, "/")}
    wrong = []
    for route, rule in sorted(routes(live_app).items(), key=lambda one: one[0] == LEAVES):
        status = ask(browser, route, rule, headers)
        is_let_in = status not in (401, 403) and status < 500
        if is_let_in != (TABLE[route] in INCLUDED[role]):
            wrong.append((route, TABLE[route], status))
    assert wrong == []


def test_the_anonymous_get_what_is_for_anyone(live_app: Flask) -> None:
    browser = live_app.test_client()
    headers = {"X-CSRFToken": csrf_token(browser)}
    ordered = sorted(routes(live_app).items(), key=lambda one: one[0] == LEAVES)
    found = {route: ask(browser, route, rule, headers) for route, rule in ordered}
    wrong = [(route, status) for route, status in found.items() if (status != 401) != (TABLE[route] == "anyone")]
    assert wrong == []


def test_a_token_that_may_read_changes_nothing(live_app: Flask) -> None:
    """Even of somebody who may do everything."""
    headers = headers_of(live_app, ADA, "read")
    client = live_app.test_client()
    guarded = {route: rule for route, rule in routes(live_app).items() if TABLE[route] != "anyone"}
    changing = {route: rule for route, rule in guarded.items() if not route.startswith("GET ") and route != READS}
    found = {route: ask(client, route, rule, headers) for route, rule in changing.items()}
    assert {route: status for route, status in found.items() if status not in (401, 403)} == {}
