"""The panel, its actions, an operator's message: over HTTP, as browsers and programs ask."""

from datetime import timedelta

import pytest
import sqlalchemy as sa
from flask import Flask
from werkzeug.test import TestResponse

from app.audit.verify import verify
from app.db import read, write
from app.infra.clock import utc_now, utc_text
from app.notifications import notification_retention
from app.notifications.models import Dismissal, FlashRow, Notification, ReadMark
from app.notifications.request_models import MUTE_CHOICES
from tests.notifications import scene
from tests.notifications.scene import csrf, in_minutes, post
from tests.support.cast import ALICE, BOB, CHARLIE, Person, headers_of, join, logged_in

FLASH = {"severity": "warning", "text": "Deploy at three"}


def unread(app: Flask, headers: dict[str, str]) -> int:
    found = app.test_client().get("/notifications", headers=headers)
    assert found.status_code == 200, found.text
    return int(found.json["meta"]["unread"])


class TestFlash:
    def test_an_operators_message_is_kept_told_and_audited(self, cast: Flask) -> None:
        headers = headers_of(cast, BOB, "command")
        body = {**FLASH, "expiresAt": in_minutes(30)}
        sent = cast.test_client().post("/api/flash", json=body, headers=headers)
        assert sent.status_code == 201
        [(audience, told)] = scene.events(cast, "flash.message")
        assert audience == "everyone"
        assert sent.json["id"] in told
        assert scene.titles(cast) == ["Message from bob"]
        with cast.app_context(), read() as session:
            assert verify().broken is None
            row = session.get(FlashRow, sent.json["id"])
            assert row is not None
            assert (row.actor, row.text, row.severity) == ("bob", "Deploy at three", "warning")

    @pytest.mark.parametrize(
        ("change", "status"),
        [
            ({"expiresAt": "2020-01-01T00:00:00Z"}, 400),
            ({"expiresAt": "2099-01-01T00:00:00Z"}, 400),
            ({"expiresAt": "soon"}, 400),
            ({"text": " "}, 400),
            ({"text": "x" * 301}, 400),
            ({"text": "a\0b"}, 400),
            ({"severity": "loud"}, 400),
            ({"extra": 1}, 400),
        ],
    )
    def test_bad_input_is_named(self, cast: Flask, change: dict[str, object], status: int) -> None:
        body = {**FLASH, "expiresAt": in_minutes(30), **change}
        answer = cast.test_client().post("/api/flash", json=body, headers=headers_of(cast, BOB, "command"))
        assert answer.status_code == status
        assert set(answer.json["errors"]) & set(change)

    @pytest.mark.parametrize(("person", "scope"), [(ALICE, "widget"), (BOB, "read"), (BOB, "publish")])
    def test_only_operators_with_the_scope(self, cast: Flask, person: Person, scope: str) -> None:
        body = {**FLASH, "expiresAt": in_minutes(30)}
        answer = cast.test_client().post("/api/flash", json=body, headers=headers_of(cast, person, scope))
        assert answer.status_code == 403

    def test_it_is_in_the_first_render_until_dismissed_or_over(self, cast: Flask) -> None:
        bob, alice = logged_in(cast, BOB), logged_in(cast, ALICE)
        flash_id = post(bob, "/api/flash", {**FLASH, "expiresAt": in_minutes(30)}).json["id"]
        for path in ("/", "/notifications"):
            assert f'id="flash-{flash_id}"' in alice.get(path, headers={"Accept": "text/html"}).text
        token = csrf(alice)
        gone = alice.post(
            "/notifications/dismiss",
            data={"csrf_token": token, "id": flash_id, "next": "/"},
            headers={"Accept": "text/html"},
        )
        assert (gone.status_code, gone.headers["Location"]) == (303, "/")
        assert f'id="flash-{flash_id}"' not in alice.get("/").text
        assert f'data-dismissed="{flash_id}"' in alice.get("/notifications/panel").text
        assert f'id="flash-{flash_id}"' in bob.get("/").text
        with cast.app_context(), write() as session:
            session.get_one(FlashRow, flash_id).expires_at = utc_text(utc_now() - timedelta(seconds=1))
        assert f'id="flash-{flash_id}"' not in bob.get("/").text

    def test_messages_are_bounded(self, cast: Flask) -> None:
        client, headers = cast.test_client(), headers_of(cast, BOB, "command")
        answers = [
            client.post("/api/flash", json={**FLASH, "expiresAt": in_minutes(5)}, headers=headers).status_code
            for _ in range(21)
        ]
        assert answers == [201] * 20 + [409]

    def test_a_form_without_scripts_sends_one(self, cast: Flask) -> None:
        bob = logged_in(cast, BOB)
        form = {"csrf_token": csrf(bob), **FLASH, "minutes": "15", "next": "/notifications"}
        sent = bob.post("/api/flash", data=form, headers={"Accept": "text/html"})
        assert (sent.status_code, sent.headers["Location"]) == (303, "/notifications")
        assert "Deploy at three" in bob.get("/").text


class TestForm:
    """The form on the page, as it is without scripts."""

    def send(self, app: Flask, person: Person = BOB, **fields: str) -> TestResponse:
        browser = logged_in(app, person)
        form = {"csrf_token": csrf(browser), **FLASH, "minutes": "60", **fields}
        return browser.post("/notifications?q=mail", data=form, headers={"Accept": "text/html"})

    def test_it_sends_and_leads_back_to_the_same_view(self, cast: Flask) -> None:
        sent = self.send(cast)
        assert (sent.status_code, sent.headers["Location"]) == (303, "/notifications?q=mail")
        assert len(scene.events(cast, "flash.message")) == 1

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"text": "  "}, "The message is empty: write what everybody should know."),
            ({"text": "x" * 301}, "The message is too long: at most 300 characters."),
            ({"text": "a\0b"}, "The message contains a character that cannot be shown."),
            ({"minutes": "0"}, "Choose how long the message is shown."),
            ({"minutes": "soon"}, "Choose how long the message is shown."),
            ({"minutes": "999999"}, "Not sent: a message must end in the future, within 7 days."),
            ({"severity": "loud"}, "Choose a severity."),
        ],
    )
    def test_what_is_wrong_is_said_and_what_was_typed_is_kept(
        self, cast: Flask, fields: dict[str, str], words: str
    ) -> None:
        refused = self.send(cast, **fields)
        assert refused.status_code == 400
        assert f'role="alert" data-state="error">{words}</p>' in refused.text
        assert f'value="{fields.get("text", FLASH["text"])}" aria-describedby="send-wrong"' in refused.text
        assert ('aria-invalid="true"' in refused.text) == ("text" in fields)
        assert f'value="{fields.get("severity", "warning")}" selected' in refused.text or "severity" in fields
        assert 'action="/notifications?q=mail"' in refused.text
        assert scene.events(cast, "flash.message") == []

    def test_a_viewer_cannot(self, cast: Flask) -> None:
        assert self.send(cast, ALICE).status_code == 403

    def test_one_too_many_is_kept_for_later(self, cast: Flask) -> None:
        headers = headers_of(cast, BOB, "command")
        for _ in range(20):
            body = {**FLASH, "expiresAt": in_minutes(5)}
            assert cast.test_client().post("/api/flash", json=body, headers=headers).status_code == 201
        refused = self.send(cast)
        assert refused.status_code == 409
        assert "20 messages are shown already" in refused.text
        assert 'value="Deploy at three" aria-describedby' in refused.text

    def test_a_program_that_posts_there_gets_a_problem(self, cast: Flask) -> None:
        refused = post(logged_in(cast, BOB), "/notifications", {**FLASH, "text": ""})
        assert (refused.status_code, refused.content_type) == (400, "application/problem+json")


class TestReading:
    def test_marks_are_each_persons_own_and_the_other_tabs_hear(self, cast: Flask) -> None:
        scene.notice(cast, "everyone")
        alice, charlie = headers_of(cast, ALICE, "widget"), headers_of(cast, CHARLIE, "widget")
        assert (unread(cast, alice), unread(cast, charlie)) == (1, 1)
        answer = cast.test_client().post("/notifications/read", json={"all": True}, headers=alice)
        assert answer.json == {"unread": 0}
        assert (unread(cast, alice), unread(cast, charlie)) == (0, 1)
        assert scene.events(cast, "notification.changed") == [("user:alice", "{}")]

    def test_reading_twice_says_nothing_twice(self, cast: Flask) -> None:
        scene.notice(cast, "everyone")
        alice = headers_of(cast, ALICE, "widget")
        [item] = cast.test_client().get("/notifications", headers=alice).json["data"]
        for _ in range(2):
            answer = cast.test_client().post("/notifications/read", json={"ids": [item["id"]]}, headers=alice)
            assert answer.json == {"unread": 0}
        assert len(scene.events(cast, "notification.changed")) == 1

    @pytest.mark.parametrize("body", [{}, {"ids": [1], "all": True}, {"ids": ["x"]}, {"ids": "1"}, {"ids": [0]}, []])
    def test_bad_input(self, cast: Flask, body: object) -> None:
        alice = headers_of(cast, ALICE, "widget")
        assert cast.test_client().post("/notifications/read", json=body, headers=alice).status_code == 400

    def test_what_was_said_before_somebody_came_is_no_news(self, app: Flask) -> None:
        scene.notice(app, "everyone")
        with app.app_context(), write() as session:
            session.query(Notification).update({"created_at": "2026-01-01T00:00:00.000Z"})
        join(app, ALICE)
        assert unread(app, headers_of(app, ALICE, "read")) == 0


class TestMuting:
    def test_a_muted_service_does_not_count_until_it_is_heard_again(self, cast: Flask) -> None:
        scene.watch(cast)
        alice, reads = logged_in(cast, ALICE), headers_of(cast, ALICE, "read")
        scene.notice(cast, "everyone", service="mail")
        assert post(alice, "/notifications/mute", {"service": "mail", "until": in_minutes(60)}).status_code == 200
        scene.notice(cast, "everyone", "test:2", service="mail")
        scene.notice(cast, "everyone", "test:3")
        assert unread(cast, reads) == 1
        assert "muted until" in alice.get("/notifications/panel").text
        assert post(alice, "/notifications/mute", {"service": "mail", "until": None}).status_code == 200
        assert unread(cast, reads) == 3

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            ({"service": "nothing", "until": None}, 404),
            ({"service": "mail"}, 400),
            ({"service": "mail", "until": "2099-01-01T00:00:00Z"}, 400),
        ],
    )
    def test_bad_input(self, cast: Flask, body: dict[str, object], status: int) -> None:
        scene.watch(cast)
        assert post(logged_in(cast, ALICE), "/notifications/mute", body).status_code == status

    def test_the_page_says_until_when_and_undoes_it(self, cast: Flask) -> None:
        scene.watch(cast)
        alice, charlie = logged_in(cast, ALICE), logged_in(cast, CHARLIE)
        page = alice.get("/notifications", headers={"Accept": "text/html"}).text
        assert [words for _, words in MUTE_CHOICES if f">{words}</option>" in page] == [
            "1 hour",
            "8 hours",
            "1 day",
            "1 week",
        ]
        form = {"csrf_token": csrf(alice), "service": "mail", "minutes": "60"}
        alice.post("/notifications/mute", data=form, headers={"Accept": "text/html"})
        assert "muted until <time" in alice.get("/notifications", headers={"Accept": "text/html"}).text
        assert "muted until <time" not in charlie.get("/notifications", headers={"Accept": "text/html"}).text
        alice.post("/notifications/mute", data={**form, "minutes": "0"}, headers={"Accept": "text/html"})
        assert "muted until <time" not in alice.get("/notifications", headers={"Accept": "text/html"}).text

    def test_what_a_muted_service_causes_is_listed_and_marked(self, cast: Flask) -> None:
        scene.watch(cast)
        post(logged_in(cast, ALICE), "/notifications/mute", {"service": "mail", "until": in_minutes(60)})
        scene.notice(cast, "everyone", service="mail")
        [item] = cast.test_client().get("/notifications", headers=headers_of(cast, ALICE, "read")).json["data"]
        assert (item["muted"], item["read"]) == (True, False)
        [heard] = cast.test_client().get("/notifications", headers=headers_of(cast, CHARLIE, "read")).json["data"]
        assert heard["muted"] is False


class TestPage:
    def test_the_address_finds(self, cast: Flask) -> None:
        scene.watch(cast)
        scene.notice(cast, "everyone", "a", "Mail is slow", severity="warning", service="mail")
        scene.notice(cast, "everyone", "b", "100 % done")
        client, reads = cast.test_client(), headers_of(cast, ALICE, "read")

        def found(query: str) -> list[str]:
            answer = client.get(f"/notifications?{query}", headers=reads)
            return [item["title"] for item in answer.json["data"]]

        assert found("") == ["100 % done", "Mail is slow"]
        assert found("q=SLOW+mail") == ["Mail is slow"]
        assert found("q=%25") == ["100 % done"]
        assert found("severity=warning") == found("service=mail") == ["Mail is slow"]
        assert found("limit=1&page=2") == ["Mail is slow"]
        assert client.get("/notifications?severity=x", headers=reads).status_code == 400

    def test_other_pages_keep_the_whole_view(self, cast: Flask) -> None:
        for number in range(3):
            scene.notice(cast, "everyone", f"page:{number}")
        page = (
            logged_in(cast, ALICE).get("/notifications?q=command&limit=1&page=2", headers={"Accept": "text/html"}).text
        )
        assert 'href="/notifications?q=command&amp;limit=1">Newer</a>' in page
        assert 'href="/notifications?q=command&amp;page=3&amp;limit=1">Older</a>' in page
        assert 'id="notifications-new" href="/notifications?q=command&amp;limit=1" hidden' in page

    def test_it_works_by_plain_forms(self, cast: Flask) -> None:
        scene.notice(cast, "user:alice")
        alice = logged_in(cast, ALICE)
        page = alice.get("/notifications?q=command", headers={"Accept": "text/html"}).text
        assert "Your command ended" in page
        assert 'name="next" value="/notifications?q=command"' in page
        form = {"csrf_token": csrf(alice), "all": "1", "next": "//elsewhere"}
        done = alice.post("/notifications/read", data=form, headers={"Accept": "text/html"})
        assert (done.status_code, done.headers["Location"]) == (303, "/notifications")
        assert "(unread)" not in alice.get("/notifications/panel").text

    def test_a_viewer_sees_why_they_may_not_send(self, cast: Flask) -> None:
        page = logged_in(cast, ALICE).get("/notifications", headers={"Accept": "text/html"}).text
        assert "Sending needs the role operator; you are viewer." in page


def test_old_ones_go_with_their_marks(cast: Flask) -> None:
    scene.notice(cast, "everyone")
    scene.notice(cast, "everyone", "test:2", "newer")
    alice = headers_of(cast, ALICE, "widget")
    cast.test_client().post("/notifications/read", json={"all": True}, headers=alice)
    with cast.app_context(), write() as session:
        session.get_one(Notification, 1).created_at = "2026-01-01T00:00:00.000Z"
    with cast.app_context():
        notification_retention.prune(7)
    assert scene.titles(cast) == ["newer"]
    with cast.app_context(), read() as session:
        assert list(session.scalars(sa.select(ReadMark.notification_id))) == [2]


def test_old_messages_go_with_whoever_has_put_them_away(cast: Flask) -> None:
    bob = logged_in(cast, BOB)
    old, newer = (post(bob, "/api/flash", {**FLASH, "expiresAt": in_minutes(5)}).json["id"] for _ in range(2))
    for flash_id in (old, newer):
        assert post(bob, "/notifications/dismiss", {"id": flash_id}).status_code == 200
    with cast.app_context(), write() as session:
        session.get_one(FlashRow, old).expires_at = "2026-01-01T00:00:00.000Z"
    with cast.app_context():
        notification_retention.prune(7)
    with cast.app_context(), read() as session:
        assert list(session.scalars(sa.select(FlashRow.id))) == [newer]
        assert list(session.scalars(sa.select(Dismissal.flash_id))) == [newer]


def test_a_widget_gets_nothing_while_it_shows_what_there_is_and_everything_once_that_has_changed(cast: Flask) -> None:
    browser, path = logged_in(cast, ALICE), "/widgets/notifications/content"
    scene.notice(cast, "user:alice", "v:1", "First")
    seen = [browser.get(path)]
    changes = (
        lambda: scene.notice(cast, "user:alice", "v:2", "Second"),
        lambda: post(browser, "/notifications/read", {"all": True}),
    )
    for change in changes:
        version = {"If-None-Match": seen[-1].headers["ETag"]}
        same = browser.get(path, headers=version)
        assert (same.status_code, same.data) == (304, b"")
        change()
        seen.append(browser.get(path, headers=version))
    assert [answer.status_code for answer in seen] == [200, 200, 200]
    assert [answer.text.count('class="dot"') for answer in seen] == [1, 2, 0]
    other = logged_in(cast, ALICE).get(path, headers={"If-None-Match": seen[-1].headers["ETag"]})
    assert other.status_code == 200  # its forms have another token
