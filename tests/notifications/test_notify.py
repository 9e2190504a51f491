"""From what happens to rows and events: in one commit, once for each cause, whoever appends."""

import threading

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session
from werkzeug.routing import Map

from app import create_app
from app.config import Settings
from app.db import db, read, write
from app.eventlog.append import NewEvent, append
from app.flags import embedded
from app.flags.evaluation import Flag
from app.notifications import notice_text, notify
from app.notifications.models import Notification
from tests.notifications import scene
from tests.support.machine import scaled


@pytest.fixture
def watching(cast: Flask) -> Flask:
    scene.watch(cast)
    return cast


def test_a_single_blip_tells_nobody(watching: Flask) -> None:
    for status in ("discrepancy", "verified", "discrepancy", "verified"):
        scene.poll(watching, status)
    assert scene.titles(watching) == []
    assert scene.events(watching, "notification.created") == []


def test_three_polls_make_one_notification_and_its_end_another(watching: Flask) -> None:
    scene.poll(watching, "discrepancy")
    scene.poll(watching, "discrepancy", changed=False)
    assert scene.titles(watching) == []
    for _ in range(3):
        scene.poll(watching, "discrepancy", changed=False)
    assert scene.titles(watching) == ["Mail: discrepancy for 3 polls"]
    scene.poll(watching, "verified")
    scene.poll(watching, "verified", changed=False)
    assert scene.titles(watching) == ["Mail: discrepancy for 3 polls", "Mail is verified again"]
    assert [audience for audience, _ in scene.events(watching, "notification.created")] == ["everyone"] * 2


def test_checks_of_other_services_do_not_count(watching: Flask) -> None:
    scene.watch(watching, "web", "Web")
    scene.poll(watching, "discrepancy")
    scene.poll(watching, "verified", "web")
    for _ in range(5):
        scene.poll(watching, "verified", "web", changed=False)
    assert scene.titles(watching) == []


def test_every_change_of_the_rollout_tells_people(cast: Flask) -> None:
    for percentage in (10, 50):
        with cast.app_context(), write() as session:
            embedded.change_rollout(session, Flag.SSE_STREAMING, "pia", "step by step", percentage)
    assert scene.titles(cast) == ["enable_sse_streaming is on for 10 %", "enable_sse_streaming is on for 50 %"]


def links(app: Flask) -> list[str | None]:
    with app.app_context(), read() as session:
        return list(session.scalars(sa.select(Notification.link).order_by(Notification.id)))


def test_a_change_of_the_rollout_links_to_its_page_as_soon_as_there_is_one(settings: Settings, cast: Flask) -> None:
    def change(app: Flask, percentage: int) -> None:
        with app.app_context(), write() as session:
            embedded.change_rollout(session, Flag.SSE_STREAMING, "pia", "step by step", percentage)

    without, with_page = create_app(settings), create_app(settings)
    without.url_map = Map([rule.empty() for rule in without.url_map.iter_rules() if rule.rule != "/rollout"])
    if not any(rule.rule == "/rollout" for rule in with_page.url_map.iter_rules()):
        with_page.add_url_rule("/rollout", "rollout_page", str)
    change(without, 10)
    change(with_page, 20)
    assert links(cast) == [None, "/rollout"]
    for app in (without, with_page):
        with app.app_context():
            db.engine.dispose()


def test_a_cause_that_is_rolled_back_leaves_nothing(cast: Flask) -> None:
    def half() -> None:
        with write() as session:
            embedded.change_rollout(session, Flag.SSE_STREAMING, "pia", "step by step", 10)
            raise RuntimeError

    with cast.app_context(), pytest.raises(RuntimeError):
        half()
    assert scene.titles(cast) == []
    assert scene.events(cast, "flag.changed") == []


def test_a_rule_that_fails_does_not_keep_its_cause_from_the_log(
    cast: Flask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_session: Session, _data: object) -> list[notice_text.NewNotification]:
        raise ZeroDivisionError

    monkeypatch.setitem(notify.RULES, "flag.changed", broken)
    with cast.app_context(), write() as session:
        embedded.change_rollout(session, Flag.SSE_STREAMING, "pia", "step by step", 10)
    assert len(scene.events(cast, "flag.changed")) == 1
    assert "creating notifications failed; event types: flag.changed" in caplog.text


def test_the_ids_that_append_returns_are_those_of_its_own_events(cast: Flask) -> None:
    with cast.app_context(), write() as session:
        change = {"flag": "f", "enabled": True, "percentage": 1, "actor": "pia", "reason": "r", "cause": "manual"}
        change["kind"] = "set"
        ids = append(session, [NewEvent("flag.changed", change), NewEvent("other", {})])
    assert len(ids) == 2
    assert len(scene.events(cast, "notification.created")) == 1


def test_two_workers_with_the_same_cause_make_one_notification(watching: Flask, settings: Settings) -> None:
    other = create_app(settings)
    start = threading.Barrier(2)

    def tell(app: Flask) -> None:
        start.wait(scaled(5))
        for number in range(10):
            scene.notice(app, "everyone", cause=f"same:{number}")

    workers = [threading.Thread(target=tell, args=(app,)) for app in (watching, other)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(scaled(20))
    with other.app_context():
        db.engine.dispose()
    assert len(scene.titles(watching)) == 10
    assert len(scene.events(watching, "notification.created")) == 10
