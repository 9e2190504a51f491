"""The log hears of each change of a service's failed jobs, and of each new cause once."""

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from app.db import read, write
from app.eventlog import reader as log
from app.failures import failure_announcer, summaries
from app.failures.models import FailureGroup
from app.infra.clock import utc_now, utc_text
from app.notifications.models import Notification
from tests.failures.scene import Failing, Poll


class Heard:
    """What was appended since the last question, as (type, payload)."""

    def __init__(self) -> None:
        self.cursor = 0

    def __call__(self, type_: str) -> list[dict[str, Any]]:
        with read() as session:
            page = log.read_after(session, self.cursor)
        self.cursor = page.cursor
        return [dict(event.data) for event in page.events if event.type == f"reconciliation.{type_}"]


@pytest.fixture
def heard() -> Heard:
    return Heard()


def named(event: dict[str, Any]) -> list[tuple[str, int]]:
    return [(cause["title"], cause["count"]) for cause in event["causes"]]


def test_each_change_of_the_failed_jobs_is_one_event_with_the_causes_of_the_last_hour(
    poll: Poll, source: Failing, heard: Heard
) -> None:
    source.fail("old", "OSError", ended=utc_now() - timedelta(hours=2))
    for number in range(2):
        source.fail(f"k{number}", ended=utc_now())
    poll()
    [event] = heard("failures")
    assert (event["service"], event["failed"], named(event)) == ("mail", 3, [("KeyError in mail.send", 2)])
    poll()
    assert heard("failures") == []
    del source.jobs["k0"]
    poll()
    [event] = heard("failures")
    assert (event["failed"], named(event)) == (2, [("KeyError in mail.send", 1)])


def test_more_causes_than_are_named_are_counted_and_so_is_what_is_not_read(
    poll: Poll, source: Failing, heard: Heard
) -> None:
    for kind in "ABCDE":
        source.fail(kind, f"{kind}Error", ended=utc_now())
    source.is_silent = True
    poll()
    [event] = heard("failures")
    assert (event["failed"], event["notReadYet"], event["causes"]) == (5, 5, [])
    source.is_silent = False
    poll()
    [event] = heard("failures")
    assert (len(event["causes"]), event["moreCauses"], "notReadYet" in event) == (3, 2, False)


def test_a_service_without_failures_says_nothing(poll: Poll, heard: Heard) -> None:
    poll()
    assert heard("failures") == []


def test_a_cause_that_is_no_longer_recent_leaves_the_overview_by_itself(
    poll: Poll, source: Failing, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.fail("a", ended=utc_now() - timedelta(minutes=1))
    poll()
    assert named(heard("failures")[-1]) == [("KeyError in mail.send", 1)]
    for module in (failure_announcer, summaries):
        monkeypatch.setattr(module, "RECENT", timedelta(seconds=30))
    poll()
    [event] = heard("failures")
    assert (event["failed"], event["causes"]) == (1, [])


def test_new_causes_are_announced_once_and_together(poll: Poll, source: Failing, heard: Heard) -> None:
    source.fail("a", ended=utc_now())
    source.fail("b", "TimeoutError", ended=utc_now())
    poll()
    [event] = heard("new_causes")
    assert sorted(named(event)) == [("KeyError in mail.send", 1), ("TimeoutError in mail.send", 1)]
    source.fail("c", ended=utc_now())
    poll()
    assert heard("new_causes") == []
    with read() as session:
        [notice] = session.scalars(sa.select(Notification))
    assert (notice.severity, notice.title) == ("warning", "Mail: jobs fail for 2 new reasons")
    assert notice.link == "/services/mail/failures"


def test_more_new_causes_wait_a_minute_and_are_not_lost(
    poll: Poll, source: Failing, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.fail("a", ended=utc_now())
    poll()
    source.fail("b", "TimeoutError", ended=utc_now())
    poll()
    assert [named(event) for event in heard("new_causes")] == [[("KeyError in mail.send", 1)]]
    monkeypatch.setattr(failure_announcer, "NEW_CAUSES_INTERVAL_S", 0)
    poll()
    assert [named(event) for event in heard("new_causes")] == [[("TimeoutError in mail.send", 1)]]


def test_what_a_service_kept_from_long_ago_is_no_news(poll: Poll, source: Failing, heard: Heard) -> None:
    source.fail("a", ended=utc_now() - timedelta(days=3))
    poll()
    assert heard("new_causes") == []


def test_a_cause_that_was_over_for_a_day_is_new_again_and_begins_anew(
    poll: Poll, source: Failing, heard: Heard
) -> None:
    source.fail("a", ended=utc_now() - timedelta(days=2))
    poll()
    del source.jobs["a"]
    poll()
    now = utc_now()
    source.fail("b", ended=now)
    poll()
    [event] = heard("new_causes")
    assert event["causes"][0]["firstAt"].startswith(utc_text(now)[:19])


def test_a_muted_cause_is_neither_named_nor_announced(poll: Poll, source: Failing, heard: Heard) -> None:
    source.fail("a", ended=utc_now() - timedelta(days=2))
    poll()
    del source.jobs["a"]
    poll()
    with write() as session:
        session.execute(sa.update(FailureGroup).values(muted_until=utc_text(utc_now() + timedelta(hours=1))))
    heard("failures")
    source.fail("b", ended=utc_now())
    poll()
    with read() as session:
        events = log.read_after(session, heard.cursor).events
    assert [(event.type, event.data["causes"]) for event in events] == [("reconciliation.failures", [])]
