"""Failures by cause: the list, its JSON, and the page of one cause."""

import re
from datetime import datetime, timedelta
from html import unescape

import pytest
from flask import Flask

from app.db import write
from app.eventlog.append import NewEvent
from app.failures import failure_store
from app.failures.shares import Attempts
from app.infra.clock import utc_now, utc_text
from app.reconciliation.models import CheckSample
from app.sources.protocol import Job, JobDetail, JobError
from app.sources.tracebacks import Frame
from app.web.failures.group_view import describe_attempts
from tests.support.cast import ALICE, headers_of, logged_in, publish
from tests.web.payloads import update
from tests.web.record_scene import watched
from tests.web.test_one_verdict import checked
from tests.web.test_pages import watch

FUNCTION = "mail.send"
PLACE = Frame("shop/mail/transport.py in deliver", 88)
LOST = JobError("smtplib.SMTPServerDisconnected", "Connection unexpectedly closed", PLACE)


def fail(
    app: Flask,
    service: str,
    *job_ids: str,
    error: JobError = LOST,
    worker: str = "mail-7",
    ended_at: datetime | None = None,
) -> None:
    facts = {
        job_id: JobDetail(
            Job(job_id, "failed", "emails", 3),
            function=FUNCTION,
            error=error,
            worker=worker,
            max_attempts=5,
            ended_at=ended_at or utc_now(),
        )
        for job_id in job_ids
    }
    with app.app_context(), write() as session:
        failure_store.add_failed(session, service, job_ids)
        failure_store.record_facts(session, service, job_ids, facts)


@pytest.fixture
def failing(cast: Flask) -> Flask:
    """28 of one cause in Mail, two of another, one of Shop, and three that are not read yet."""
    watched(cast, "mail", "shop")
    fail(cast, "mail", *(f"m{number:02}" for number in range(26)))
    fail(cast, "mail", "m26", "m27", worker="mail-8")
    fail(cast, "mail", "k1", "k2", error=JobError("KeyError", "'customer'", PLACE))
    fail(cast, "shop", "s1", error=JobError("ValueError", "<b>bad</b>", PLACE))
    with cast.app_context(), write() as session:
        failure_store.add_failed(session, "mail", ["u1", "u2", "u3"])
    return cast


def page(app: Flask, path: str) -> str:
    answer = logged_in(app, ALICE).get(path, headers={"Accept": "text/html"})
    assert answer.status_code == 200, answer.text
    return answer.text


def words(text: str) -> str:
    body = text[text.index("<main") : text.index("</main>")]
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def listed(app: Flask, path: str = "/failures", **query: str) -> list[tuple[str, int]]:
    answer = app.test_client().get(path, query_string=query, headers=headers_of(app, ALICE, "read"))
    assert answer.status_code == 200, answer.text
    return [(group["errorType"], group["count"]) for group in answer.get_json()["data"]]


def test_the_overview_names_the_causes_in_the_strip_and_on_the_tile(failing: Flask) -> None:
    said = words(page(failing, "/"))
    assert "Failing Mail 33 failed: 28 SMTPServerDisconnected in mail.send since" in said
    assert "2 KeyError in mail.send since" in said
    assert "3 others" in said
    assert said.count("33 failed: 28 SMTPServerDisconnected in mail.send, 2 KeyError in mail.send, 3 others") == 1
    assert 'href="/services/mail/failures" title="33 failed' in page(failing, "/services/mail")


def test_the_list_has_the_largest_cause_first_and_says_what_its_jobs_share(failing: Flask) -> None:
    said = words(page(failing, "/failures"))
    assert said.index("SMTPServerDisconnected in mail.send") < said.index("KeyError in mail.send")
    assert "28 jobs SMTPServerDisconnected in mail.send" in said
    assert "31 jobs are failed now, for 3 causes." in said
    assert "all in queue emails, 26 of 28 on mail-7, all at attempt 3 of 5" in said
    assert "3 not read yet." in said


def test_the_json_names_each_cause_with_its_figures(failing: Flask) -> None:
    answer = failing.test_client().get("/failures", headers=headers_of(failing, ALICE, "read")).get_json()
    first = answer["data"][0]
    assert (first["service"], first["function"], first["count"], first["lastHour"]) == ("mail", "mail.send", 28, 28)
    assert first["frame"] == "shop/mail/transport.py:88 in deliver"
    assert first["queues"] == {"emails": 28}
    assert first["workers"] == {"mail-7": 26, "mail-8": 2}
    assert len(first["sampleJobIds"]) == 5
    assert first["attempts"] == {"min": 3, "max": 3, "of": 5, "jobs": 28}
    assert first["lastDay"] == [None] * 23 + [28]
    assert "newSince" not in first
    assert (answer["meta"]["notReadYet"], answer["meta"]["total"]) == (3, 3)


@pytest.mark.parametrize(
    ("path", "query", "found"),
    [
        ("/services/shop/failures", {}, [("ValueError", 1)]),
        ("/failures", {"q": "keyerror"}, [("KeyError", 2)]),
        ("/failures", {"q": "mail.send connection"}, [("smtplib.SMTPServerDisconnected", 28)]),
        ("/failures", {"q": "100%"}, []),
        ("/failures", {"since": "2999-01-01"}, []),
        ("/failures", {"until": "2000-01-01"}, []),
        ("/failures", {"muted": "true"}, []),
        ("/failures", {"limit": "1"}, [("smtplib.SMTPServerDisconnected", 28)]),
        ("/failures", {"sort": "count", "order": "asc", "limit": "1"}, [("ValueError", 1)]),
        ("/failures", {"sort": "last", "limit": "1"}, [("ValueError", 1)]),
        ("/failures", {"sort": "first", "order": "asc", "limit": "1"}, [("smtplib.SMTPServerDisconnected", 28)]),
    ],
)
def test_causes_are_found_by_service_words_and_time(
    failing: Flask, path: str, query: dict[str, str], found: list[tuple[str, int]]
) -> None:
    assert listed(failing, path, **query) == found


def test_the_page_of_a_cause_leads_to_its_jobs(failing: Flask) -> None:
    [group] = re.findall(r'href="(/failures/[0-9a-f]+)">KeyError', page(failing, "/failures"))
    text = page(failing, group)
    said = words(text)
    assert "KeyError in mail.send" in said
    assert "Failed now 2 , 2 within the last hour" in said
    assert 'href="/services/mail/jobs/k1"' in text


def test_the_deploy_before_the_first_failure_is_named(failing: Flask) -> None:
    publish(failing, NewEvent("deploy.done", {"version": "4.12.0"}))
    fail(failing, "shop", "s2", error=JobError("TypeError", "odd", PLACE))
    publish(failing, NewEvent("deploy.done", {"version": "4.13.0"}))
    answer = failing.test_client().get("/failures", headers=headers_of(failing, ALICE, "read")).get_json()
    found = {group["errorType"]: group.get("newSince", {}).get("event") for group in answer["data"]}
    assert found["TypeError"] == "deploy.done 4.12.0"
    assert found["KeyError"] is None
    text = page(failing, "/failures")
    assert "new since deploy.done 4.12.0" in words(text)
    [group] = re.findall(r'href="(/failures/[0-9a-f]+)">TypeError', text)
    said = words(page(failing, group))
    assert "New since deploy.done 4.12.0" in said
    assert "Deploys: deploy.done 4.12.0" in said


def test_the_graph_has_a_gap_where_the_service_answered_no_check(failing: Flask) -> None:
    now = utc_now()
    with failing.app_context(), write() as session:
        for hours in (2, 3, 5):
            at = utc_text(now - timedelta(hours=hours, minutes=30))
            session.add(CheckSample(service_id="shop", at=at, ok=hours != 5, latency_ms=1, counts_json="{}"))
    fail(failing, "shop", "s2", error=JobError("ValueError", "", PLACE), ended_at=now - timedelta(hours=4, minutes=30))
    answer = failing.test_client().get("/services/shop/failures", headers=headers_of(failing, ALICE, "read"))
    assert answer.get_json()["data"][0]["lastDay"] == [None] * 19 + [1, 0, 0, None, 1]


def test_the_list_is_sorted_by_links_that_keep_the_search(failing: Flask) -> None:
    text = page(failing, "/failures?q=mail&sort=last")
    assert 'aria-sort="descending"><a id="sort-last" href="/failures?q=mail&amp;sort=last&amp;order=asc"' in text
    assert 'id="sort-count" href="/failures?q=mail"' in text
    assert 'id="sort-first" href="/failures?q=mail&amp;sort=first"' in text


def test_a_mistyped_bound_is_told_and_kept(failing: Flask) -> None:
    text = page(failing, "/failures?since=yesterday&q=keyerror")
    assert "“since”: expected a date or a time" in words(text)
    assert 'name="since" value="yesterday"' in text
    assert "KeyError in mail.send" in words(text)
    assert "SMTPServerDisconnected" not in words(text)


def test_a_search_for_what_no_database_takes_is_refused_or_told(failing: Flask) -> None:
    assert "expected text without NUL" in words(page(failing, "/failures?q=%00"))
    refused = failing.test_client().get("/failures?q=%00", headers=headers_of(failing, ALICE, "read"))
    assert refused.status_code == 400


def test_a_list_that_is_cut_says_so(failing: Flask) -> None:
    assert "The first 2 of 3 causes." in words(page(failing, "/failures?limit=2"))


@pytest.mark.parametrize(
    ("attempts", "jobs", "text"),
    [
        (None, 3, ""),
        (Attempts(3, 3, 3, 28), 28, "all at attempt 3 of 3"),
        (Attempts(1, 3, 5, 28), 28, "attempts 1 to 3 of 5"),
        (Attempts(2, 2, None, 1), 1, "at attempt 2"),
        (Attempts(2, 2, 3, 26), 28, "at attempt 2 of 3 where known (26 of 28)"),
    ],
)
def test_attempts_are_told_as_far_as_they_are_known(attempts: Attempts | None, jobs: int, text: str) -> None:
    assert describe_attempts(attempts, jobs) == text


def test_a_cause_that_nobody_knows_is_not_found(failing: Flask) -> None:
    answer = logged_in(failing, ALICE).get("/failures/nothing", headers={"Accept": "text/html"})
    assert answer.status_code == 404
    assert "/failures lists all causes" in answer.text


def test_messages_are_text(failing: Flask) -> None:
    text = page(failing, "/failures")
    assert "<b>bad</b>" not in text
    assert "<b>bad</b>" in words(text)


NO_RESULTS = "without a result backend Celery keeps no record of failed tasks"


@pytest.mark.parametrize(
    ("payload", "hours_ago", "reason"),
    [
        (update(counts={"queued": 1}, notTold={"failed": NO_RESULTS}), 0, NO_RESULTS),
        (update(counts={"queued": 1}), 0, "does not count failed jobs"),
        (update(countsOnly=["failed"]), 0, "has more failed jobs than Beacon lists"),
        (update(status="stale", counts={}, reason="answered 500"), 0, "answered 500"),
        (update(), 3, "was not checked in time"),
        (None, 0, "has not been checked yet"),
    ],
    ids=["not-told", "not-counted", "not-listed", "silent", "unchecked-for-long", "never-checked"],
)
def test_a_service_that_does_not_tell_its_failures_is_not_said_to_have_none(
    cast: Flask, payload: dict[str, object] | None, hours_ago: int, reason: str
) -> None:
    watch(cast, "mail", payload)
    answered_at = None if payload is None else utc_text(utc_now() - timedelta(hours=hours_ago))
    if payload is not None:
        checked(cast, timedelta(hours=hours_ago), last_answer_at=answered_at)
    watch(cast, "shop", update("shop"))
    for path in ("/failures", "/services/mail/failures"):
        said = words(page(cast, path))
        assert f"Not known for: Mail ({reason})." in said
        assert "No failed job is known." in said
        assert "No job is failed" not in said
        answer = cast.test_client().get(path, headers=headers_of(cast, ALICE, "read")).get_json()
        assert answer["meta"]["notKnown"] == [{"service": "mail", "reason": reason}]
        assert answer["meta"]["asOf"] == answered_at
    assert "No job is failed." in words(page(cast, "/services/shop/failures"))


def test_what_a_silent_service_said_is_told_as_of_then(cast: Flask) -> None:
    watch(cast, "mail", update(status="stale", counts={}, reason="answered 500"))
    fail(cast, "mail", "a", "b")
    [group] = re.findall(r'href="(/failures/[0-9a-f]+)">', page(cast, "/failures"))
    assert "Not known for: Mail (answered 500)." in words(page(cast, group))


def test_without_failures_the_page_says_so(cast: Flask) -> None:
    assert "No job is failed." in words(page(cast, "/failures"))
