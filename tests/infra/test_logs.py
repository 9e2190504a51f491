"""A failure that lasts is told, and does not flood the log."""

import logging
import threading

import pytest

from app.background import Periodic
from app.infra.logs import MIN_LOG_INTERVAL_S, REPEAT_INTERVAL_S, FailureLog
from tests.support.machine import scaled


class Told:
    """What the log was told, on a clock of its own."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog, self.now = caplog, 0.0
        self.lasting = FailureLog(logging.getLogger("told"), "the task", lambda: self.now)

    def lines(self) -> list[tuple[str, bool]]:
        """Each since the last time, and whether a traceback was with it."""
        found = [(record.getMessage(), bool(record.exc_info)) for record in self._caplog.records]
        self._caplog.clear()
        return found


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Told:
    return Told(caplog)


FAILED, STILL = ("the task failed and will be retried", True), ("the task still fails: KeyError", False)
AGAIN = ("the task works again", False)


def test_a_failure_that_lasts_has_one_traceback_then_a_line_every_ten_minutes_and_one_at_its_end(told: Told) -> None:
    told.lasting.record_success()
    assert told.lines() == [], "that all is well is no news"
    for _ in range(int(REPEAT_INTERVAL_S)):
        told.lasting.record_failure(KeyError("away"))
        told.now += 1
    assert told.lines() == [FAILED]
    for _ in range(int(2 * REPEAT_INTERVAL_S)):
        told.lasting.record_failure(KeyError("away"))
        told.now += 1
    assert told.lines() == [STILL, STILL]
    for _ in range(100):
        told.lasting.record_success()
        told.now += 1
    assert told.lines() == [AGAIN]
    told.lasting.record_failure(KeyError("once more"))
    assert told.lines() == [FAILED]


def test_another_failure_is_told_with_its_traceback(told: Told) -> None:
    told.lasting.record_failure(KeyError("away"))
    told.now += MIN_LOG_INTERVAL_S
    told.lasting.record_failure(OSError("full"))
    assert told.lines() == [FAILED, FAILED]


def test_what_comes_and_goes_is_told_twice_a_minute_at_most(told: Told) -> None:
    for second in range(600):
        told.lasting.record_failure(KeyError("away")) if second % 2 else told.lasting.record_success()
        told.now += 1
    assert 2 <= len(told.lines()) <= 20


def test_a_periodic_task_that_fails_goes_on_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    turns = threading.Semaphore(0)

    def turn() -> None:
        turns.release()
        raise KeyError("away")

    every = Periodic(0.001, turn)
    every.start()
    for _ in range(20):
        assert turns.acquire(timeout=scaled(10))
    every.stop()
    mine = [record for record in caplog.records if record.name == "app.background"]
    assert [bool(record.exc_info) for record in mine] == [True]
    assert "turn failed" in mine[0].getMessage()
