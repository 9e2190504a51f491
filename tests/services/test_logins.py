"""Logins on PostgreSQL, where several hosts count and look at the same moment."""

import threading

import pytest
import sqlalchemy as sa
from flask import Flask

from app.accounts import login_throttle
from app.accounts.login_throttle import POLICIES, LoginAttempt
from app.accounts.models import LoginSession, LoginThrottle
from app.db import db, write
from app.web import idle_logins
from tests.support.cast import ALICE, join, log_in

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
