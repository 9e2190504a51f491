"""Failures by cause: the list, its JSON, and the page of one cause."""

import re
from datetime import timedelta
from html import unescape

import pytest
from flask import Flask

from app.db import write
from app.failures import failure_store
from app.infra.clock import utc_now, utc_text
from app.sources.protocol import Job, JobDetail, JobError
from app.sources.tracebacks import Frame
from tests.support.cast import ALICE, headers_of, logged_in
from tests.web.payloads import update
from tests.web.record_scene import watched
from tests.web.test_one_verdict import checked
from tests.web.test_pages import watch

FUNCTION = "mail.send"
PLACE = Frame("shop/mail/transport.py in deliver", 88)
LOST = JobError("smtplib.SMTPServerDisconnected", "Connection unexpectedly closed", PLACE)


def fail(app: Flask, service: str, *job_ids: str, error: JobError = LOST, worker: str = "mail-7") -> None:
    facts = {
        job_id: JobDetail(
            Job(job_id, "failed", "emails", 3), function=FUNCTION, error=error, worker=worker, ended_at=utc_now()
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


def test_the_list_has_the_largest_cause_first_and_says_what_its_jobs_share(failing: Flask) -> None:
    said = words(page(failing, "/failures"))
    assert said.index("SMTPServerDisconnected in mail.send") < said.index("KeyError in mail.send")
    assert "28 SMTPServerDisconnected in mail.send" in said
    assert "all in queue emails, 26 of 28 on mail-7" in said
    assert "3 not read yet." in said


def test_the_json_names_each_cause_with_its_figures(failing: Flask) -> None:
    answer = failing.test_client().get("/failures", headers=headers_of(failing, ALICE, "read")).get_json()
    first = answer["data"][0]
    assert (first["service"], first["function"], first["count"], first["lastHour"]) == ("mail", "mail.send", 28, 28)
    assert first["frame"] == "shop/mail/transport.py:88 in deliver"
    assert first["queues"] == {"emails": 28}
    assert first["workers"] == {"mail-7": 26, "mail-8": 2}
    assert len(first["sampleJobIds"]) == 5
    assert answer["meta"]["notReadYet"] == 3


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
