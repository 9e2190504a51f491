"""Guessing gets slower; and nobody's mistakes, or guesses, keep anybody else out."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.accounts import login_throttle, users
from app.accounts.login_throttle import HALF_LIFE_S, POLICIES, ThrottlePolicy
from app.accounts.models import LoginThrottle
from app.db import read
from tests.support.cast import ADA, ALICE, BOB, CAST, PASSWORD, Person, log_in, logged_in

PAIR = POLICIES["name at address"]


class Clock:
    """The time of this test's throttle."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 21, 12, tzinfo=UTC)

    def pass_(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    made = Clock()
    monkeypatch.setattr(login_throttle, "utc_now", lambda: made.now)
    return made


def browser_at(app: Flask, address: str = "127.0.0.1") -> FlaskClient:
    client = app.test_client()
    client.environ_base["REMOTE_ADDR"] = address
    return client


def guess(client: FlaskClient, person: Person = ALICE, times: int = 1) -> TestResponse:
    for _ in range(times):
        answer = log_in(client, person, "a wrong password")
    return answer


def wait_of(answer: TestResponse) -> int:
    assert answer.status_code == 429
    return int(answer.headers["Retry-After"])


@pytest.mark.parametrize("failures", range(40))
def test_waits_are_nothing_at_first_then_double_and_have_an_end(failures: int) -> None:
    policy = ThrottlePolicy(free_failures=5, max_wait_s=900)
    assert policy.wait_s(failures) == (0 if failures < 5 else min(900, 2 ** (failures - 5)))
    assert policy.wait_s(failures + 0.96) == policy.wait_s(failures + 1), "what is seconds old counts in full"


def test_guessing_one_name_gets_slower_and_the_answer_says_when_to_try_again(cast: Flask, clock: Clock) -> None:
    client = browser_at(cast)
    assert guess(client, times=PAIR.free_failures).status_code == 401
    waits = []
    for _ in range(4):
        refused = log_in(client, ALICE)  # the right password is not checked either
        waits.append(wait_of(refused))
        assert f"again in {'a second' if waits[-1] == 1 else f'{waits[-1]} seconds'}" in refused.text
        clock.pass_(waits[-1])
        assert guess(client).status_code == 401
    assert waits == [1, 2, 4, 8]
    clock.pass_(16)
    assert log_in(client, ALICE).status_code == 303


def test_tries_that_are_refused_make_nothing_longer(cast: Flask, clock: Clock) -> None:
    client = browser_at(cast)
    guess(client, times=PAIR.free_failures)
    assert wait_of(guess(client, times=30)) == 1


def test_a_right_login_forgets_what_this_person_mistyped_here(cast: Flask, clock: Clock) -> None:
    client = browser_at(cast)
    guess(client, times=PAIR.free_failures - 1)
    assert log_in(client, ALICE).status_code == 303
    stranger = browser_at(cast)
    assert guess(stranger, times=PAIR.free_failures).status_code == 401


def test_one_persons_mistakes_shut_out_no_colleague_at_the_same_address(cast: Flask, clock: Clock) -> None:
    for _ in range(61):
        answer = guess(browser_at(cast))
        if answer.status_code == 429:
            clock.pass_(wait_of(answer))
    assert log_in(browser_at(cast), BOB).status_code == 303


def test_sixty_one_names_from_one_address_shut_out_nobody(cast: Flask, clock: Clock) -> None:
    for number in range(61):
        assert guess(browser_at(cast), Person(f"name{number}", "viewer")).status_code == 401
    assert log_in(browser_at(cast), BOB).status_code == 303


def test_guessing_many_names_from_one_address_gets_slower_and_a_known_browser_stays_in(
    cast: Flask, clock: Clock
) -> None:
    known = logged_in(cast, BOB)
    known.delete_cookie("beacon")
    for number in range(POLICIES["address"].free_failures):
        assert guess(browser_at(cast), Person(f"name{number}", "viewer")).status_code == 401
    assert wait_of(log_in(browser_at(cast), ADA)) == 1
    assert log_in(browser_at(cast, "192.0.2.7"), ADA).status_code == 303
    assert log_in(known, BOB).status_code == 303


def test_guessing_one_name_from_many_addresses_gets_slower_and_its_owners_browser_stays_in(
    cast: Flask, clock: Clock
) -> None:
    known = logged_in(cast, ALICE)
    known.delete_cookie("beacon")
    for number in range(POLICIES["name"].free_failures):
        assert guess(browser_at(cast, f"192.0.2.{number}")).status_code == 401
    assert wait_of(log_in(browser_at(cast, "198.51.100.1"), ALICE)) == 1
    assert log_in(known, ALICE).status_code == 303


def test_a_known_browser_is_known_for_its_person_only_and_slowed_by_its_own_mistakes(cast: Flask, clock: Clock) -> None:
    known = logged_in(cast, ALICE)
    known.delete_cookie("beacon")
    guess(browser_at(cast), BOB, PAIR.free_failures)
    assert wait_of(log_in(known, BOB)) == 1
    own = POLICIES["browser"].free_failures
    assert guess(known, times=own).status_code == 401
    assert wait_of(log_in(known, ALICE)) == 1
    assert log_in(browser_at(cast), ALICE).status_code == 303, "elsewhere nothing was mistyped"


def test_a_browser_remembers_several_people_and_forgets_the_first_of_many(cast: Flask, clock: Clock) -> None:
    shared = cast.test_client()
    with cast.app_context():
        from app.db import write

        with write() as session:
            users.add(session, "zoe", "viewer", PASSWORD, "test")
    everyone = [*CAST, Person("zoe", "viewer")]
    for person in everyone:
        log_in(shared, person)
        shared.delete_cookie("beacon")
    for person in everyone:
        guess(browser_at(cast), person, PAIR.free_failures)
    assert wait_of(log_in(shared, everyone[0])) >= 1
    for person in everyone[1:]:
        assert log_in(shared, person).status_code == 303
        shared.delete_cookie("beacon")


@pytest.mark.parametrize("value", ["", "x", "eyJhbGljZSI6IngifQ.aaaa.bbbb"])
def test_a_forged_cookie_is_a_stranger(cast: Flask, clock: Clock, value: str) -> None:
    guess(browser_at(cast), times=PAIR.free_failures)
    forger = browser_at(cast)
    forger.set_cookie("beacon-browser", value)
    assert wait_of(log_in(forger, ALICE)) == 1


def browser_cookie(app: Flask) -> str:
    (found,) = [
        cookie
        for cookie in log_in(app.test_client(), ALICE).headers.getlist("Set-Cookie")
        if "beacon-browser=" in cookie
    ]
    return str(found)


def test_the_cookie_is_for_no_script_and_tied_to_the_host_over_tls(
    cast: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {"HttpOnly", "SameSite=Lax"} <= set(browser_cookie(cast).split("; "))
    assert "Secure" not in browser_cookie(cast)
    monkeypatch.setitem(cast.config, "PREFERRED_URL_SCHEME", "https")  # how the test client asks
    cookie = browser_cookie(cast)
    assert cookie.startswith("__Host-beacon-browser=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(cookie.split("; "))


def test_failures_fade(cast: Flask, clock: Clock) -> None:
    client = browser_at(cast)
    guess(client, times=PAIR.free_failures)
    clock.pass_(HALF_LIFE_S)
    assert guess(client, times=PAIR.free_failures // 2).status_code == 401


def test_a_clock_that_was_set_back_keeps_nobody_waiting(cast: Flask, clock: Clock) -> None:
    client = browser_at(cast)
    guess(client, times=PAIR.free_failures)
    clock.pass_(-3_600)
    assert log_in(client, ALICE).status_code == 303


def test_a_right_guess_among_many_that_were_sent_together_is_refused(cast: Flask, clock: Clock) -> None:
    with cast.test_request_context():
        right, *wrong = [
            login_throttle.start_attempt("alice", "127.0.0.1", None) for _ in range(PAIR.free_failures + 1)
        ]
        for attempt in wrong:
            login_throttle.record_failure(attempt, "alice", is_known=True)
        with pytest.raises(login_throttle.Throttled):
            login_throttle.record_success(right)


def test_right_logins_that_were_sent_together_are_all_let_in(cast: Flask, clock: Clock) -> None:
    with cast.test_request_context():
        for attempt in [
            login_throttle.start_attempt("alice", "127.0.0.1", None) for _ in range(4 * PAIR.free_failures)
        ]:
            login_throttle.record_success(attempt)
    assert log_in(browser_at(cast), ALICE).status_code == 303


def test_what_was_not_checked_is_no_failure(cast: Flask, clock: Clock) -> None:
    with cast.test_request_context():
        for _ in range(4 * PAIR.free_failures):
            login_throttle.start_attempt("alice", "127.0.0.1", None)


def test_nothing_kept_or_logged_can_be_read_as_a_name_or_password(
    cast: Flask, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    log_in(browser_at(cast), Person("my secret password", "viewer"), "another secret")
    with cast.app_context(), read() as session:
        kept = [(row.kind, row.key) for row in session.scalars(sa.select(LoginThrottle))]
    assert len(kept) == 3
    assert "secret" not in f"{kept} {caplog.text}"


def test_rows_do_not_pile_up_for_ever(cast: Flask, clock: Clock) -> None:
    guess(browser_at(cast))
    clock.pass_(login_throttle.FORGET_AFTER_S + 1)
    guess(browser_at(cast), BOB)
    with cast.app_context(), read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(LoginThrottle)) == 3
