"""Flags: declared, overridden, and asked through UnleashClient with buckets that only grow."""

import json
import socket
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask

from app import create_app
from app.config import ConfigError, Settings
from app.db import db, read, write
from app.eventlog.append import NewEvent
from app.flags import document, embedded, evaluation
from app.flags.evaluation import Flag, Flags, Rollout, build_evaluator
from app.infra.clock import utc_now, utc_text
from tests.stream.readers import event
from tests.support.cast import publish
from tests.support.waiting import wait_for

USERS = [f"user{number}" for number in range(1_000)]


def at(percentage: int, *, enabled: bool = True, asked: Flags | None = None) -> set[str]:
    """Who is in."""
    asked = asked or Flags({})
    asked.load({Flag.SSE_STREAMING: Rollout(enabled, percentage)})
    return {user for user in USERS if asked.is_enabled(Flag.SSE_STREAMING, user)}


def test_nobody_is_in_before_the_rollouts_are_loaded() -> None:
    assert not Flags({}).is_enabled(Flag.SSE_STREAMING, "alice")


def test_a_flag_that_nobody_touched_is_off() -> None:
    asked = Flags({})
    asked.load({})
    assert not any(asked.is_enabled(Flag.SSE_STREAMING, user) for user in USERS)


def test_0_is_nobody_and_100_is_everybody() -> None:
    assert at(0) == set()
    assert at(100) == set(USERS)


def test_who_is_in_stays_in_when_the_percentage_grows() -> None:
    small, half, all_ = at(10), at(50), at(100)
    assert small < half < all_
    assert 60 <= len(small) <= 140
    assert 430 <= len(half) <= 570


def test_a_percentage_means_the_same_people_in_every_process() -> None:
    assert at(10) == at(10, asked=Flags({}))


def test_the_kill_switch_puts_everybody_out() -> None:
    assert at(100, enabled=False) == set()


def test_loading_again_takes_effect_at_once() -> None:
    """Guards the one private call into UnleashClient: it must still exist and do what its name says."""
    asked = Flags({})
    assert at(0, asked=asked) == set()
    assert at(100, asked=asked) == set(USERS)
    assert at(10, asked=asked) == at(10)
    assert at(0, asked=asked) == set()


def test_the_client_starts_no_thread_and_calls_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    here = threading.get_ident()

    def refused(real: Callable[..., None]) -> Callable[..., None]:
        def call(*args: object) -> None:
            if threading.get_ident() == here:
                pytest.fail("the embedded client must not reach out")
            real(*args)  # another thread of this process

        return call

    monkeypatch.setattr(socket.socket, "connect", refused(socket.socket.connect))
    monkeypatch.setattr(threading.Thread, "start", refused(threading.Thread.start))
    assert at(100) == set(USERS)


def test_where_the_clock_decides_people_are_asked_about_anew() -> None:
    """Otherwise those who asked early would stay where they were, and those who ask now would not."""
    soon = utc_text(utc_now() + timedelta(seconds=0.3))
    found = json.loads(document.serialize_rollouts({Flag.SSE_STREAMING: Rollout(percentage=100)}))
    after = {"contextName": "currentTime", "operator": "DATE_AFTER", "value": soon}
    found["features"][0]["strategies"][0]["constraints"] = [after]
    text, asked, told = json.dumps(found), Flags({}), list[str]()
    asked.load(text)
    early = asked.is_enabled(Flag.SSE_STREAMING, "alice")
    wait_for(lambda: build_evaluator(text)(Flag.SSE_STREAMING, "alice"))
    assert asked.is_enabled(Flag.SSE_STREAMING, "alice") is early
    asked.expire_timed_answers(lambda: told.append("streams"))
    assert asked.is_enabled(Flag.SSE_STREAMING, "alice")
    assert told == ["streams"]


def test_where_it_does_not_nobody_is_asked_about_again() -> None:
    asked = Flags({})
    asked.expire_timed_answers(pytest.fail)
    assert at(10, asked=asked)
    asked.expire_timed_answers(pytest.fail)


@pytest.mark.parametrize("value", [True, False])
def test_an_override_beats_every_percentage(value: bool) -> None:
    asked = Flags({"enable_sse_streaming": value})
    for percentage in (0, 100):
        assert (at(percentage, asked=asked) == set(USERS)) is value


def test_an_override_needs_no_rollout_at_all() -> None:
    assert Flags({"enable_sse_streaming": True}).is_enabled(Flag.SSE_STREAMING, "alice")


def test_an_override_of_an_undeclared_flag_is_an_error_at_start(settings: Settings) -> None:
    settings.flag_overrides = {"other": True}
    with pytest.raises(ConfigError, match=r"^BEACON_FLAG_OTHER: unknown flag; known flags: enable_sse_streaming$"):
        create_app(settings)


def test_only_declared_flags_can_be_asked_for(app: Flask) -> None:
    with app.app_context():
        assert evaluation.is_enabled("enable_sse_streaming", "alice") is False
        with pytest.raises(ValueError, match="enable_everything"):
            evaluation.is_enabled("enable_everything", "alice")


def test_a_change_is_seen_among_events() -> None:
    assert evaluation.has_flag_change([event(1), event(2, "flag.changed")])
    assert not evaluation.has_flag_change([event(1, "flag.other"), event(2)])
    assert not evaluation.has_flag_change([])


class TestStore:
    @pytest.fixture(autouse=True)
    def _context(self, app: Flask) -> None:
        self.app = app

    def change(self, **change: object) -> Rollout:
        with self.app.app_context(), write() as session:
            return embedded.change_rollout(session, Flag.SSE_STREAMING, "pia", "a reason", **change)  # type: ignore[arg-type]

    def now(self) -> Rollout:
        with self.app.app_context(), read() as session:
            return embedded.load_all_rollouts(session)[Flag.SSE_STREAMING]

    def test_a_fresh_installation_is_at_0(self) -> None:
        assert self.now() == Rollout(enabled=True, percentage=0)

    def test_what_is_given_changes_and_the_rest_stays(self) -> None:
        assert self.change(percentage=50) == Rollout(enabled=True, percentage=50)
        assert self.change(enabled=False) == Rollout(enabled=False, percentage=50)
        assert self.change(enabled=True) == Rollout(enabled=True, percentage=50)
        assert self.now() == Rollout(enabled=True, percentage=50)

    @pytest.mark.parametrize("percentage", [-1, 101])
    def test_a_percentage_has_its_bounds(self, percentage: int) -> None:
        with pytest.raises(embedded.InvalidRollout):
            self.change(percentage=percentage)

    @pytest.mark.parametrize("reason", ["", "  ", "x" * 501])
    def test_a_reason_is_needed(self, reason: str) -> None:
        with self.app.app_context(), write() as session, pytest.raises(embedded.InvalidRollout):
            embedded.change_rollout(session, Flag.SSE_STREAMING, "pia", reason, 10)

    def test_row_audit_and_event_come_in_one_commit(self) -> None:
        self.change(percentage=10)

        def fails() -> None:
            with write() as session:
                embedded.change_rollout(session, Flag.SSE_STREAMING, "pia", "never", 99)
                raise KeyError

        with self.app.app_context():
            with pytest.raises(KeyError):
                fails()
            with read() as session:
                audit = session.execute(db.text("SELECT before_state_json, after_state_json FROM command_audit")).all()
                events = session.execute(db.text("SELECT type, audience, data_json FROM event")).all()
        assert self.now().percentage == 10
        assert audit == [('{"enabled": true, "percentage": 0}', '{"enabled": true, "percentage": 10}')]
        assert [(row.type, row.audience) for row in events] == [
            ("flag.changed", "everyone"),
            ("notification.created", "everyone"),
        ]
        assert '"percentage":10' in events[0].data_json

    def test_an_undeclared_flag_has_no_name(self) -> None:
        assert embedded.parse_flag("enable_sse_streaming") is Flag.SSE_STREAMING
        with pytest.raises(embedded.InvalidRollout, match="enable_sse_streaming"):
            embedded.parse_flag("other")


class TestRunning:
    def is_on(self, app: Flask) -> bool:
        with app.app_context():
            return evaluation.is_enabled(Flag.SSE_STREAMING, "alice")

    def test_a_change_by_another_process_reaches_a_running_worker(self, live_app: Flask) -> None:
        assert self.is_on(live_app)
        with live_app.app_context(), write() as session:
            embedded.change_rollout(session, Flag.SSE_STREAMING, "pia", "down", 0)
        wait_for(lambda: not self.is_on(live_app))
        with live_app.app_context(), write() as session:
            embedded.change_rollout(session, Flag.SSE_STREAMING, "pia", "up", 100)
        wait_for(lambda: self.is_on(live_app))

    def test_other_events_do_not_ask_the_database_for_flags(
        self, live_app: Flask, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loads: list[object] = []
        monkeypatch.setattr(live_app.extensions["beacon"].flags, "load", loads.append)
        publish(live_app, NewEvent("a", {}))
        wait_for(lambda: live_app.extensions["beacon"].background.hub.cursor == 1)
        assert loads == []


def test_the_environment_overrides_a_running_worker(cast: Flask, settings: Settings) -> None:
    cast.extensions["beacon"].flags.overrides["enable_sse_streaming"] = True
    with cast.app_context():
        assert evaluation.is_enabled(Flag.SSE_STREAMING, "alice")
