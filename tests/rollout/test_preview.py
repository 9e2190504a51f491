"""Who of the people online would switch, by name, both ways."""

from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from app.db import now_epoch, write
from app.flags.document import Flag
from app.flags.models import PollingRow
from app.stream.models import PresenceRow
from tests.rollout.test_rollout_api import URL, problem
from tests.support.cast import ALICE, BOB, CHARLIE, PIA, Person, headers_of, logged_in
from tests.support.waiting import wait_for


def preview(app: Flask, person: Person = PIA, **query: Any) -> Any:
    scopes = ("rollout",) if person is PIA else ("read",)
    return app.test_client().get(f"{URL}/preview", query_string=query, headers=headers_of(app, person, *scopes))


def polls(app: Flask, *people: Person) -> None:
    """Each in a browser of their own."""
    for person in people:
        answer = logged_in(app, person).get("/api/events/frames?after=0")
        assert answer.status_code == 200, answer.text


def put(app: Flask, percentage: int) -> None:
    body = {"percentage": percentage, "reason": "for the test"}
    assert app.test_client().put(URL, json=body, headers=headers_of(app, PIA, "rollout")).status_code == 200
    flags = app.extensions["beacon"].flags
    wait_for(lambda: f'"rollout": "{percentage}"' in (flags.configuration or ""))


def test_whoever_polls_is_named_both_ways(live_app: Flask) -> None:
    polls(live_app, ALICE, BOB)
    down = preview(live_app, percentage=0).get_json()
    assert (down["goes"], down["comes"], down["online"]) == (["alice", "bob"], [], 2)
    put(live_app, 0)
    up = preview(live_app, percentage=100).get_json()
    assert (up["comes"], up["goes"], up["comesTotal"], up["goesTotal"]) == (["alice", "bob"], [], 2, 0)


@pytest.mark.parametrize("path", ["/api/events/frames?after=0", "/api/events?after=0"])
def test_a_program_counts_when_it_would_come_as_it_does_when_it_would_go(live_app: Flask, path: str) -> None:
    """Its stream ends when its user goes out, whatever the credential: it then reads by polling."""

    def reads() -> None:
        assert live_app.test_client().get(path, headers=headers_of(live_app, ALICE, "read")).status_code == 200

    polls(live_app, BOB)
    reads()
    down = preview(live_app, percentage=0).get_json()
    assert (down["goes"], down["online"]) == (["alice", "bob"], 2)
    put(live_app, 0)
    up = preview(live_app, percentage=100).get_json()
    assert (up["comes"], up["online"]) == (["alice", "bob"], 2)


def test_whoever_polls_as_a_page_and_as_a_program_is_one_person(live_app: Flask) -> None:
    polls(live_app, ALICE)
    live_app.extensions["beacon"].online_users.note_poll("alice", as_program=True)
    assert preview(live_app, percentage=0).get_json()["goes"] == ["alice"]


def test_whoever_streams_counts_and_whoever_left_does_not(live_app: Flask) -> None:
    with live_app.app_context(), write() as session:
        now = session.scalar(now_of())
        session.add(PresenceRow(worker="other", user="charlie", count=1, seen=now))
        session.add(PresenceRow(worker="dead", user="zoe", count=1, seen=now - 30))
        session.add(PollingRow(user="yan", seen=now - 61))
    assert preview(live_app, percentage=0).get_json()["goes"] == [CHARLIE.name]


def test_the_names_are_those_that_then_are_in(live_app: Flask) -> None:
    with live_app.app_context(), write() as session:
        now = session.scalar(now_of())
        session.add_all(PollingRow(user=f"user{number}", seen=now) for number in range(300))
    put(live_app, 10)
    shown = preview(live_app, percentage=50).get_json()
    flags = live_app.extensions["beacon"].flags
    people = [f"user{number}" for number in range(300)]
    before = {user for user in people if flags.is_enabled(Flag.SSE_STREAMING, user)}
    put(live_app, 50)
    after = {user for user in people if flags.is_enabled(Flag.SSE_STREAMING, user)}
    assert (set(shown["comes"]), shown["goes"]) == (after - before, [])


def test_at_most_200_names_and_the_number_of_all(live_app: Flask) -> None:
    with live_app.app_context(), write() as session:
        now = session.scalar(now_of())
        session.add_all(PollingRow(user=f"user{number:03}", seen=now) for number in range(250))
    shown = preview(live_app, percentage=0).get_json()
    assert (len(shown["goes"]), shown["goesTotal"]) == (200, 250)


@pytest.mark.parametrize("percentage", ["", "-1", "101", "5.0", "x", "٣", "1000"])
def test_a_bad_percentage_is_named(live_app: Flask, percentage: str) -> None:
    assert list(problem(preview(live_app, percentage=percentage), 400)["errors"]) == ["percentage"]


def test_names_are_for_those_who_may_set_it(live_app: Flask) -> None:
    assert problem(preview(live_app, ALICE, percentage=5), 403)["reason"] == "role"


def now_of() -> sa.Select[float]:
    return sa.select(now_epoch())
