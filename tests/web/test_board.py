"""The services of the dashboard: filtered, sorted, grouped, as tiles or as a table, by address and cookie alone."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from app.db import write
from app.reconciliation.models import Service
from app.web.dashboard.board import MIN_ARRANGED_SERVICES, MIN_DENSE_SERVICES, Board, View, matches_state
from app.web.dashboard.board_query import STATE_CHOICES, BoardQuery, parse_board_query
from app.web.dashboard.view_models import Tile
from tests.support.cast import ALICE, csrf_token, logged_in
from tests.web.payloads import discrepancy, update
from tests.web.test_weight import fill

# tests/js/pages/board_rules.test.js reads the same table: the page and its scripts may not disagree.
FILTERS = json.loads((Path(__file__).parent / "board_filters.json").read_text())
STATES = ("discrepancy", "stale", "unknown", "verified")


def tile(name: str, kind: str = "palantir", is_aged: bool = False, **counts: int) -> Tile:
    payload = update(name, counts=counts)
    return Tile.from_payload(name, name.title(), payload, is_aged=is_aged, kind=kind)


MAIL = Tile.from_payload("mail", "Mail", discrepancy("job_1"), kind="rq")
TILES = [
    tile("alpha", queued=3, failed=2),
    tile("beta", "rq", is_aged=True, queued=900, failed=900),
    tile("gamma", queued=40, failed=0),
    MAIL,
    tile("zeta", "celery", queued=0, failed=7),
]


def arrange(view: View = "auto", failing: tuple[str, ...] = (), **args: str) -> Board:
    return Board.arrange(TILES, {}, parse_board_query(args), view, failing)


def names(board: Board) -> list[str]:
    return [tile.service_id for tile in board.shown]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ({}, ["alpha", "beta", "gamma", "mail", "zeta"]),
        ({"name": " ETA"}, ["beta", "zeta"]),
        ({"kind": "rq"}, ["beta", "mail"]),
        ({"state": "stale"}, ["beta"]),
        ({"state": "failing"}, ["zeta"]),
        ({"state": "wrong"}, ["beta", "mail", "zeta"]),
        ({"state": "verified", "name": "a", "kind": "palantir"}, ["alpha", "gamma"]),
        ({"state": "purple", "by": "colour", "group": "size"}, ["alpha", "beta", "gamma", "mail", "zeta"]),
        ({"by": "worst"}, ["mail", "zeta", "beta", "alpha", "gamma"]),
        ({"by": "failed", "name": "a"}, ["mail", "zeta", "alpha", "gamma", "beta"]),
        ({"by": "waiting", "name": "a"}, ["gamma", "mail", "alpha", "zeta", "beta"]),
    ],
    ids=str,
)
def test_services_are_filtered_and_sorted_and_an_unknown_count_comes_last(
    args: dict[str, str], expected: list[str]
) -> None:
    board = arrange(failing=("zeta",), **args)
    assert names(board) == expected
    assert sorted([*names(board), *(tile.service_id for tile in board.hidden)]) == [one.service_id for one in TILES]


@pytest.mark.parametrize("case", FILTERS, ids=lambda case: f"{case['wanted'] or 'all'}-{case['failing']}")
def test_a_filter_by_state_shows_these(case: dict[str, Any]) -> None:
    assert [one for one in STATES if matches_state(one, case["failing"], case["wanted"])] == case["matching"]


def test_the_table_of_filters_has_every_choice_with_and_without_failing_jobs() -> None:
    expected = {(wanted, failing) for wanted in ("", *STATE_CHOICES) for failing in (False, True)}
    assert {(case["wanted"], case["failing"]) for case in FILTERS} == expected


def test_most_running_counts_what_each_kind_of_service_calls_so() -> None:
    tiles = [tile("alpha", running=3), tile("beta", "rq", started=5), tile("gamma", queued=9)]
    board = Board.arrange(tiles, {}, parse_board_query({"by": "running"}), "auto", ())
    assert names(board) == ["beta", "alpha", "gamma"]


def test_groups_by_state_begin_with_the_worst_and_groups_by_kind_with_the_first() -> None:
    by_state = {group.title: [tile.service_id for tile in group.tiles] for group in arrange(group="state").groups}
    assert list(by_state.items()) == [
        ("Discrepancy", ["mail"]),
        ("Stale", ["beta"]),
        ("Verified", ["alpha", "gamma", "zeta"]),
    ]
    assert [group.title for group in arrange(group="kind").groups] == ["celery", "palantir", "rq"]


def test_only_a_service_whose_state_can_change_may_match_later() -> None:
    board = arrange(state="discrepancy", name="a", kind="palantir")
    assert (names(board), board.nearly) == ([], {"alpha", "gamma"})


@pytest.mark.parametrize(
    ("number", "view", "query", "layout"),
    [
        (MIN_DENSE_SERVICES - 1, "auto", BoardQuery(), "tiles"),
        (MIN_DENSE_SERVICES, "auto", BoardQuery(), "mixed"),
        (MIN_DENSE_SERVICES, "auto", BoardQuery(by="worst"), "table"),
        (MIN_DENSE_SERVICES, "tiles", BoardQuery(), "tiles"),
        (MIN_ARRANGED_SERVICES, "table", BoardQuery(), "table"),
        (MIN_ARRANGED_SERVICES - 1, "table", BoardQuery(), "tiles"),
    ],
)
def test_the_layout_follows_the_number_until_somebody_chooses(
    number: int, view: View, query: BoardQuery, layout: str
) -> None:
    board = Board.arrange([tile(f"s{n}") for n in range(number)], {}, query, view, ())
    assert board.layout == layout


@pytest.mark.parametrize(
    ("number", "path", "controls", "link"),
    [(7, "/", 0, 0), (8, "/", 0, 1), (8, "/?arrange=1", 1, 0), (7, "/?by=worst", 1, 0), (24, "/", 1, 0)],
)
def test_the_controls_stay_out_of_the_way_of_few_services(
    cast: Flask, number: int, path: str, controls: int, link: int
) -> None:
    fill(cast, number)
    text = logged_in(cast, ALICE).get(path).text
    assert (text.count('class="board-form"'), text.count("Filter and arrange services")) == (controls, link)


def test_a_filter_hides_tiles_but_neither_a_problem_nor_its_age(cast: Flask) -> None:
    fill(cast, 30)
    text = logged_in(cast, ALICE).get("/?name=service-1&state=verified").text
    shown = re.findall(r'<article class="tile" id="tile-([\w-]+)"(?:(?! hidden)[^>])*>', text)
    assert shown == ["service-1", *(f"service-{n}" for n in (10, 11, *range(13, 20)))]
    assert text.count('<article class="tile"') == 30
    assert "Showing 10 of 30 services" in text
    assert "30 services: 3 in discrepancy, 27 verified" in text
    assert len(re.findall(r'<li class="strip-row" id="strip-service-\d+" data-state="discrepancy"', text)) == 3


def test_each_form_keeps_what_the_other_one_chose(cast: Flask) -> None:
    fill(cast, 8)
    text = logged_in(cast, ALICE).get("/?q=state:failed&checks=all&sort=service&order=asc&name=service&by=failed").text
    forms = re.findall(r"<form[^>]*method=\"get\" action=\"/(?:#[\w-]+)?\".*?</form>", text, re.DOTALL)
    hidden = [dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form)) for form in forms]
    changes = {"q": "state:failed", "checks": "all", "sort": "service", "order": "asc"}
    assert hidden == [changes, {"name": "service", "by": "failed", "sort": "service", "order": "asc", "checks": "all"}]
    assert "name=service&amp;by=failed&amp;q=state" in text


def test_the_chosen_view_is_remembered_and_leads_back(cast: Flask) -> None:
    fill(cast, 24)
    client = logged_in(cast, ALICE)
    token = csrf_token(client, "/")
    for view, marked in (("table", " data-table"), ("tiles", ""), ("auto", " data-dense")):
        data = {"view": view, "next": "/?kind=x", "csrf_token": token}
        response = client.post("/view", data=data)
        assert (response.status_code, response.headers["Location"]) == (303, "/?kind=x")
        text = client.get("/").text
        assert f'<div class="tiles" id="tiles"{marked}>' in text
        assert f'value="{view}" aria-pressed="true"' in text


def test_a_hidden_kind_can_be_found_by_its_name(cast: Flask) -> None:
    fill(cast, 9)
    with cast.app_context(), write() as session:
        service = session.get(Service, "service-4")
        assert service is not None
        service.kind = "rq"
    text = logged_in(cast, ALICE).get("/?kind=rq").text
    assert 'value="rq" selected' in text
    assert "Showing 1 of 9 services" in text


def test_nothing_that_matches_is_said_with_the_way_back(cast: Flask) -> None:
    fill(cast, 9)
    text = logged_in(cast, ALICE).get("/?name=nobody&q=x").text
    assert 'No service matches. <a href="/?q=x">Show all by name</a>' in text
