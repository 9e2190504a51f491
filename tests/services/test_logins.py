"""Logins on PostgreSQL, where several hosts count and look at the same moment."""

import threading

import pytest
import sqlalchemy as sa
from flask import Flask

from app.accounts import login_throttle, tokens, users
from app.accounts.login_throttle import POLICIES, LoginAttempt
from app.accounts.models import LoginSession, LoginThrottle, User
from app.accounts.user_changes import UserChange
from app.db import db, write
from app.web import idle_logins, login_sessions
from tests.support.cast import ALICE, bearer, join, log_in, make_token
from tests.support.waiting import wait_for

AT_ONCE = 12
PAIR = POLICIES["name at address"]


def test_guesses_of_the_same_moment_see_each_other_and_wait_for_nobody_in_a_circle(app: Flask) -> None:
    with app.app_context():
        tries = [login_throttle.start_attempt("alice", "192.0.2.1", None) for _ in range(AT_ONCE)]
    begin = threading.Barrier(AT_ONCE - 1)

    def fail(attempt: LoginAttempt) -> None:
        with app.app_context():
            begin.wait()
            login_throttle.record_failure(attempt, "alice", is_known=True)

    threads = [threading.Thread(target=fail, args=(attempt,)) for attempt in tries[1:]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with app.app_context():
        assert db.session.scalar(sa.select(sa.func.min(LoginThrottle.failures))) == pytest.approx(AT_ONCE - 1, abs=0.1)
        with pytest.raises(login_throttle.Throttled):  # the right one among them
            login_throttle.record_success(tries[0])


def test_right_logins_of_the_same_moment_are_all_let_in(app: Flask) -> None:
    with app.app_context():
        for attempt in [
            login_throttle.start_attempt("alice", "192.0.2.1", None) for _ in range(4 * PAIR.free_failures)
        ]:
            login_throttle.record_success(attempt)
    join(app, ALICE)
    assert log_in(app.test_client(), ALICE).status_code == 303


def wait_until_one_waits(app: Flask) -> None:
    """Until somebody waits for a lock."""

    def waits() -> bool:
        with app.app_context(), db.engine.connect() as connection:
            return bool(connection.exec_driver_sql("SELECT count(*) FROM pg_locks WHERE NOT granted").scalar())

    wait_for(waits, "somebody who waits for a lock")


@pytest.mark.parametrize("wanted", [UserChange(password_hash="-"), UserChange(disabled=True)])
def test_a_login_that_begins_during_a_reset_does_not_outlive_it(app: Flask, wanted: UserChange) -> None:
    join(app, ALICE)
    begun = []

    def begin(user: User) -> None:
        with app.test_request_context():
            begun.append(login_sessions.begin(user))

    with app.app_context():
        with write() as session:
            alice = users.find(session, "alice")
            session.expunge(alice)
            users.change(session, "alice", wanted, "test")
            session.flush()
            thread = threading.Thread(target=begin, args=(alice,))
            thread.start()
            wait_until_one_waits(app)
        thread.join()
        assert begun == [False]
        assert db.session.scalar(sa.select(sa.func.count()).select_from(LoginSession)) == 0


def test_two_tokens_of_the_same_moment_are_not_more_than_fifty(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "MAX_TOKENS_PER_USER", 1)
    join(app, ALICE)
    refused = []

    def make() -> None:
        with app.app_context(), write() as session, pytest.raises(users.TooManyTokens) as error:
            users.add_token(session, "alice", ["read"], None, "test")
        refused.append(error.value)

    with app.app_context(), write() as session:
        users.add_token(session, "alice", ["read"], None, "test")
        thread = threading.Thread(target=make)
        thread.start()
        wait_until_one_waits(app)
    thread.join()
    assert len(refused) == 1


def test_a_token_made_during_a_reset_of_its_user_does_not_outlive_it(app: Flask) -> None:
    join(app, ALICE)
    headers = bearer(make_token(app, ALICE, "admin")[1])
    statuses = []

    def make() -> None:
        statuses.append(app.test_client().post("/api/tokens", json={"scopes": ["read"]}, headers=headers).status_code)

    with app.app_context():
        with write() as session:
            users.change(session, "alice", UserChange(password_hash="-"), "test")
            session.flush()
            thread = threading.Thread(target=make)
            thread.start()
            wait_until_one_waits(app)
        thread.join()
        assert statuses == [401]
        assert tokens.count_active(db.session(), users.find(db.session(), "alice")) == 0


def test_one_of_several_workers_ends_what_is_idle(app: Flask) -> None:
    join(app, ALICE)
    for _ in range(3):
        assert log_in(app.test_client(), ALICE).status_code == 303
    with app.app_context(), write() as session:
        session.execute(db.update(LoginSession).values(last_active_at="2020-01-01T00:00:00.000Z"))
    ended = []

    def look() -> None:
        with app.app_context():
            ended.append(idle_logins.end_idle_logins())

    workers = [threading.Thread(target=look) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sum(ended) == 3
