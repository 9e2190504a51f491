"""Failed logins counted on PostgreSQL, where several hosts count at the same moment."""

import threading

from flask import Flask

from app.accounts import throttle
from app.accounts.throttle import POLICIES
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
