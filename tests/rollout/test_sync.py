"""The flags of a process follow the log, and survive a database that was away at the wrong moment."""

import pytest

from app.eventlog.reader import Event
from app.flags.evaluation import Flag, Flags, Rollout
from app.flags.sync import FlagSync

CHANGED = Event(2, "flag.changed", "everyone", {}, "2026-11-21T12:00:00.000Z")
OTHER = Event(3, "job.queued", "everyone", {}, "2026-11-21T12:00:00.000Z")


class Database:
    """The rollouts as they are kept; away while `is_away`."""

    def __init__(self) -> None:
        self.rollout = Rollout(enabled=True, percentage=100)
        self.is_away = False
        self.reads = 0

    def read(self) -> dict[str, Rollout]:
        self.reads += 1
        if self.is_away:
            raise ConnectionError("away")
        return {Flag.SSE_STREAMING: self.rollout}


def followed() -> tuple[Database, Flags, FlagSync, list[str]]:
    database, flags, late = Database(), Flags({}), list[str]()
    follower = FlagSync(flags, database.read, lambda: late.append("asked again"))
    follower.listen((), 1)
    assert flags.is_enabled(Flag.SSE_STREAMING, "alice")
    return database, flags, follower, late


def test_a_change_in_the_log_is_loaded_at_once_and_other_events_load_nothing() -> None:
    database, flags, follower, late = followed()
    database.rollout = Rollout(enabled=False, percentage=100)
    follower.listen((OTHER,), 3)
    assert database.reads == 1
    follower.listen((CHANGED,), 2)
    assert not flags.is_enabled(Flag.SSE_STREAMING, "alice")
    assert late == []


def test_a_kill_switch_that_could_not_be_read_is_read_as_soon_as_the_database_is_back() -> None:
    database, flags, follower, late = followed()
    database.rollout, database.is_away = Rollout(enabled=False, percentage=100), True
    with pytest.raises(ConnectionError):
        follower.listen((CHANGED,), 2)
    assert flags.is_enabled(Flag.SSE_STREAMING, "alice")
    database.is_away = False
    follower.retry()
    assert not flags.is_enabled(Flag.SSE_STREAMING, "alice")
    follower.retry()
    assert database.reads == 3
    assert late == ["asked again"]
