"""One verdict on a service, wherever it stands: tile, attention strip, summary, its page, the table, the API."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask

from app.db import write
from app.infra.clock import utc_text
from app.reconciliation.models import Service, ServiceState
from tests.support.cast import ADA, ALICE, logged_in
from tests.web.payloads import discrepancy, update
from tests.web.test_pages import page, watch

LOST = [{"kind": "missing", "jobIds": ["lost"], "since": "2026-11-21T12:00:00.000Z"}]
SILENT = update(status="stale", counts={}, reason="answered 500", findings=LOST, silentSince="2026-11-21T12:02:00.000Z")


def checked(app: Flask, ago: timedelta, **more: Any) -> None:
    with app.app_context(), write() as session:
        state = session.get(ServiceState, "mail")
        assert state is not None
        state.checked_at = state.last_poll_at = utc_text(datetime.now(UTC) - ago)
        for name, value in more.items():
            setattr(state, name, value)


def seen(text: str) -> str:
    """What a reader sees: of what is said in two ways, by whether somebody has checked, the one that holds."""
    hidden = "unless-aged" if "data-aged" in re.sub(r'data-aged-after-s="\S+"', "", text) else "when-aged"
    two_ways = re.compile(rf'<(span|p) class="[^"]*{hidden}[^"]*"[^>]*>(?:(?!<\1\b).)*?</\1>', re.DOTALL)
    innermost = re.compile(r"<span(?![^>]*(?:unless|when)-aged)[^>]*>((?:(?!<span).)*?)</span>", re.DOTALL)
    while (shorter := innermost.sub(r"\1", two_ways.sub("", text))) != text:
        text = shorter
    return " ".join(re.sub(r"<[^>]+>", " ", text).split()).replace(" ;", ";")


def part(text: str, pattern: str) -> str:
    found = re.search(pattern, text, re.DOTALL)
    assert found is not None, pattern
    return found[0]


@pytest.mark.parametrize(
    ("payload", "ago", "status", "word", "health"),
    [
        (update(), timedelta(0), "verified", "Verified", "ok"),
        (discrepancy("lost", findings=LOST), timedelta(0), "discrepancy", "Discrepancy", "ok"),
        (SILENT, timedelta(0), "stale", "Stale", "failing"),
        (update(), timedelta(minutes=1), "stale", "Stale", "unknown"),
        (discrepancy("lost", findings=LOST), timedelta(minutes=1), "stale", "Stale", "unknown"),
    ],
    ids=["verified", "discrepancy", "silent", "verified-and-aged", "discrepancy-and-aged"],
)
def test_every_place_gives_the_same_verdict(
    cast: Flask, payload: Mapping[str, Any], ago: timedelta, status: str, word: str, health: str
) -> None:
    watch(cast, "mail", dict(payload))
    failing = utc_text() if payload["status"] == "stale" else None
    checked(cast, ago, failing_since=failing)
    front, own = page(cast, ALICE), page(cast, ALICE, "/services/mail")
    table = page(cast, ADA, "/admin/services")
    [told] = logged_in(cast, ADA).get("/services/registered").json or []
    aged = bool(ago)
    assert (told["status"], told["health"]) == (status, health)
    assert part(front, r'id="summary" data-state="\w+"').endswith(f'"{status}"')
    for tile in (part(front, r"<article.*?</article>"), part(own, r"<article.*?</article>")):
        assert ("data-aged" in tile) is aged
        assert aged or f'data-state="{status}"' in tile
    if status != "verified":
        assert word in seen(part(front, r'<li class="strip-row".*?</li>'))
        assert word in seen(part(own, r'<section id="open-items".*?</section>'))
    assert part(table, r'<tr id="service-mail" data-state="\w+"').endswith(f'"{status}"')
    assert seen(part(own, r"<dl class=\"facts.*?</dl>")).split("Health ")[1].startswith(health)


def test_a_service_that_comes_and_goes_is_nowhere_said_to_be_silent(cast: Flask) -> None:
    flaps = {"kind": "flapping", "jobIds": [], "since": "2026-11-21T12:00:00.000Z", "count": 4}
    watch(cast, "mail", {**SILENT, "findings": [*LOST, flaps]})
    checked(cast, timedelta(0))  # it answers now
    front, own = page(cast, ALICE), page(cast, ALICE, "/services/mail")
    for text in (front, own):
        assert "flapping, 4 times; last: answered 500; 1 job was missing before" in seen(
            part(text, r"<article.*?</article>")
        )
        assert "not answering" not in seen(text)
    assert "flapping, 4 times; last: answered 500" in seen(part(front, r'<li class="strip-row".*?</li>'))


def test_a_service_whose_figures_are_of_another_time_says_of_when(cast: Flask) -> None:
    reason = "answers with figures that are more than 10 min old"
    watch(cast, "mail", update(status="stale", counts={}, reason=reason, asOf="2026-11-21T11:47:05.000Z"))
    checked(cast, timedelta(0))
    for path in ("/", "/services/mail"):
        tile = seen(part(page(cast, ALICE, path), r"<article.*?</article>"))
        assert reason in tile
        assert "counts from 11:47:05 · last verified" in tile


def test_the_exact_number_of_an_aged_tile_is_hidden_with_its_figure(cast: Flask) -> None:
    """The style sheet hides the `span`; what hovers over it must not stay on what is left."""
    watch(cast, "mail", update(counts={"queued": 50_008}))
    checked(cast, timedelta(minutes=1))
    tile = part(page(cast, ALICE), r"<article.*?</article>")
    assert re.findall(r"<(\w+) title=\"50,008\"", tile) == ["span"]


def test_a_service_that_nobody_has_ever_checked_is_stale_when_its_check_is_overdue(cast: Flask) -> None:
    watch(cast, "mail")
    with cast.app_context(), write() as session:
        session.get_one(Service, "mail").registered_at = "2026-11-21T12:00:00.000Z"
    front, own = page(cast, ALICE), page(cast, ALICE, "/services/mail")
    [told] = logged_in(cast, ADA).get("/services/registered").json or []
    assert (told["status"], told["reason"]) == ("stale", "has not been checked since it was added")
    meta = (logged_in(cast, ADA).get("/services/mail/jobs", headers={"Accept": "application/json"}).json or {})["meta"]
    assert meta["countsReason"] == "the service has not been checked since it was added"
    assert part(front, r'id="summary" data-state="\w+"').endswith('"stale"')
    for text in (part(front, r"<article.*?</article>"), part(own, r"<article.*?</article>")):
        assert "Stale" in seen(text)
        assert "has not been checked since it was added" in seen(text)
    assert "has not been checked since it was added" in seen(part(front, r'<li class="strip-row".*?</li>'))
    assert "No open differences: the service has not answered a check yet." in seen(own)


@pytest.mark.parametrize(
    ("payload", "ago", "said"),
    [
        (SILENT, timedelta(0), "not answering since 12:02:00 UTC; 1 job was missing before (answered 500)"),
        (discrepancy("lost", findings=LOST), timedelta(minutes=1), "not checked in time; 1 job was missing before"),
    ],
    ids=["silent", "aged"],
)
def test_jobs_that_were_missing_stay_on_the_first_screen_when_nobody_hears_of_their_service(
    cast: Flask, payload: Mapping[str, Any], ago: timedelta, said: str
) -> None:
    watch(cast, "mail", dict(payload))
    checked(cast, ago)
    front = page(cast, ALICE)
    assert said in seen(part(front, r"<article.*?</article>"))
    assert said in seen(part(front, r'<li class="strip-row".*?</li>'))
