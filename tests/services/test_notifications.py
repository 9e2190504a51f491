"""Notifications on a real PostgreSQL: once for each cause, read marks that do not collide."""

import threading

from flask import Flask

from app import create_app
from app.accounts import users
from app.accounts.actors import actor_from_user
from app.config import Settings
from app.db import db, read, write
from app.notifications import marks, queries
from tests.notifications import scene
from tests.support.cast import ALICE, BOB, join
from tests.support.machine import scaled


def test_two_workers_and_two_tabs(app: Flask, settings: Settings) -> None:
    join(app, ALICE, BOB)
    scene.watch(app)
    other = create_app(settings)
    start = threading.Barrier(4)

    def tell(worker: Flask) -> None:
        start.wait(scaled(10))
        for number in range(10):
            scene.notice(worker, "everyone", f"same:{number}", service="mail")

    def read_all(worker: Flask) -> None:
        start.wait(scaled(10))
        for _ in range(5):
            with worker.app_context(), write() as session:
                marks.mark_read(session, actor_from_user(users.find(session, "alice")), None)

    threads = [threading.Thread(target=do, args=(worker,)) for do in (tell, read_all) for worker in (app, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(scaled(30))
    with other.app_context():
        db.engine.dispose()
    assert len(scene.titles(app)) == len(scene.events(app, "notification.created")) == 10
    for status in ("discrepancy", "discrepancy", "discrepancy", "verified"):
        scene.poll(app, status)
    assert scene.titles(app)[-2:] == ["Mail: discrepancy for 3 polls", "Mail is verified again"]
    with app.app_context(), write() as session:
        alice = actor_from_user(users.find(session, "alice"))
        marks.mark_read(session, alice, None)
        marks.mute_service(session, alice, "mail", None)
    with app.app_context(), read() as session:
        assert queries.count_unread(session, alice) == 0
        assert queries.count_unread(session, actor_from_user(users.find(session, "bob"))) == 12
        assert (
            len(queries.search_notifications(session, alice, queries.NotificationFilter("MAIL verified"), 1, 50)[0])
            == 1
        )
