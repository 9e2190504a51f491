"""What Unleash sent and what Beacon changes there, as they meet in the database; without an Unleash."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from app import create_app
from app.audit.models import AuditRow
from app.cli import doctor
from app.config import Settings
from app.db import db, read, write
from app.eventlog import reader as log
from app.eventlog.event_types import ChangeCause
from app.flags import document, embedded
from app.flags.document import Flag, Rollout
from app.flags.evaluation import Flags
from app.flags.provider import TooLate
from app.flags.unleash import pending_changes, snapshot_store
from app.flags.unleash import unleash_provider as rollout
from app.flags.unleash.feed_poller import UnleashPoller
from app.flags.unleash.snapshot_store import Author, SnapshotWriter
from app.flags.unleash.unleash_provider import UnleashProvider
from app.rollout import changes_history
from app.stream.hub import Hub
from tests.support.unleash_stub import Edge, says
from tests.support.waiting import wait_for

FLAG = Flag.SSE_STREAMING


@pytest.fixture
def keeper(cast: Flask) -> Iterator[SnapshotWriter]:
    """Inside the application's context. Whatever is nobody else's was done by `eve`."""
    with cast.app_context():
        yield SnapshotWriter(lambda _: Author("eve"))


def sent(percentage: int, revision: int, *, enabled: bool = True) -> str:
    found = json.loads(document.serialize_rollouts({FLAG: Rollout(enabled, percentage)}))
    return json.dumps({**found, "meta": {"revisionId": revision}})


def beside(url: str, tmp_path: Path) -> Settings:
    more: dict[str, Any] = {"unleash_url": url, "unleash_api_token": "*:development.t", "unleash_admin_token": "t"}
    return Settings(instance_dir=tmp_path / "instance", secret_key="for the tests only", **more)


def standing() -> tuple[str | None, bool, float | None]:
    with read() as session:
        now = embedded.load_rollout(session, FLAG)
        return now.actor, now.rollout.enabled, now.rollout.percentage


def reasons() -> list[str]:
    with read() as session:
        return [
            str(event.data["reason"]) for event in log.read_after(session, 0).events if event.type == "flag.changed"
        ]


def facts() -> list[tuple[str, str, str]]:
    """Actor, cause and kind of each event."""
    with read() as session:
        events = [event.data for event in log.read_after(session, 0).events if event.type == "flag.changed"]
    return [(event["actor"], event["cause"], event["kind"]) for event in events]


def seen_there() -> int:
    """Entries of what somebody did in Unleash itself."""
    with read() as session:
        query = sa.select(sa.func.count()).where(AuditRow.action_type == "rollout-seen", AuditRow.actor == "eve")
        return session.scalar(query) or 0


def test_an_unleash_that_was_set_back_is_followed_once_nobody_can_lag_so_long(
    edge: Edge, keeper: SnapshotWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says "not modified" to whoever names what it has now."""
    now = [sent(50, revision=5)]

    def answer(handler: BaseHTTPRequestHandler) -> None:
        tag = f'"{document.read_revision(now[0])}"'
        is_known = handler.headers.get("If-None-Match") == tag
        (says(304) if is_known else says(200, now[0], ETag=tag))(handler)

    edge.answers = [answer]
    feed = UnleashPoller(edge.url, "", keeper.store)
    feed.poll_once()
    assert standing() == ("eve", True, 50)
    now[0] = sent(10, revision=3)
    for _ in range(3):
        feed.poll_once()
    assert standing()[2] == 50, "a worker that lags takes nobody back"
    monkeypatch.setattr(snapshot_store, "RESTORED_AFTER_S", 0.1)

    def looks() -> bool:
        feed.poll_once()
        return standing()[2] == 10

    wait_for(looks)
    feed.poll_once()
    assert edge.seen[-1]["If-None-Match"] == '"3"'
    feed.stop()


def test_what_another_worker_was_quicker_with_is_asked_for_again(cast: Flask) -> None:
    """It may have written something older."""
    with cast.app_context():
        other = SnapshotWriter(lambda _: Author("eve"))

        def meanwhile(_: Flag) -> Author:
            other.store(sent(20, revision=2))
            return Author("eve")

        late = SnapshotWriter(meanwhile)
        assert late.store(sent(30, revision=3)) is False
        assert late.store(sent(30, revision=3)) is True
        assert standing()[2] == 30


def test_a_parent_that_is_switched_off_is_told_and_every_worker_loads_it(keeper: SnapshotWriter) -> None:
    """The flag itself stays as it is, and still nobody is in any more."""

    def family(revision: int, *, enabled: bool) -> str:
        found = json.loads(sent(50, revision))
        found["features"][0]["dependencies"] = [{"feature": "parent", "enabled": True}]
        found["features"].append({"name": "parent", "enabled": enabled, "strategies": []})
        return json.dumps(found)

    keeper.store(family(1, enabled=True))
    told = reasons()
    keeper.store(family(2, enabled=False))
    assert reasons()[len(told) :] == ["its conditions changed in Unleash"]
    assert facts() == [("eve", "unleash", "set"), ("Unleash", "unleash", "conditions")]
    assert standing() == ("eve", True, 50)


class TestIntents:
    def intend(self, *stages: Rollout, actor: str = "pia", is_made: bool = True, cause: ChangeCause = "manual") -> str:
        with write() as session:
            change = pending_changes.record_pending(session, FLAG, stages, actor, "because", cause)
            if is_made:
                pending_changes.mark_made(session, change, len(stages))
        return change

    def pending(self) -> str | None:
        with read() as session:
            found = pending_changes.find_pending(session, FLAG)
            return None if found is None else f"{found.actor} {found.enabled} {found.percentage}"

    def test_both_stages_of_a_change_are_whose_it_is_whether_seen_one_by_one_or_at_once(
        self, keeper: SnapshotWriter
    ) -> None:
        keeper.store(sent(10, 1))
        before = seen_there()
        self.intend(Rollout(False, 10), Rollout(False, 0))
        assert self.pending() == "pia False 0"
        keeper.store(sent(10, 2, enabled=False))
        assert (standing(), self.pending()) == (("pia", False, 10), "pia False 0")
        keeper.store(sent(0, 3, enabled=False))
        assert (standing(), self.pending()) == (("pia", False, 0), None)
        self.intend(Rollout(False, 50), Rollout(True, 50))
        keeper.store(sent(50, 5))
        assert (standing(), self.pending()) == (("pia", True, 50), None)
        assert seen_there() == before

    def test_two_at_once_keep_apart_what_is_whose(self, keeper: SnapshotWriter) -> None:
        keeper.store(sent(10, 1))
        before = seen_there()
        self.intend(Rollout(True, 50))
        refused = self.intend(Rollout(True, 25), actor="ada", is_made=False)
        with write() as session:
            pending_changes.mark_made(session, refused, 0)
        assert self.pending() == "pia True 50"
        keeper.store(sent(50, 2))
        assert (standing(), self.pending(), seen_there()) == (("pia", True, 50), None, before)

    def test_what_is_being_made_is_not_claimed_and_outlives_a_change_by_somebody_else(
        self, keeper: SnapshotWriter
    ) -> None:
        keeper.store(sent(10, 1))
        before = seen_there()
        self.intend(Rollout(True, 50))
        self.intend(Rollout(False, 20), is_made=False)
        keeper.store(sent(20, 2))
        assert (standing(), self.pending()) == (("eve", True, 20), None), "what was made before is no longer shown"
        keeper.store(sent(20, 3, enabled=False))
        assert (standing(), seen_there()) == (("pia", False, 20), before + 1)

    def test_a_kill_of_what_has_no_percentage_is_whose_it_is_and_none_is_made_up(self, keeper: SnapshotWriter) -> None:
        def two(revision: int, *, enabled: bool) -> str:
            found = json.loads(sent(30, revision, enabled=enabled))
            found["features"][0]["strategies"] *= 2
            return json.dumps(found)

        keeper.store(two(1, enabled=True))
        before = seen_there()
        assert standing() == ("eve", True, None)
        self.intend(Rollout(False, None))
        keeper.store(two(2, enabled=False))
        assert (standing(), seen_there()) == (("pia", False, None), before)
        with read() as session:
            percentages = [
                event.data.get("percentage")
                for event in log.read_after(session, 0).events
                if event.type == "flag.changed"
            ]
        assert percentages == [None], "who made the kill tells it, and it is in force since"

    def entries(self) -> list[tuple[str, str, str]]:
        with read() as session:
            query = sa.select(AuditRow).where(AuditRow.action_type == "rollout-set").order_by(AuditRow.seq)
            return [(row.actor, row.outcome, row.after_state_json or "") for row in session.scalars(query)]

    def test_what_arrives_before_its_maker_could_audit_it_is_audited_once(self, keeper: SnapshotWriter) -> None:
        """The worker may have died, or lost the database, in between; if not, it finds that it was not the first."""
        keeper.store(sent(10, 1))
        change = self.intend(Rollout(True, 50), is_made=False)
        keeper.store(sent(50, 2))
        assert self.entries() == [("pia", "success", '{"enabled": true, "percentage": 50}')]
        with write() as session:
            assert not pending_changes.mark_made(session, change, 1)
        other = self.intend(Rollout(True, 75), is_made=False)
        with write() as session:
            assert pending_changes.mark_made(session, other, 1)
        keeper.store(sent(75, 3))
        assert len(self.entries()) == 1, "its maker audits it"

    def test_what_arrives_before_its_maker_could_tell_it_has_the_cause_that_it_was_made_with(
        self, keeper: SnapshotWriter
    ) -> None:
        keeper.store(sent(50, 1))
        self.intend(Rollout(True, 10), actor="guardrail", is_made=False, cause="guardrail")
        keeper.store(sent(10, 2))
        assert facts() == [("eve", "unleash", "set"), ("guardrail", "guardrail", "set")]
        with read() as session:
            newest, first = changes_history.load_entries(session, FLAG)
        assert [(entry.cause, entry.action) for entry in (first, newest)] == [
            ("unleash", "rollout-seen"),
            ("guardrail", "rollout-set"),
        ]

    def test_a_change_of_two_stages_is_one_entry_though_the_first_arrives_earlier(self, keeper: SnapshotWriter) -> None:
        keeper.store(sent(10, 1))
        change = self.intend(Rollout(False, 10), Rollout(False, 0), is_made=False)
        keeper.store(sent(10, 2, enabled=False))
        assert self.entries() == []
        with write() as session:
            assert pending_changes.mark_made(session, change, 2), "its maker audits it"

    def test_what_a_worker_never_said_the_end_of_is_audited_once_as_such(
        self, keeper: SnapshotWriter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keeper.store(sent(10, 1))
        self.intend(Rollout(False, 50), Rollout(True, 50), is_made=False)
        monkeypatch.setattr(pending_changes, "PENDING_EXPIRY_S", -1.0)
        for revision in (2, 3):
            keeper.store(sent(10, revision))
        assert self.entries() == [("pia", "failure", '{"enabled": true, "percentage": 50}')]


def test_a_percentage_that_is_no_whole_number_is_kept_and_told_as_it_is(keeper: SnapshotWriter) -> None:
    def share(written: str, revision: int) -> str:
        return sent(50, revision).replace('"50"', f'"{written}"')

    keeper.store(share("12.5", 1))
    assert standing() == ("eve", True, 12.5)
    keeper.store(share("13", 2))
    with read() as session:
        first, second = [event.data for event in log.read_after(session, 0).events if event.type == "flag.changed"]
        mine = sa.select(AuditRow).where(AuditRow.target == FLAG).order_by(AuditRow.seq)
        entries = session.scalars(mine).all()
    assert (first["percentage"], second["percentage"]) == (12.5, 13)
    assert [(row.before_state_json, row.after_state_json) for row in entries] == [
        (None, '{"enabled": true, "percentage": 12.5}'),
        ('{"enabled": true, "percentage": 12.5}', '{"enabled": true, "percentage": 13}'),
    ]


def test_looking_where_it_stands_takes_no_second_connection(cast: Flask, tmp_path: Path) -> None:
    unleash = UnleashProvider(cast, beside("http://127.0.0.1:9", tmp_path), Flags({}), pytest.fail)
    with cast.app_context():
        SnapshotWriter(lambda _: Author("eve")).store(sent(10, 1))
        taken: list[object] = []
        with read() as session:
            session.connection()
            sa.event.listen(db.engine, "checkout", lambda *_: taken.append(1))
            assert unleash.view(session, FLAG).state.percentage == 10
    assert taken == []


def test_a_holder_that_was_frozen_after_it_decided_does_not_ask_and_looks_again(
    edge: Edge, tmp_path: Path, cast: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others may have gone up and back to where it was seen: the `test` of the patch would pass."""
    monkeypatch.setattr(rollout, "MAX_SEND_DELAY_S", -1.0)
    unleash, looked = UnleashProvider(cast, beside(edge.url, tmp_path), Flags({}), pytest.fail), there(10)
    edge.answers = [says(200, looked)]
    with cast.app_context():
        SnapshotWriter(lambda _: Author("eve")).store(sent(10, 1))
        with pytest.raises(TooLate) as late:
            unleash.change(FLAG, "guardrail", "trouble", 5, precondition=lambda *_: None)
        with read() as session:
            assert pending_changes.find_pending(session, FLAG) is None
            outcomes = session.scalars(sa.select(AuditRow.outcome).where(AuditRow.actor == "guardrail")).all()
    assert (late.value.status, [*outcomes]) == (503, ["failure"])
    assert [line.split()[0] for line in edge.asked] == ["GET"]


def there(percentage: int) -> str:
    """What its Admin API says of the flag."""
    strategy = {"id": "1", "name": "flexibleRollout", "parameters": {"rollout": str(percentage)}}
    return json.dumps({"enabled": True, "strategies": [strategy]})


def test_a_kill_in_unleash_reaches_open_streams_while_the_database_is_away(edge: Edge, tmp_path: Path) -> None:
    """A worker that cannot write goes ahead of the log, and has its own streams asked about: once."""
    app = create_app(beside(edge.url, tmp_path))  # its database was never made
    feed, flags, hub = app.extensions["beacon"].provider.poller, app.extensions["beacon"].flags, hub_of(app)
    flags.load(sent(100, 1))
    asked = hub.flag_version
    edge.answers = [says(200, sent(100, 2, enabled=False), ETag='"2"')]
    for _ in range(3):
        feed.poll_once()
    assert (flags.is_enabled(FLAG, "ann"), hub.flag_version) == (False, asked + 1)
    feed.stop()
    with app.app_context():
        db.engine.dispose()


@pytest.mark.parametrize(
    ("parameters", "is_fine", "words"),
    [
        ({"stickiness": "sessionId"}, False, "its stickiness is sessionId, which Beacon does not have"),
        ({"stickiness": "random"}, False, "its stickiness is random"),
        ({"groupId": "others"}, True, "(the groupId of enable_sse_streaming is others, so it enables other users than"),
        ({}, True, "at 10 %; changes go through its Admin API"),
    ],
)
def test_the_doctor_looks_at_what_makes_the_buckets(
    edge: Edge, tmp_path: Path, parameters: dict[str, str], is_fine: bool, words: str
) -> None:
    found = json.loads(sent(10, 1))
    found["features"][0]["strategies"][0]["parameters"] |= parameters
    edge.answers = [says(200, json.dumps(found))]
    app = create_app(beside(edge.url, tmp_path))
    with app.app_context():
        answered, told = doctor.describe_flag_source(app)
    assert (answered, words in told) == (is_fine, True), told


def hub_of(app: Flask) -> Hub:
    found: Hub = app.extensions["beacon"].background.hub
    return found
