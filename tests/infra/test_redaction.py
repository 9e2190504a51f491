"""What looks like a secret, or is called one, does not come out again; what only speaks of one does."""

import json
import time
from typing import Any

import pytest

from app.infra.redaction import HIDDEN, MAX_DEPTH, SecretDescription, redact, redact_text


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
        "pwd",
        "passwords",
        "Password1",
        "passwordHash",
        "tokenValue",
        "passcode",
        "jwt",
        "otp",
        "signature",
    ],
)
def test_what_is_called_a_secret_is_hidden_at_any_depth(key: str) -> None:
    assert redact({"options": [{key: "hunter2", "name": "mail"}]}) == {"options": [{key: HIDDEN, "name": "mail"}]}
    assert redact({key: {"inner": "hunter2"}}) == {key: HIDDEN}


@pytest.mark.parametrize(
    "key", ["passed", "author", "tokens", "tokenId", "queue", "target", "design", "hotpot", "password_env"]
)
def test_what_only_sounds_like_one_stays(key: str) -> None:
    assert redact({key: "stays"}) == {key: "stays"}


@pytest.mark.parametrize("said", [None, True, False, "", SecretDescription("from the environment variable MAIL")])
def test_what_is_said_of_a_secret_without_telling_it_stays(said: Any) -> None:
    assert redact({"password": said}) == {"password": said}


@pytest.mark.parametrize("secret", ["kept", "from the environment variable MAIL"])
def test_a_secret_that_reads_like_a_description_is_hidden(secret: str) -> None:
    assert redact({"password": secret}) == {"password": HIDDEN}


@pytest.mark.parametrize("key", ["secret", "password", "otp"])
@pytest.mark.parametrize("number", [0, 1, 12345, 1.5])
def test_a_number_is_a_secret_too(key: str, number: float) -> None:
    assert redact({key: number}) == {key: HIDDEN}


def test_the_id_of_a_token_and_how_many_there_are_are_none() -> None:
    assert redact({"token": 7, "tokens": 3}) == {"token": 7, "tokens": 3}


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("redis://:hunter2@cache:6379/0", f"redis://:{HIDDEN}@cache:6379/0"),
        ("postgresql://beacon:p@ss:w@db/beacon", f"postgresql://beacon:{HIDDEN}@db/beacon"),
        (
            "it answered at http://u:hunter2@h/x and at http://h/y",
            f"it answered at http://u:{HIDDEN}@h/x and at http://h/y",
        ),
        ("https://user:pa/ss@h", f"https://user:{HIDDEN}@h"),
        ("https://user:pw@h/jobs/a@b", f"https://user:{HIDDEN}@h/jobs/a@b"),
        ("redis://:12345@cache", f"redis://:{HIDDEN}@cache"),
        ("http://[::1]:8080/jobs/a@b", "http://[::1]:8080/jobs/a@b"),
        ("monkey=5 tokens of 7", "monkey=5 tokens of 7"),
        ("the widget's bcw_MQ.aR3xYZ.0123456789abcdef was used", f"the widget's {HIDDEN} was used"),
        ("http://localhost:8080/jobs/a@b", "http://localhost:8080/jobs/a@b"),
        ("the token bcn_0123456789abcdefXYZ was used", f"the token {HIDDEN} was used"),
        ("bcn_short", "bcn_short"),
    ],
)
def test_a_password_in_an_address_and_a_token_of_our_own_are_hidden_in_any_text(given: str, shown: str) -> None:
    assert redact_text(given) == shown
    assert redact([given, {"note": given, given: 1}]) == [shown, {"note": shown, shown: 1}]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("Authorization: Bearer eyJhbGciOi.J9.x", f"Authorization: Bearer {HIDDEN}"),
        ("authorization: Basic dXNlcjpw", f"authorization: Basic {HIDDEN}"),
        ("it said password=hunter2 to us", f"it said password={HIDDEN} to us"),
        ('password="hunter 2" api_key=x', f"password={HIDDEN} api_key={HIDDEN}"),
        ("http://h/x?token=abc&page=2", f"http://h/x?token={HIDDEN}&page=2"),
    ],
)
def test_what_is_sent_with_a_request_or_assigned_to_a_telling_name_is_hidden(given: str, shown: str) -> None:
    assert redact_text(given) == shown
    assert redact({"note": [given]}) == {"note": [shown]}


def test_a_text_is_hidden_once_and_stays_as_it_is() -> None:
    once = redact_text("Bearer abc password=x http://u:p@h token=y bcn_0123456789abcdefXYZ")
    assert redact_text(once) == once


@pytest.mark.parametrize("part", ["://a:", 'key="', "bearer ", "authorization: ", "bcn_."])
def test_a_long_text_made_to_take_long_does_not(part: str) -> None:
    assert cpu_s(part * 20_000) < 40 * cpu_s(part * 2_000)  # a hundred times as long if it grew with the square


def cpu_s(long: str) -> float:
    """The least of three, because others use this machine too."""
    taken = []
    for _ in range(3):
        began = time.process_time()
        redact_text(long)
        taken.append(time.process_time() - began)
    return min(taken)


def test_what_a_database_does_not_take_is_replaced() -> None:
    assert redact_text("a\0b\ud800c") == "a\N{REPLACEMENT CHARACTER}b?c"


def test_what_is_nested_too_deeply_is_hidden_and_never_an_error() -> None:
    nested: Any = "leaf"
    for _ in range(MAX_DEPTH * 3):
        nested = {"in": nested}
    assert "leaf" not in json.dumps(redact(nested))
    assert HIDDEN in json.dumps(redact(nested))
