"""A key that appears twice in one object: refused wherever Beacon takes JSON, with its name."""

import pytest
from flask import Flask

from app.accounts.tokens import SCOPES
from app.flags import evaluation
from app.infra import strict_json
from app.infra.strict_json import MAX_SHOWN_CHARS, DuplicateKey
from tests.support.cast import ADA, csrf_token, headers_of, logged_in
from tests.test_permissions import VALUES

TAKE_JSON = {
    "PATCH /api/rollout/<flag>/plan", "PATCH /api/users/<name>", "PATCH /services/<service_id>",
    "POST /api/client-reports", "POST /api/events", "POST /api/flash", "POST /api/tokens", "POST /api/users",
    "POST /api/widgets/token", "POST /audit/client-error", "POST /commands/run",
    "POST /failures/<group_id>/mute", "POST /notifications",
    "POST /notifications/dismiss", "POST /notifications/mute", "POST /notifications/read", "POST /services",
    "POST /services/<service_id>/discrepancies/accept", "PUT /api/rollout/<flag>",
    "PUT /api/rollout/<flag>/limits", "PUT /api/rollout/<flag>/plan",
}  # fmt: skip
TWICE = '{"outer": [{"fine": 1, "tw\\u0069ce": 1, "twice": 2}]}'


@pytest.mark.parametrize(
    "text", ['{"a": 1, "a": 1}', '{"b": 1, "a": {"c": 1, "c": 2}}', '[{}, {"": 1, "": 2}]', '{"a":1,"\\u0061":2}']
)
def test_a_key_that_appears_twice_is_refused(text: str) -> None:
    with pytest.raises(DuplicateKey):
        strict_json.loads(text)


@pytest.mark.parametrize("text", ["{}", '{"a": 1, "A": 1}', '[{"a": 1}, {"a": 1}]', '{"a": {"a": {"a": "a"}}}', "7"])
def test_a_key_may_appear_in_several_objects(text: str) -> None:
    strict_json.loads(text)


def test_a_long_key_is_not_repeated_whole() -> None:
    key = "k" * 10_000
    with pytest.raises(DuplicateKey) as refused:
        strict_json.loads(f'{{"{key}": 1, "{key}": 2}}')
    assert len(str(refused.value)) < 2 * MAX_SHOWN_CHARS


def test_every_route_that_takes_json_refuses_it_by_name(live_app: Flask) -> None:
    """Each POST, PUT, PATCH and DELETE: what parses a body at all names the key; nothing takes the body."""
    client, headers = live_app.test_client(), headers_of(live_app, ADA, *SCOPES)
    browser = logged_in(live_app, ADA)
    csrf = {"X-CSRFToken": csrf_token(browser, "/"), "Accept": "application/json"}
    values = {**VALUES, "flag": evaluation.Flag.SSE_STREAMING.value}
    named = set()
    with live_app.test_request_context():
        asked = [
            (method, str(rule), rule.build({name: values.get(name, "nothing") for name in rule.arguments}))
            for rule in live_app.url_map.iter_rules()
            for method in sorted({"POST", "PUT", "PATCH", "DELETE"} & (rule.methods or set()))
        ]
    for method, rule, built in asked:
        assert built
        for sender, own in ((client, headers), (browser, csrf)):
            if rule == "/logout":
                continue
            answer = sender.open(built[1], method=method, data=TWICE, content_type="application/json", headers=own)
            problem = answer.get_json(silent=True) or {}
            if answer.status_code == 400 and "twice" in problem.get("errors", {}):
                assert answer.mimetype == "application/problem+json"
                named.add(f"{method} {rule}")
    assert named == TAKE_JSON
