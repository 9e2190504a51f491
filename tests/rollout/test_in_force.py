"""What Beacon has written in Unleash is in force in every worker at once, whatever Unleash says, or says no more."""

import json
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from flask import Flask

from app import create_app
from app.audit.models import AuditRow
from app.config import Settings
from app.db import db, read, write
from app.flags.document import Flag, Rollout
from app.flags.models import PendingChangeRow
from app.flags.unleash import pending_changes
from app.rollout.plan_service import read_epoch
from app.stream.models import PresenceRow
from tests.rollout.test_rollout_api import Desk, problem
from tests.support.unleash_stub import Edge, OneFlag
from tests.support.waiting import wait_for

FLAG = Flag.SSE_STREAMING


@pytest.fixture
def unleash() -> Iterator[OneFlag]:
    edge = Edge()
    made = OneFlag(edge, FLAG)
    yield made
    edge.close()


@pytest.fixture
def workers(cast: Flask, settings: Settings, unleash: OneFlag) -> Iterator[list[Flask]]:
    """Two of one deployment, started."""
    told = {"unleash_url": unleash.url, "unleash_api_token": "x", "unleash_admin_token": "y"}
    made = [create_app(settings.model_copy(update=told)) for _ in range(2)]
    for each in made:
        each.extensions["beacon"].background.start()
    yield made
    for each in made:
        each.extensions["beacon"].background.stop()
        with each.app_context():
            db.engine.dispose()


def lets_in(app: Flask) -> bool:
    return bool(app.extensions["beacon"].flags.is_enabled(FLAG, "ann"))


def refuse(workers: list[Flask], unleash: OneFlag) -> None:
    """The token of the workers is revoked, once all of them hold what there is, and each has noticed."""
    wait_for(lambda: all(lets_in(each) for each in workers))
    unleash.refuses = True
    wait_for(lambda: all(each.extensions["beacon"].provider.describe_problem() for each in workers))


def made(app: Flask) -> list[PendingChangeRow]:
    with app.app_context(), read() as session:
        return list(session.scalars(sa.select(PendingChangeRow)))


def test_a_kill_is_in_force_everywhere_while_unleash_refuses_the_workers_and_until_it_answers(
    workers: list[Flask], unleash: OneFlag, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(workers, unleash)
    desk = Desk(workers[0])
    killed = desk.put(enabled=False)
    assert (killed.status_code, unleash.enabled) == (200, False)
    wait_for(lambda: not any(lets_in(each) for each in workers))
    wait_for(lambda: desk.get()["inForce"] == [{"enabled": False, "percentage": 100, "workers": 2}])
    assert desk.get()["workers"] == {"holding": 2, "total": 2}
    assert "with what Beacon has changed since" in desk.get()["note"]
    monkeypatch.setattr(pending_changes, "PENDING_EXPIRY_S", -1.0)  # hours later
    late = create_app(workers[0].extensions["beacon"].settings)
    with late.app_context():
        late.extensions["beacon"].flags.load(late.extensions["beacon"].provider.load())
        assert not lets_in(late), "a worker that starts meanwhile holds it too"
        db.engine.dispose()
    monkeypatch.undo()
    unleash.refuses = False
    wait_for(lambda: made(workers[0]) == [])
    assert not any(lets_in(each) for each in workers)
    wait_for(lambda: "note" not in desk.get())  # once each worker has asked again
    assert (desk.get()["enabled"], desk.get()["actor"]) == (False, "pia")


def test_what_unleash_does_not_say_although_it_answers_is_given_up_and_said(
    workers: list[Flask], unleash: OneFlag, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_for(lambda: all(lets_in(each) for each in workers))
    with workers[0].app_context(), write() as session:
        change = pending_changes.record_pending(session, FLAG, [Rollout(False, 100)], "pia", "it hurts")
        pending_changes.mark_made(session, change, 1)
    for each in workers:
        with each.app_context():
            each.extensions["beacon"].flags.load(each.extensions["beacon"].provider.load())
    assert not any(lets_in(each) for each in workers)
    monkeypatch.setattr(pending_changes, "PENDING_EXPIRY_S", -1.0)
    wait_for(lambda: all(lets_in(each) for each in workers))
    with workers[0].app_context(), read() as session:
        query = sa.select(AuditRow).where(AuditRow.action_type == "rollout-seen").order_by(AuditRow.seq.desc())
        entry = session.scalars(query).first()
        assert entry is not None
        assert (entry.actor, json.loads(entry.command_params_json or "{}")) == (
            "Unleash",
            {"reason": "Unleash did not confirm what pia set"},
        )


def test_a_kill_of_what_is_off_there_already_and_nobody_has_heard_of_is_in_force_too(
    workers: list[Flask], unleash: OneFlag
) -> None:
    refuse(workers, unleash)
    unleash.moves(enabled=False)
    assert Desk(workers[0]).put(enabled=False).status_code == 200
    wait_for(lambda: not any(lets_in(each) for each in workers))


def test_where_nothing_has_come_from_unleash_what_lets_people_in_is_refused_before_it_is_written(
    cast: Flask, settings: Settings, unleash: OneFlag
) -> None:
    unleash.refuses = True
    told = {"unleash_url": unleash.url, "unleash_api_token": "x", "unleash_admin_token": "y"}
    app = create_app(settings.model_copy(update=told))
    desk, feed = Desk(app), app.extensions["beacon"].provider.poller
    feed.poll_once()
    feed.stop()
    for wish in ({"percentage": 50}, {"enabled": True}):
        refused = problem(desk.put(**wish), 503)
        assert refused["reason"] == "unleash-silent"
        assert "it rejects BEACON_UNLEASH_API_TOKEN (401)" in refused["detail"]
    assert (unleash.revision, unleash.percentage) == (1, "100")
    assert desk.put(enabled=False).status_code == 200
    assert not unleash.enabled
    with app.app_context():
        db.engine.dispose()


def test_who_should_stream_is_what_was_written_and_not_what_this_worker_still_holds(
    cast: Flask,
) -> None:
    desk = Desk(cast)
    desk.put(percentage=100)
    with cast.app_context():
        cast.extensions["beacon"].flags.load(cast.extensions["beacon"].provider.load())
        desk.put(enabled=False)
        assert lets_in(cast), "it has not followed yet"
        with write() as session:
            now = read_epoch(session)
            session.add(PresenceRow(worker="w", user="ann", count=1, seen=now))
        found = cast.extensions["beacon"].drift.measure()
    assert (found.expected, found.actual, found.streams_outside) == (0, 1, 1)
