import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.eventlog.reader import Event
from app.reconciliation.current_status import current_status
from app.reconciliation.models import ServiceState
from app.web import display_text
from app.web.dashboard.change_rows import ChangeRow
from app.web.dashboard.failing import Failing, find_hidden_rows
from app.web.dashboard.view_models import IdList, Tile, dom_key, service_href
from tests.web.payloads import discrepancy, update

AT = "2026-11-21T12:03:05.123Z"
NOW = datetime(2026, 11, 21, 12, 4, 0, tzinfo=UTC)


def values(tile: Tile) -> list[tuple[str, str]]:
    return [(stat.label, stat.value) for stat in tile.stats]


def test_figures_stand_in_the_order_of_attention_and_are_at_most_four() -> None:
    tile = Tile.from_payload(
        "mail", "Mail", update(counts={"succeeded": 5, "zzz": 1, "failed": 2, "queued": 3, "running": 4})
    )
    assert values(tile) == [("waiting", "3"), ("running", "4"), ("failed", "2"), ("done", "5")]


def test_what_runs_and_is_done_stands_on_the_tile_whatever_a_service_calls_it() -> None:
    of_rq = {"queued": 3, "started": 4, "failed": 2, "finished": 5, "scheduled": 6, "canceled": 0, "deferred": 0}
    tile = Tile.from_payload("mail", "Mail", update(counts=of_rq))
    assert values(tile) == [("waiting", "3"), ("started", "4"), ("failed", "2"), ("finished", "5")]


def test_a_disagreeing_pair_shows_both_sides() -> None:
    tile = Tile.from_payload("mail", "Mail", discrepancy("a", "b"))
    assert values(tile)[-1] == ("known ≠ reported", "14 ≠ 12")
    assert tile.words == "Beacon knows 14 jobs, Mail reports 12"
    assert tile.missing.shown == ("a", "b")


def test_numbers_of_a_stale_service_are_unknown_and_never_zero() -> None:
    tile = Tile.from_payload("mail", "Mail", update(status="stale", counts={}, reason="no answer for 15 s"))
    assert {value for _, value in values(tile)} == {"—"}
    assert tile.words == "no answer for 15 s"


def test_a_service_that_was_never_looked_at_claims_nothing() -> None:
    tile = Tile.not_checked("mail", "Mail")
    assert (tile.state, tile.check) == ("unknown", None)
    assert {value for _, value in values(tile)} == {"—"}


@pytest.mark.parametrize(("every_s", "aged"), [(18, True), (20, False)])
def test_a_state_that_nobody_has_confirmed_for_three_intervals_is_aged(every_s: int, aged: bool) -> None:
    state = ServiceState(checked_at="2026-11-21T12:03:05.000Z")
    assert current_status(state, update(), NOW, timedelta(seconds=every_s)).is_aged is aged


def test_a_silent_service_says_both_truths() -> None:
    found = [{"kind": "missing", "jobIds": ["a", "b"], "count": 15, "since": "2026-11-21T12:00:00.000Z"}]
    silent = update(status="stale", counts={}, findings=found, silentSince="2026-11-21T12:02:00.000Z")
    tile = Tile.from_payload("mail", "Mail", silent)
    assert (tile.silent_since, tile.last_problem) == ("2026-11-21T12:02:00.000Z", "15 jobs were missing before")
    assert (tile.missing.shown, tile.missing.total) == (("a", "b"), 15)


def test_more_ids_than_fit_are_counted() -> None:
    ids = IdList.truncate([f"job_{number}" for number in range(9)])
    assert (len(ids.shown), ids.more, ids.total) == (5, 4, 9)


@pytest.mark.parametrize("service", ["mail", "Mail-2_b", 'a"]<b>', "a.b:c", "grüße", "", "../x", "\ud800"])
def test_any_service_name_makes_a_plain_element_id_and_a_path(service: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]+", dom_key(service))
    assert re.fullmatch(r"/services/[A-Za-z0-9_.~%-]*", service_href(service))


def failing(service: str = "mail", **changed: Any) -> Failing:
    causes = [
        {"group": "a", "title": "SMTPError in mail.send", "count": 28, "firstAt": AT, "lastAt": AT},
        {"group": "b/c", "title": "KeyError in invoice.render", "count": 2, "firstAt": AT, "lastAt": AT},
    ]
    return Failing.from_payload("Mail", {"service": service, "failed": 31, "causes": causes, **changed})


def test_the_strip_holds_back_stale_before_failing_before_discrepancies() -> None:
    stale = [Tile.from_payload(f"s{n}", "S", update(status="stale", counts={})) for n in range(4)]
    wrong = [Tile.from_payload(f"d{n}", "D", discrepancy("x")) for n in range(3)]
    hidden = find_hidden_rows([*stale, *wrong], [failing("m")])
    assert hidden == {"strip-s1", "strip-s2", "strip-s3"}


def test_failed_jobs_are_named_by_cause_and_the_rest_is_counted() -> None:
    view = failing()
    assert view.words == "31 failed: 28 SMTPError in mail.send, 2 KeyError in invoice.render, 1 others"
    assert (view.href, view.causes[1].href) == ("/services/mail/failures", "/failures/b%2Fc")
    assert view.needs_attention
    assert not failing(causes=[]).needs_attention


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (9_999, "9,999"),
        (10_000, "10.0k"),
        (99_949, "99.9k"),
        (99_950, "100k"),
        (999_499, "999k"),
        (1_200_000, "1.2M"),
    ],
)
def test_figures_are_short(number: int, text: str) -> None:
    assert display_text.abbreviate_number(number) == text


@pytest.mark.parametrize("status", ["verified", "discrepancy", "stale"])
def test_what_limits_a_check_is_on_the_tile_in_every_state(status: str) -> None:
    odd = {"kind": "unreadable", "jobIds": [], "since": "2026-11-21T12:03:05.000Z", "count": 1_200, "note": "entry 3"}
    tile = Tile.from_payload("mail", "Mail", update(status=status, countsOnly=["queued", "failed"], findings=[odd]))
    assert tile.counts_only is not None
    assert (tile.counts_only.words, tile.counts_only.title) == (
        "counts only: waiting, failed",
        "More jobs than are listed one by one",
    )
    assert tile.unreadable is not None
    assert (tile.unreadable.words, tile.unreadable.title) == ("1,200 unreadable", "entry 3")


def test_jobs_without_a_worker_are_on_the_tile_and_first_in_the_list_of_changes() -> None:
    note = "reports since 2026-11-21 12:02:05 UTC"
    found = {"kind": "no-worker", "jobIds": [], "since": "2026-11-21T12:02:05.000Z", "count": 1_200, "note": note}
    tile = Tile.from_payload("mail", "Mail", update(status="verified", findings=[{**found, "queues": ["reports"]}]))
    assert (tile.status, tile.words) == ("verified", "")
    assert tile.unserved is not None
    assert (tile.unserved.words, tile.unserved.title) == (
        "1,200 jobs without a worker",
        f"1,200 jobs wait in the queue reports, and no worker serves it: {note}",
    )
    data = update(findings=[{**found, "queues": ["reports"]}])
    row = ChangeRow.from_event(Event(1, "reconciliation.update", "everyone", data, data["checkedAt"]))
    assert row.words.startswith("1,200 jobs wait in the queue reports, and no worker serves it; 12 waiting")


def test_a_number_that_nobody_knows_is_a_dash_with_its_reason_and_never_zero() -> None:
    why = "without a result backend Celery keeps no record of failed tasks"
    tile = Tile.from_payload("mail", "Mail", update(counts={"queued": 3, "running": 1}, notTold={"failed": why}))
    assert [(stat.label, stat.value, stat.exact) for stat in tile.stats] == [
        ("waiting", "3", ""),
        ("running", "1", ""),
        ("failed", "—", why),
    ]


def test_a_number_that_is_older_than_the_check_says_of_when_it_is() -> None:
    told = update(counts={"failed": 340}, countsAsOf={"failed": "2026-11-21T12:01:00.000Z"})
    [failed] = Tile.from_payload("mail", "Mail", told).stats
    assert (failed.value, failed.exact) == ("340", "340 as of 12:01:00 UTC")
