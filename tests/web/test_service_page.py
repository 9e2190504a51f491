"""The page of a service: both sides, what is known of each job, its checks as a graph, workers, stuck jobs."""

import html
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from flask import Flask

from app.db import write
from app.eventlog.append import NewEvent
from app.infra.clock import utc_now, utc_text
from app.reconciliation import registry
from app.reconciliation.models import CheckSample, KnownJob, OpenItem, Service, ServiceState
from app.sources import kinds
from app.web.services import check_history, service_details
from app.web.services.check_history import Bucket, draw_history
from tests.sources.upstream import Upstream
from tests.support.cast import ALICE, BOB, CHARLIE, csrf_token, logged_in, publish
from tests.support.demo_service import DemoService, start_demo
from tests.web.payloads import discrepancy, update
from tests.web.record_scene import happened, item, put
from tests.web.test_pages import page, watch

NOW = datetime(2026, 11, 21, 12, 3, 5, tzinfo=UTC)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoService]:
    running = start_demo(tmp_path_factory.mktemp("demo"))
    yield running
    running.stop()


def believe(app: Flask, **members: Any) -> None:
    """Change what is believed of Mail."""
    with app.app_context(), write() as session:
        state = session.get(ServiceState, "mail")
        assert state is not None
        for name, value in members.items():
            setattr(state, name, value)


def words_of(text: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


def test_both_sides_are_named_with_what_is_open(cast: Flask) -> None:
    watch(cast, "mail", discrepancy("job_1"), "job_1", "job_2")
    assert "Beacon knows 14 jobs, Mail reports 12: 2 missing." in words_of(page(cast, ALICE, "/services/mail"))


def test_what_was_published_of_a_job_stands_beside_it_for_those_who_may_see_it(cast: Flask) -> None:
    watch(cast, "mail", discrepancy("job_1"), "job_1")
    said = {"service": "mail", "jobId": "job_1"}
    publish(
        cast,
        NewEvent("job.started", said),
        NewEvent("job.failed", said, "user:alice"),
        NewEvent("job.finished", {**said, "service": "other"}),
    )
    assert "published as failed" in words_of(page(cast, ALICE, "/services/mail"))
    others = words_of(page(cast, CHARLIE, "/services/mail"))
    assert "published as started" in others
    assert "published as failed" not in others
    assert "finished" not in others


def test_what_the_service_itself_shows_wrong_is_listed_with_what_is_known_and_what_to_do(cast: Flask) -> None:
    since = "2026-11-21T12:00:00.000Z"
    findings = [
        {"kind": "orphaned", "jobIds": ["job_on_dead"], "since": since},
        {"kind": "flapping", "jobIds": [], "since": since, "count": 5},
        {"kind": "count-mismatch", "jobIds": [], "since": since, "note": "queued: 5 counted, 4 listed"},
    ]
    watch(cast, "mail", discrepancy(findings=findings))
    with cast.app_context(), write() as session:
        session.add(KnownJob(service_id="mail", job_id="job_on_dead", state="running", queue="out", attempt=2))
    text = words_of(page(cast, ALICE, "/services/mail"))
    assert "Running on a dead worker" in text
    assert "running in queue out, attempt 2" in text
    assert "until the service queues them again" in text
    assert "Flapping, 5 times" in text
    assert "queued: 5 counted, 4 listed The service contradicts itself." in text


def test_more_items_than_fit_are_counted_and_can_be_accepted_together(
    cast: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_details, "MAX_ITEMS_SHOWN", 3)
    watch(cast, "mail", discrepancy("a"), *(f"job_{n}" for n in range(7)))
    client = logged_in(cast, BOB)
    text = client.get("/services/mail").text
    assert len(re.findall(r'name="jobIds"', text)) == 3
    assert "The first 3 of 7 open differences." in words_of(text)
    form = {"csrf_token": csrf_token(client, "/services/mail"), "all": "true", "reason": "deleted by hand"}
    answer = client.post("/services/mail/discrepancies/accept", data=form)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/services/mail")
    with cast.app_context(), write() as session:
        assert {row.closed_how for row in session.query(OpenItem)} == {"accepted"}


def test_missing_jobs_come_first_however_many_of_the_other_kinds_there_are(
    cast: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_details, "MAX_ITEMS_SHOWN", 3)
    watch(cast, "mail", discrepancy("lost"), "lost")
    kinds = [("unaccounted", "u"), *(("extra", f"x{n}") for n in range(5))]
    put(cast, *(item("mail", job_id, kind, "2026-11-21T12:00:00.000Z") for kind, job_id in kinds))
    shown = re.findall(r'name="jobIds" value="(\w+)"', page(cast, BOB, "/services/mail"))
    assert shown == ["lost", "x0", "x1"]


def test_what_was_open_when_a_service_stopped_answering_is_said_of_then(cast: Flask) -> None:
    since, found = (
        "2026-11-21T12:02:00.000Z",
        [{"kind": "missing", "jobIds": ["lost"], "since": "2026-11-21T12:00:00Z"}],
    )
    silent = update(status="stale", counts={}, reason="answered 500", silentSince=since, findings=found)
    watch(cast, "mail", silent, "lost")
    believe(cast, last_answer_at=since)
    text = words_of(page(cast, ALICE, "/services/mail"))
    assert "Not answering since 12:02:00 UTC ; 1 job was missing before (answered 500)." in text
    assert "The details below are from its last answer, 12:02:00 UTC" in text


def test_a_service_of_a_hostile_id_and_name_is_words_and_no_markup(cast: Flask) -> None:
    hostile = "\"><img src=x>&{{7*7}}'?#%=1"
    watch(cast, hostile, discrepancy("<b>job</b>", service=hostile), "<b>job</b>")
    dashboard = page(cast, BOB)
    href = html.unescape(re.search(r'href="(/services/[^"]+)"', dashboard)[1])  # type: ignore[index]
    for path in (href, f"{href}?history=day&chosen=none", "/discrepancies", f"{href}/stuck"):
        text = page(cast, BOB, path)
        assert "<img src=x" not in text.lower()
        assert "<b>job" not in text
    text = page(cast, BOB, href)
    assert "{{7*7}}" in text
    form = re.search(r'action="([^"]+)/discrepancies/accept"', text)
    assert form
    assert html.unescape(form[1]) == href
    assert f"/discrepancies?service={quote(hostile)}" in html.unescape(text)


def test_a_service_that_was_removed_is_gone_and_its_record_stays(cast: Flask) -> None:
    watch(cast, "mail", discrepancy("job_1"), "job_1")
    put(cast, happened("mail", "discrepancy", "2026-11-21T12:00:00.000Z", ["job_1"]))
    with cast.app_context(), write() as session:
        registry.remove(session, "mail", "bob")
    client = logged_in(cast, BOB)
    assert client.get("/services/mail", headers={"Accept": "text/html"}).status_code == 404
    record = words_of(client.get("/discrepancies?service=mail", headers={"Accept": "text/html"}).text)
    assert "no longer watched" in record
    assert client.get("/discrepancies?show=open&format=ndjson").text == ""


def test_no_item_is_chosen_until_somebody_does_so_one_by_one_or_by_a_link(cast: Flask) -> None:
    watch(cast, "mail", discrepancy("a"), "a", "b")
    chosen = r'name="jobIds"[^>]* checked>'
    assert not re.findall(chosen, page(cast, BOB, "/services/mail"))
    text = page(cast, BOB, "/services/mail?chosen=all&history=day")
    assert len(re.findall(chosen, text)) == 2
    assert 'href="/services/mail?history=day#open-items">Select none' in text


def test_a_form_with_nothing_chosen_says_what_to_do(cast: Flask) -> None:
    watch(cast, "mail", discrepancy("a"), "a", "b")
    bob = logged_in(cast, BOB)
    form = {"reason": "a test", "csrf_token": csrf_token(bob, "/services/mail")}
    answer = bob.post("/services/mail/discrepancies/accept", data=form, headers={"Accept": "text/html"})
    assert answer.status_code == 400
    assert "Select at least one job and try again." in answer.text


def test_a_form_without_a_reason_comes_back_as_it_was_filled_in(cast: Flask) -> None:
    watch(cast, "mail", discrepancy("a"), "a", "b")
    bob = logged_in(cast, BOB)
    form = {"jobIds": ["b"], "reason": " ", "seen": "what I saw", "csrf_token": csrf_token(bob, "/services/mail")}
    answer = bob.post("/services/mail/discrepancies/accept", data=form, headers={"Accept": "text/html"})
    assert answer.status_code == 400
    assert "Give a reason. It is kept with the accepted differences." in answer.text
    assert 'name="seen" value="what I saw"' in answer.text
    assert re.findall(r'name="jobIds" value="(\w+)"[^>]* checked>', answer.text) == ["b"]
    assert 'data-region="open-items"' not in answer.text, "what was refused stays until the next press"


def test_what_was_found_or_changed_since_it_was_chosen_is_named_and_the_rest_is_accepted(cast: Flask) -> None:
    watch(cast, "mail", discrepancy("a"), "a", "b", "c")
    bob = logged_in(cast, BOB)
    seen = page(cast, BOB, "/services/mail").split('name="seen" value="')[1].split('"')[0]
    with cast.app_context(), write() as session:
        found = session.scalars(sa.select(OpenItem).where(OpenItem.job_id == "a")).one()
        found.closed_at, found.closed_how = "2026-11-21T12:00:09.000Z", "reappeared"
        other = session.scalars(sa.select(OpenItem).where(OpenItem.job_id == "b")).one()
        other.kind = "unaccounted"
    form = {
        "jobIds": ["a", "b", "c"],
        "reason": "by hand",
        "seen": seen,
        "csrf_token": csrf_token(bob, "/services/mail"),
    }
    answer = bob.post("/services/mail/discrepancies/accept", data=form, headers={"Accept": "text/html"})
    said = words_of(answer.text)
    assert answer.status_code == 409
    assert "1 accepted. 2 have changed since you saw them:" in said
    assert "the service shows it again at 12:00:09 UTC on 2026-11-21" in said
    assert re.search(r"unaccounted for since \S+ UTC on \S+, which is not what you saw", said)
    assert (f'name="seen" value="{seen}"' in answer.text, 'value="by hand"' in answer.text) == (True, True)
    assert re.findall(r'name="jobIds" value="(\w+)"[^>]* checked>', answer.text) == ["b"]
    with cast.app_context(), write() as session:
        how = {row.job_id: row.closed_how for row in session.scalars(sa.select(OpenItem))}
    assert how == {"a": "reappeared", "b": None, "c": "accepted"}


def test_no_action_is_offered_that_does_not_exist(cast: Flask) -> None:
    """What can be pressed is what the service takes; the rest is there, and cannot."""
    watch(cast, "mail", discrepancy("a"), "a")
    with cast.app_context(), write() as session:
        row = session.get(Service, "mail")
        assert row is not None
        row.kind, row.url, row.options_json = "celery", "redis://127.0.0.1:1/0", "{}"
    buttons = re.findall(r"<button([^>]*data-needs[^>]*)>", page(cast, BOB, "/services/mail"))
    offered = {action: " disabled" not in one for one in buttons for action in re.findall(r'value="([a-z-]+)', one)}
    assert offered == {"retry-job": False, "delete-job": True, "purge-queue": True, "restart-service": False}


@pytest.mark.parametrize(("states", "said"), [(["failed"], "Counts only for failed."), (None, "Counts only .")])
def test_counts_only_is_said_with_the_bound(cast: Flask, states: list[str] | None, said: str) -> None:
    watch(cast, "mail", update(countsOnly=states))
    believe(cast, counts_only=True)
    text = words_of(page(cast, ALICE, "/services/mail"))
    assert said.replace(" .", ".") in text
    assert "There are more jobs than the 100,000 that Beacon lists in total" in text


@pytest.mark.parametrize(("told", "why"), [({"failed": "its results are being counted"}, True), ({}, False)])
def test_a_number_that_the_service_does_not_tell_is_unknown_on_every_page(
    cast: Flask, told: dict[str, str], why: bool
) -> None:
    watch(cast, "mail", update(counts={"queued": 3}, notTold=told))
    tabs = words_of(logged_in(cast, ALICE).get("/services/mail/jobs", headers={"Accept": "text/html"}).text)
    assert "Waiting 3 Failed —" in tabs
    assert "Failed 0" not in tabs
    assert ("The number of failed jobs is not known: its results are being counted." in tabs) is why
    meta = logged_in(cast, ALICE).get("/services/mail/jobs", headers={"Accept": "application/json"}).get_json()["meta"]
    assert (meta["counts"], meta["notTold"]) == ({"queued": 3}, told)
    assert ("Failed: not known. Its results are being counted." in words_of(page(cast, ALICE, "/services/mail"))) is why


def test_a_queue_that_is_cut_is_named(cast: Flask) -> None:
    watch(cast, "mail", update(countsOnly=["queued"], countsOnlyQueues=["big"]))
    believe(cast, counts_only=True)
    text = words_of(page(cast, ALICE, "/services/mail"))
    assert "Counts only for waiting. Of the queue big there are more jobs than the 100,000" in text
    assert "Beacon keeps what it knew of them." in text


def test_a_loss_is_said_with_both_numbers_and_can_be_accepted(cast: Flask) -> None:
    note = "50,008 jobs before, 0 in the next answer at 2026-11-21 12:03:05 UTC"
    lost = {"kind": "lost", "jobIds": [], "since": "2026-11-21T12:03:05.000Z", "count": 50_008, "note": note}
    watch(cast, "mail", update(status="discrepancy", findings=[lost], counts={"queued": 0}))
    text = page(cast, BOB, "/services/mail")
    assert f"50,008 lost at once: {note}." in words_of(text)
    assert f"Lost at once {note} Check whether its store was emptied" in words_of(text)
    assert "Accept all" in text
    front = words_of(page(cast, BOB, "/"))
    assert f"50,008 lost at once: {note}" in front


def test_a_loss_comes_before_the_jobs_that_are_missing_one_by_one(cast: Flask) -> None:
    lost = {"kind": "lost", "jobIds": [], "since": "2026-11-21T12:03:05.000Z", "count": 50_008, "note": "n"}
    watch(cast, "mail", discrepancy("a", findings=[lost]))
    assert re.search(r"50,008 lost at once ?, 1 missing a\b", words_of(page(cast, BOB, "/")))


@pytest.mark.parametrize(("status", "colour"), [("verified", "stale"), ("discrepancy", "stale")])
def test_entries_that_cannot_be_read_are_said_with_the_first_and_are_nobodys_discrepancy(
    cast: Flask, status: str, colour: str
) -> None:
    note = "entry 3 of rq:queue:mail: its id has more than 1,000 characters"
    odd = {"kind": "unreadable", "jobIds": [], "since": "2026-11-21T12:03:05.000Z", "count": 5, "note": note}
    watch(cast, "mail", update(status=status, findings=[odd]))
    text = page(cast, ALICE, "/services/mail")
    assert f"Listed but unreadable {note} and 4 more" in words_of(text)
    assert re.search(r'<tr data-state="(\w+)">\s*<td class="at">', text)[1] == colour  # type: ignore[index]
    front = words_of(page(cast, ALICE, "/"))
    assert ("· 5 unreadable" if status == "verified" else "5 listed but unreadable") in front


@pytest.mark.parametrize("missing", [[], ["lost"]], ids=["verified", "beside a discrepancy"])
def test_a_queue_without_a_worker_is_shown_with_what_to_do(cast: Flask, missing: list[str]) -> None:
    since = "2026-11-21T12:02:05.000Z"
    waits = {"kind": "no-worker", "jobIds": [], "since": since, "count": 250, "queues": ["reports"]}
    findings = [{**waits, "note": "reports since 2026-11-21 12:02:05 UTC"}]
    more: dict[str, Any] = {"status": "verified"}
    if missing:
        details = {"expected": 13, "actual": 12, "missingJobIds": missing}
        more = {"status": "discrepancy", "discrepancyDetails": details}
        findings.append({"kind": "missing", "jobIds": missing, "since": since})
    watch(cast, "mail", update(findings=findings, **more))
    text = words_of(page(cast, ALICE, "/services/mail"))
    said = "250 jobs wait in the queue reports, and no worker serves it"
    assert f"Waiting without a worker {said}: reports since 2026-11-21 12:02:05 UTC Start a worker" in text
    assert "250 jobs without a worker ·" in words_of(page(cast, ALICE, "/"))


@pytest.mark.parametrize("name", [*kinds.OWN_KINDS, "of a package that is gone"])
def test_what_to_do_about_a_finding_follows_the_kind_of_source(cast: Flask, name: str) -> None:
    late = {"kind": "overdue", "jobIds": ["a"], "since": "2026-11-21T12:03:05.000Z"}
    watch(cast, "mail", update(findings=[late]))
    kind = kinds.find_kind(name)
    with cast.app_context(), write() as session:
        row = session.get(Service, "mail")
        assert row is not None
        row.kind, row.url = name, kind.url_example if kind else "x://y"
    usual = "Check whether a worker serves the queue."
    assert (kind.advice.get("overdue", usual) if kind else usual) in words_of(page(cast, ALICE, "/services/mail"))


def test_workers_stand_with_the_dead_first_and_unknown_is_not_none(cast: Flask) -> None:
    watch(cast, "mail", update())
    assert "Not available: the Palantir HTTP API does not report workers." in page(cast, ALICE, "/services/mail")
    believe(cast, workers_json="[]")
    assert "Mail has no worker" in page(cast, ALICE, "/services/mail")
    workers = [{"id": f"w{n}", "state": "busy", "queues": ["q"], "job_id": "j", "seen_at": None} for n in range(30)]
    believe(cast, workers_json=json.dumps([{**workers[0], "id": "gone", "state": "dead"}, *workers]))
    text = words_of(page(cast, ALICE, "/services/mail"))
    assert "Dead gone q" in text
    assert "25 of 31" in text
    assert "w29" in page(cast, ALICE, "/services/mail?workers=all")


def test_facts_are_told_and_a_password_never(cast: Flask) -> None:
    with cast.app_context(), write() as session:
        registry.add(session, id="q", name="Q", kind="rq", url="redis://:hidden-word@127.0.0.1:1/0", queues=["default"])
    text = page(cast, BOB, "/services/q")
    assert "hidden-word" not in text
    assert "redis://" in text
    for said in ("Kind: rq", "Health: unknown", "Watched since"):
        assert said.replace(":", "") in words_of(text).replace(":", "")


def buckets(*states: str | None) -> list[Bucket]:
    found = [Bucket(utc_text(NOW + timedelta(minutes=minute))) for minute in range(len(states))]
    for bucket, state in zip(found, states, strict=True):
        if state:
            bucket.add(state != "stale", state, 12, 10.0, 40)
    return found


def test_the_graph_has_a_gap_where_nothing_was_known_and_none_of_its_lines_crosses_it() -> None:
    graph = draw_history("hour", buckets("verified", "verified", None, "stale", "verified", "discrepancy"))
    assert len(graph.lines) == 2
    assert [part.state for part in graph.band] == ["verified", "stale", "verified", "discrepancy"]
    assert graph.band[1].x == graph.band[0].width + check_history.AREA.width / 6
    assert graph.sentence == (
        "48 of 60 checks answered in the last hour; 10 ms on average, at most 40 ms; in discrepancy for up to"
        " 1 min; stale for up to 1 min; nothing known for 1 min."
    )


def test_checks_that_left_no_state_are_told_by_their_times_alone() -> None:
    """Rows from before the state was kept."""
    found = buckets("verified", None, "verified")
    found[0].states.clear()
    graph = draw_history("hour", found)
    assert (len(graph.lines), len(graph.band), graph.is_empty) == (2, 1, False)
    assert "24 of 24 checks answered" in graph.sentence
    assert "nothing known for 1 min" in graph.sentence


def test_a_graph_of_nothing_says_so() -> None:
    assert draw_history("day", buckets(None, None)).sentence == "No check in the last day."


@pytest.mark.parametrize(("span", "checks", "share"), [("hour", 3, 3 / 60), ("day", 6, 5 / 144)])
def test_the_checks_of_a_span_are_all_in_its_graph(
    cast: Flask, span: check_history.Span, checks: int, share: float
) -> None:
    watch(cast, "mail", update())
    ages = [timedelta(minutes=minute) for minute in (1, 5, 58, 61, 600, 1425, 1445)]
    with cast.app_context(), write() as session:
        for age in ages:
            row = CheckSample(service_id="mail", at=utc_text(NOW - age), ok=True, status="verified", latency_ms=7)
            row.counts_json = "{}"
            session.add(row)
        graph = check_history.load_history(session, "mail", span, NOW)
    assert graph.sentence.startswith(f"{checks} of {checks} checks answered in the last {span}; 7 ms on average")
    assert sum(part.width for part in graph.band) == pytest.approx(share * check_history.AREA.width, abs=1)


def test_the_address_says_over_which_span(cast: Flask) -> None:
    watch(cast, "mail", update())
    assert 'id="history-hour" href="/services/mail" aria-current="true"' in page(cast, ALICE, "/services/mail")
    text = page(cast, ALICE, "/services/mail?history=day")
    assert 'id="history-day" href="/services/mail?history=day" aria-current="true"' in text


def test_stuck_jobs_come_from_the_service_as_a_part_and_as_a_page(cast: Flask, demo: DemoService) -> None:
    demo.reset()
    job = demo.create_job(state="running", ageS=86_400)["id"]
    with cast.app_context(), write() as session:
        registry.add(session, id="mail", name="Mail", kind="palantir", url=demo.url)
    client = logged_in(cast, ALICE)
    part = client.get("/services/mail/stuck", headers={"HX-Request": "true"}).text
    assert "<html" not in part
    assert f'title="{job}"' in part
    whole = client.get("/services/mail/stuck").text
    assert "<html" in whole
    assert f'title="{job}"' in whole


def test_the_page_itself_asks_the_service_nothing_so_that_one_that_hangs_delays_it_not(cast: Flask) -> None:
    upstream = Upstream()
    try:
        with cast.app_context(), write() as session:
            registry.add(session, id="mail", name="Mail", kind="palantir", url=upstream.url)
        text = page(cast, ALICE, "/services/mail")
        assert upstream.asked == []
    finally:
        upstream.close()
    assert 'hx-get="/services/mail/stuck" hx-trigger="load"' in text
    assert '<a href="/services/mail/stuck">Ask it</a>' in text


def test_a_service_that_is_away_is_said_to_be(cast: Flask) -> None:
    watch(cast, "mail", update())
    with cast.app_context(), write() as session:
        registry.put(session, id="mail", name="Mail", kind="palantir", url="http://127.0.0.1:1")
    part = words_of(logged_in(cast, ALICE).get("/services/mail/stuck", headers={"HX-Request": "true"}).text)
    assert re.match(r"Mail \w+ .*\. Asked", part)
    assert "Ask again" in part


def test_the_footer_says_what_beacon_costs_and_unknown_is_not_zero(cast: Flask) -> None:
    text = words_of(page(cast, ALICE))
    assert "Beacon: 0 polls per minute, last poll — ms · 0 open streams · delivery lag — ms" in text


def test_the_footer_counts_the_polls_of_a_minute(cast: Flask) -> None:
    with cast.app_context(), write() as session:
        for age, latency in ((5, 31), (20, 30), (90, 29)):
            row = CheckSample(
                service_id="x", at=utc_text(utc_now() - timedelta(seconds=age)), ok=True, latency_ms=latency
            )
            row.counts_json = "{}"
            session.add(row)
    answer = logged_in(cast, ALICE).get("/cost")
    assert words_of(answer.text).startswith("Beacon: 2 polls per minute, last poll 31 ms")
    assert cast.test_client().get("/cost").status_code == 401
