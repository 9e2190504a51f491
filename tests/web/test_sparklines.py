"""The last hour as a line and a sentence: gaps stay gaps, and nothing is claimed beyond the samples."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask

from app.db import db, read, write
from app.eventlog.append import NewEvent
from app.eventlog.reader import Event
from app.infra.clock import utc_now, utc_text
from app.reconciliation.models import CheckSample
from app.web.dashboard.annotations import Annotation, AnnotationReader
from app.web.dashboard.board import MIN_DENSE_SERVICES, Board
from app.web.dashboard.sparklines import AREA, NO_TREND, POINTS, TrendReader, build_trend
from app.web.dashboard.view_models import Tile
from tests.support.cast import ALICE, logged_in, publish
from tests.web.payloads import discrepancy, update
from tests.web.test_pages import watch

NOW = datetime(2026, 11, 21, 12, 30, 15, tzinfo=UTC)


def failed(*numbers: int | None) -> list[dict[str, int] | None]:
    return [None if number is None else {"failed": number} for number in numbers]


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ((12, 20, 40), "failed rising, 12 → 40 in 2 min"),
        ((40, None, 12), "failed falling, 40 → 12 in 2 min"),
        ((3, 3, 3), "failed steady at 3"),
        ((3, 9, 3), "failed back at 3"),
        ((None, 7), "failed at 7"),
        ((12_000, 1), "failed falling, 12.0k → 1 in 1 min"),
    ],
)
def test_the_sentence_says_where_it_began_and_where_it_stands(numbers: tuple[int | None, ...], words: str) -> None:
    assert build_trend(failed(*numbers)).words == words


def test_what_failed_is_told_before_what_waits() -> None:
    assert (
        build_trend([{"queued": 9, "failed": 0}, {"queued": 3, "failed": 1}]).words == "failed rising, 0 → 1 in 1 min"
    )
    assert build_trend([{"queued": 9, "failed": 0}, {"queued": 3}]).words == "waiting falling, 9 → 3 in 1 min"


def test_a_gap_is_no_line() -> None:
    assert build_trend(failed(1, 2, None, 3, None, 4, 5)).lines == ("M2 18L21 14", "M60 10h1", "M99 6L118 2")


def test_the_line_stays_in_its_box_and_begins_at_zero() -> None:
    found = build_trend(failed(*range(POINTS)))
    places = [(float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.]+)", found.lines[0])]
    assert len(places) == POINTS
    assert places[0] == (AREA.margin, AREA.height - AREA.margin)
    assert places[-1] == found.last == (AREA.width - AREA.margin, AREA.margin)


def test_without_samples_there_is_no_line() -> None:
    assert build_trend([None] * POINTS) == NO_TREND


def add_samples(app: Flask, service: str, *samples: tuple[timedelta, int, bool]) -> None:
    with app.app_context(), write() as session:
        for ago, number, ok in samples:
            at, counts = utc_text(NOW - ago), json.dumps({"failed": number})
            session.add(CheckSample(service_id=service, at=at, ok=ok, latency_ms=1, counts_json=counts))


def test_each_minute_takes_the_newest_answered_check_of_the_last_hour(app: Flask) -> None:
    minute = timedelta(minutes=1)
    add_samples(
        app, "mail", (61 * minute, 99, True), (2 * minute, 1, True), (2 * minute - timedelta(seconds=9), 2, True)
    )
    add_samples(app, "mail", (minute, 50, False), (timedelta(), 4, True))
    with app.app_context():
        assert TrendReader().load(db.session(), NOW)["mail"].words == "failed rising, 2 → 4 in 2 min"


def test_an_answer_whose_figures_were_not_believed_is_a_gap_and_no_zero(app: Flask) -> None:
    minute = timedelta(minutes=1)
    add_samples(app, "mail", (2 * minute, 4, True))
    with app.app_context(), write() as session:
        told = {"service_id": "mail", "ok": True, "latency_ms": 1, "counts_json": "{}"}
        session.add(CheckSample(at=utc_text(NOW), status="stale", **told))
    with app.app_context():
        assert TrendReader().load(db.session(), NOW)["mail"].words == "failed at 4 until 2 min ago"


def test_a_minute_that_is_over_is_read_once(app: Flask) -> None:
    minute, trends = timedelta(minutes=1), TrendReader()
    add_samples(app, "mail", (minute, 1, True))
    with app.app_context():
        trends.load(db.session(), NOW)
    add_samples(app, "mail", (minute, 9, True), (timedelta(), 3, True))
    with app.app_context():
        assert trends.load(db.session(), NOW)["mail"].words == "failed rising, 1 → 3 in 1 min"
        assert trends.load(db.session(), NOW + 90 * minute) == {}


def test_a_tile_shows_its_hour_and_the_partial_the_same(cast: Flask) -> None:
    watch(cast, "mail", update())
    add_now(cast, "mail")
    client = logged_in(cast, ALICE)
    for path in ("/", "/services/mail", "/trends"):
        text = client.get(path).text
        assert "<title>failed at 3; at most 3 in the last hour.</title>" in text
        assert 'id="trend-mail"' in text


def test_of_many_services_the_verified_ones_are_lines_without_a_graph() -> None:
    tiles = [Tile.from_payload(f"s{number}", "S", update()) for number in range(MIN_DENSE_SERVICES - 1)]
    wrong = Tile.from_payload("wrong", "W", discrepancy("x"))
    trends = {tile.service_id: build_trend(failed(1)) for tile in [*tiles, wrong]}
    few, many = Board.from_tiles(tiles, trends), Board.from_tiles([*tiles, wrong], trends)
    assert (few.is_dense, len(few.trends)) == (False, MIN_DENSE_SERVICES - 1)
    assert (many.is_dense, many.verified_count, set(many.trends)) == (True, MIN_DENSE_SERVICES - 1, {"wrong"})


@pytest.mark.parametrize(
    "limit",
    [
        {"countsOnly": ["queued"]},
        {"findings": [{"kind": "no-worker", "jobIds": [], "since": "2026-11-21T12:03:05.000Z", "count": 3}]},
        {"findings": [{"kind": "unreadable", "jobIds": [], "since": "2026-11-21T12:03:05.000Z", "count": 3}]},
    ],
)
def test_of_many_services_a_verified_one_that_was_not_wholly_checked_stays_a_tile(limit: dict[str, Any]) -> None:
    limited = Tile.from_payload("limited", "L", update(**limit))
    board = Board.from_tiles([limited, Tile.from_payload("s", "S", update())], {})
    assert (limited.shown_in_full, board.verified_count) == (True, 1)


def test_what_was_changed_on_purpose_is_marked_at_its_minute_and_said() -> None:
    found = build_trend(failed(*range(POINTS)), [(59, "deploy done"), (0, "rollout 25 %")])
    assert [(mark.x, mark.label) for mark in found.marks] == [
        (AREA.margin, "deploy done"),
        (AREA.width - AREA.margin, "rollout 25 %"),
    ]
    assert found.sentence.endswith("Changes: deploy done 59 min ago, rollout 25 % 0 min ago.")


def test_only_the_newest_changes_are_marked() -> None:
    found = build_trend(failed(*range(12)), [(ago, f"step {ago}") for ago in range(9, -1, -1)])
    assert [mark.label for mark in found.marks] == ["step 3", "step 2", "step 1", "step 0"]


BY_HAND = {"actor": "pia", "reason": "a try", "cause": "manual", "kind": "set"}


def test_rollout_steps_and_deploys_of_the_log_are_marked_where_they_belong(cast: Flask) -> None:
    for service in ("mail", "invoices"):
        watch(cast, service, update(service))
        add_now(cast, service)
    flag = {"flag": "enable_sse_streaming", "enabled": True, "percentage": 25, **BY_HAND}
    publish(
        cast,
        NewEvent("deploy.done", {"service": "invoices", "version": "4.12"}),
        NewEvent("deploy.secret", {}, audience="role:admin"),
        NewEvent("flag.changed", flag),
        NewEvent("flag.changed", {**flag, "enabled": False}),
        NewEvent("deployment.other", {}),
    )
    client = logged_in(cast, ALICE)
    for _ in range(2):  # the second look reads only what is new, and still knows the rest
        page = client.get("/trends").text
        marks = {key: re.findall(r'class="mark"[^>]*><title>([^<]+)', text) for key, text in by_service(page).items()}
        rollout = ["rollout 25 %", "rollout off"]
        assert marks == {"mail": rollout, "invoices": ["deploy done", *rollout]}


def test_what_is_told_of_a_flag_that_stays_where_it_is_is_no_turn(app: Flask) -> None:
    flag = {"flag": "enable_sse_streaming", "enabled": True, "percentage": 50, **BY_HAND}
    held, off = {**flag, "cause": "guardrail", "kind": "held"}, {**flag, "enabled": False}
    with app.app_context():
        annotations = AnnotationReader()
        for events, words in (
            ([flag, held], ["rollout 50 %"]),
            ([{**flag, "cause": "plan", "kind": "paused"}], ["rollout 50 %"]),
            (
                [{**flag, "outcome": "parent checkout is off: nobody is in", "nobodyIn": True}, flag],
                ["rollout 50 %", "rollout: nobody in", "rollout 50 %"],
            ),
            (
                [off, {**off, "percentage": 40}, flag, held],
                ["rollout 50 %", "rollout: nobody in", "rollout 50 %", "rollout off", "rollout 50 %"],
            ),
        ):
            publish(app, *(NewEvent("flag.changed", event) for event in events))
            with read() as session:
                assert [one.label for one in annotations.load(session, utc_now())] == words


def test_a_change_from_before_it_had_a_kind_is_marked_by_its_words() -> None:
    old = {"flag": "f", "enabled": True, "percentage": 50, "outcome": "parent checkout is off: nobody is in"}
    now = {**old, "cause": "unleash", "kind": "set"}

    def label(data: dict[str, Any]) -> str:
        return Annotation.from_event(Event(1, "flag.changed", "everyone", data, utc_text())).label

    assert [label(old), label({**old, "outcome": None}), label(now)] == ["rollout: nobody in", *["rollout 50 %"] * 2]


def test_an_hour_later_a_change_is_forgotten(app: Flask) -> None:
    with app.app_context():
        publish(app, NewEvent("deploy.done", {}))
        annotations, now = AnnotationReader(), utc_now()
        assert [one.label for one in annotations.load(db.session(), now)] == ["deploy done"]
        assert annotations.load(db.session(), now + timedelta(minutes=61)) == ()


def by_service(page: str) -> dict[str, str]:
    return dict(re.findall(r'<div id="trend-(\w+)">(.*?)</div>', page, re.DOTALL))


def add_now(app: Flask, service: str) -> None:
    with app.app_context(), write() as session:
        session.add(CheckSample(service_id=service, at=utc_text(), ok=True, latency_ms=1, counts_json='{"failed": 3}'))
