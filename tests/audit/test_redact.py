"""What looks like a secret, or is called one, does not come out again; what only speaks of one does."""

import json
from typing import Any

import pytest

from app.audit.redact import HIDDEN, MAX_DEPTH, redact, text


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "newPassword",
        "db_password",
        "passphrase",
        "client-secret",
        "secretKey",
        "apiKey",
        "api-key",
        "Authorization",
        "accessToken",
        "csrf_token",
        "token",
        "sessionId",
        "Set-Cookie",
    ],
)
def test_what_is_called_a_secret_is_hidden_at_any_depth(key: str) -> None:
    assert redact({"options": [{key: "hunter2", "name": "mail"}]}) == {"options": [{key: HIDDEN, "name": "mail"}]}
    assert redact({key: {"inner": "hunter2"}}) == {key: HIDDEN}


@pytest.mark.parametrize("key", ["passed", "author", "tokens", "tokenId", "queue", "target"])
def test_what_only_sounds_like_one_stays(key: str) -> None:
    assert redact({key: "stays"}) == {key: "stays"}


@pytest.mark.parametrize("said", [None, True, False, "", "kept", 7, "from the environment variable MAIL_PASSWORD"])
def test_what_is_said_of_a_secret_without_telling_it_stays(said: Any) -> None:
    assert redact({"password": said}) == {"password": said}


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("redis://:hunter2@cache:6379/0", f"redis://:{HIDDEN}@cache:6379/0"),
        ("postgresql://beacon:p@ss:w@db/beacon", f"postgresql://beacon:{HIDDEN}@db/beacon"),
        (
            "it answered at http://u:hunter2@h/x and at http://h/y",
            f"it answered at http://u:{HIDDEN}@h/x and at http://h/y",
        ),
        ("http://localhost:8080/jobs/a@b", "http://localhost:8080/jobs/a@b"),
        ("the token bcn_0123456789abcdefXYZ was used", f"the token {HIDDEN} was used"),
        ("bcn_short", "bcn_short"),
    ],
)
def test_a_password_in_an_address_and_a_token_of_our_own_are_hidden_in_any_text(given: str, shown: str) -> None:
    assert text(given) == shown
    assert redact([given, {"note": given, given: 1}]) == [shown, {"note": shown, shown: 1}]


def test_what_a_database_does_not_take_is_replaced() -> None:
    assert text("a\0b\ud800c") == "a\N{REPLACEMENT CHARACTER}b?c"


def test_what_is_nested_too_deeply_is_hidden_and_never_an_error() -> None:
    nested: Any = "leaf"
    for _ in range(MAX_DEPTH * 3):
        nested = {"in": nested}
    assert "leaf" not in json.dumps(redact(nested))
    assert HIDDEN in json.dumps(redact(nested))
