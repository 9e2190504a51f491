"""Logins on PostgreSQL, where several hosts count and look at the same moment."""

import threading

from flask import Flask

from app.accounts import idle_logins, throttle
from app.accounts.models import LoginSession
from app.accounts.throttle import POLICIES
from app.db import db, write
from tests.support.cast import ALICE, join, log_in

AT_ONCE = 12


def test_tries_of_many_at_the_same_moment_see_each_other_and_wait_for_nobody_in_a_circle(app: Flask) -> None:
    free = POLICIES["name at address"].free
    let_in, refused = [], []
    begin = threading.Barrier(AT_ONCE)

    def attempt() -> None:
        with app.app_context():
            begin.wait()
            try:
                let_in.append(throttle.admit("alice", "192.0.2.1", None))
            except throttle.Throttled as throttled:
                refused.append(throttled.wait_s)

    tries = [threading.Thread(target=attempt) for _ in range(AT_ONCE)]
    for one in tries:
        one.start()
    for one in tries:
        one.join()
    assert (len(let_in), len(refused)) == (free, AT_ONCE - free)


def test_a_login_takes_its_try_back(app: Flask) -> None:
    join(app, ALICE)
    for _ in range(2 * POLICIES["name at address"].free):
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
            ended.append(idle_logins.end_idle())

    workers = [threading.Thread(target=look) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sum(ended) == 3
