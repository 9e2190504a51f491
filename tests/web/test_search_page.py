"""The search: page and API, what each role finds, and what it says when it finds nothing or not everything."""

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from flask import Flask

from app.db import write
from app.failures import failure_store
from app.reconciliation.models import KnownJob, ServiceState
from app.search import finder
from app.search.service_lookup import AskableService
from app.sources.protocol import Job, JobDetail, JobError, ReadOnlySource, SourceError
from tests.support.cast import ADA, ALICE, Person, headers_of, logged_in
from tests.support.machine import scaled
from tests.web.record_scene import watched
from tests.web.test_failure_pages import PLACE, fail, words

HOSTILE = ("<script>alert(1)</script>", '"', "' OR 1=1 --", "NEAR(", "\u202e7", "a\x00b", "%", "é" * 400, ":*&|!()")


class Telling(ReadOnlySource):
    """A service that knows one finished job, or does not answer."""

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id

    def detail(self, job_id: str) -> JobDetail | None:
        if not self._job_id:
            raise SourceError("did not answer")
        return JobDetail(Job(job_id, "finished", "out"), function="mail.send") if job_id == self._job_id else None

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that takes too long says less; what it says then is a test of its own."""
    monkeypatch.setattr(finder, "SEARCH_TIMEOUT_S", scaled(10))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Mail knows the job `done-1`, Shop does not answer. What was asked for."""
    log: list[str] = []
    sources = {"mail": Telling("done-1"), "shop": Telling("")}

    def ask(services: object, job_id: str, ends_at: float) -> Any:
        log.append(job_id)
        askable = [AskableService(name, lambda source=source: source) for name, source in sources.items()]  # type: ignore[misc]
        return ask_really(askable, job_id, ends_at)

    ask_really = finder.ask_services
    monkeypatch.setattr(finder, "ask_services", ask)
    return log


@pytest.fixture
def failing(cast: Flask, asked: list[str]) -> Flask:
    watched(cast, "mail", "shop")
    fail(cast, "mail", *(f"7f3a91c2{number:02}" for number in range(3)))
    fail(cast, "shop", "s1", error=JobError("ValueError", "<b>bad</b> order 4711", PLACE))
    with cast.app_context(), write() as session:
        session.add(KnownJob(service_id="shop", job_id="waiting-1", state="queued", queue="emails"))
    return cast


def search(app: Flask, text: str, person: Person = ALICE, *scopes: str) -> Mapping[str, Any]:
    headers = headers_of(app, person, *(scopes or ("read",)))
    answer = app.test_client().get("/api/search", query_string={"q": text}, headers=headers)
    assert answer.status_code == 200, answer.text
    found: Mapping[str, Any] = answer.get_json()
    return found


def kinds(app: Flask, text: str, person: Person = ALICE, *scopes: str) -> list[tuple[str, str]]:
    return [(hit["kind"], hit["id"]) for hit in search(app, text, person, *scopes)["data"]]


def page(app: Flask, text: str, person: Person = ALICE, status: int = 200) -> str:
    answer = logged_in(app, person).get("/search", query_string={"q": text}, headers={"Accept": "text/html"})
    assert answer.status_code == status, answer.text
    return answer.text


def test_a_job_is_found_by_its_id_and_leads_to_its_page(failing: Flask, asked: list[str]) -> None:
    [hit] = search(failing, " 7f3a91c201 ")["data"]
    assert (hit["kind"], hit["id"], hit["service"], hit["state"]) == ("job", "7f3a91c201", "mail", "failed")
    assert (hit["function"], hit["href"]) == ("mail.send", "/services/mail/jobs/7f3a91c201")
    assert asked == [], "services are asked only for what Beacon does not know"


def test_a_word_finds_causes_jobs_queues_and_services_by_kind(failing: Flask) -> None:
    assert kinds(failing, "4711") == [("failure", kinds(failing, "4711")[0][1]), ("job", "s1")]
    assert ("service", "mail") in kinds(failing, "mail")
    assert kinds(failing, "emails") == [("queue", "emails"), ("queue", "emails")]
    assert {kind for kind, _ in kinds(failing, "SMTPServer")} == {"failure"}
    assert kinds(failing, "waiting-1") == [("job", "waiting-1")]


def test_meta_says_since_when_it_searched_and_that_it_is_complete(failing: Flask) -> None:
    meta = search(failing, "7f3a91c201")["meta"]
    assert (meta["complete"], meta["notAnswered"], meta["notSearched"], meta["more"]) == (True, [], [], [])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT.*Z", meta["searchedSince"])


def test_services_are_asked_for_an_id_that_beacon_does_not_know(failing: Flask, asked: list[str]) -> None:
    found = search(failing, "done-1")
    assert [(hit["kind"], hit["id"], hit["state"]) for hit in found["data"]] == [("job", "done-1", "finished")]
    assert (found["meta"]["complete"], found["meta"]["notAnswered"]) == (False, ["shop"])
    assert asked == ["done-1"]
    said = words(page(failing, "done-1"))
    assert "No answer from Shop: the job may be there." in said
    assert "Asked for this id: 2 services, of which 1 answered" in said


@pytest.mark.parametrize("text", ["mail", "two words", "order 4711", "bad"])
def test_services_are_not_asked_for_words(failing: Flask, asked: list[str], text: str) -> None:
    search(failing, text)
    assert asked == []


def test_people_are_found_by_administrators_alone(failing: Flask) -> None:
    assert ("person", "alice") in kinds(failing, "alice", ADA, "read", "admin")
    assert "/audit?actor=alice" in page(failing, "alice", ADA)
    assert kinds(failing, "alice", ADA, "read") == [], "a token never does more than its scopes"
    assert kinds(failing, "alice") == []
    assert "/audit?actor=alice" not in page(failing, "alice")


def test_arguments_are_never_searched(failing: Flask) -> None:
    job = Job("arg-1", "failed", "emails", 1)
    detail = JobDetail(job, function="mail.send", arguments="to='hidden@example.org'", description="send(zebra)")
    with failing.app_context(), write() as session:
        failure_store.add_failed(session, "mail", ["arg-1"])
        failure_store.record_facts(session, "mail", ["arg-1"], {"arg-1": detail})
    assert kinds(failing, "hidden@example.org") == kinds(failing, "zebra") == []


def test_the_page_lists_each_kind_with_states_as_words_and_links(failing: Flask) -> None:
    text = page(failing, "mail.send")
    said = words(text)
    assert "2 causes of failures" in said
    assert "3 failed now SMTPServerDisconnected in mail.send in Mail" in said
    assert re.search(r'href="/failures/[0-9a-f]+"', text)
    assert '<use href="#i-error"/>' in text


def test_every_page_has_the_box_and_the_address_is_the_search(failing: Flask) -> None:
    for path in ("/", "/failures", "/commands", "/services/mail", "/search?q=x"):
        text = logged_in(failing, ALICE).get(path, headers={"Accept": "text/html"}).text
        assert re.search(r'<form class="find" method="get" action="/search" role="search"', text), path
    assert 'id="find" name="q" type="search" value="7f3a"' in page(failing, "7f3a")


def test_without_a_text_the_page_says_what_can_be_found(cast: Flask) -> None:
    assert "the id of a job or a command" in words(page(cast, ""))
    assert "a person" not in words(page(cast, " "))
    assert "a person" in words(page(cast, "", ADA))


def test_nothing_found_says_how_to_search_and_what_was_searched(cast: Flask) -> None:
    said = words(page(cast, "no such thing"))
    assert "Nothing found." in said
    assert "Arguments of jobs are not searched" in said
    assert "failed jobs since" in said


def test_a_search_that_was_stopped_says_how_far_it_came(failing: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finder, "SEARCH_TIMEOUT_S", 0)
    meta = search(failing, "nothing such")["meta"]
    assert meta["complete"] is False
    assert "error messages" in meta["notSearched"]
    assert "The search stopped before its end. Not searched completely:" in words(page(failing, "nothing such"))


def test_too_many_hits_are_cut_and_it_is_said(failing: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(failing, "mail", *(f"many-{number:02}" for number in range(25)))
    found = search(failing, "many-")
    assert (len(found["data"]), found["meta"]["more"]) == (20, ["job"])
    assert "Found 20+ jobs" in words(page(failing, "many-"))


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_can_be_searched_for_and_is_shown_as_text(failing: Flask, text: str) -> None:
    assert search(failing, text)["meta"]["searchedSince"]
    shown = page(failing, text)
    assert "<script>alert" not in shown.split("<main", 1)[1]
    assert "<b>bad" not in page(failing, "bad")


def test_a_text_that_is_empty_or_too_long_is_refused_with_a_reason(failing: Flask) -> None:
    for text in ("", "  ", "x" * 1_001):
        headers = headers_of(failing, ALICE, "read")
        answer = failing.test_client().get("/api/search", query_string={"q": text}, headers=headers)
        assert (answer.status_code, answer.get_json()["errors"]["q"][:8]) == (400, "expected")
    assert "too long to be searched for" in words(page(failing, "x" * 1_001, status=400))


def test_workers_and_queues_of_the_newest_snapshot_are_found_with_their_state(failing: Flask) -> None:
    workers = [{"id": 'shop-"9"', "state": "dead", "queues": ["letters"], "seen_at": None}]
    unserved = {"letters-slow": "2026-11-21T12:00:00.000Z"}
    with failing.app_context(), write() as session:
        texts = {"workers_json": json.dumps(workers), "unserved_json": json.dumps(unserved)}
        session.add(ServiceState(service_id="shop", **texts))
    found = {(hit["kind"], hit["id"]): hit["state"] for hit in search(failing, "letters")["data"]}
    assert found == {("queue", "letters"): "watched", ("queue", "letters-slow"): "no-worker"}
    href = "/services/shop?workers=all#workers-title"
    for text in ("op-", '"9"'):
        [hit] = [hit for hit in search(failing, text)["data"] if hit["kind"] == "worker"]
        assert (hit["id"], hit["state"], hit["href"]) == (
            'shop-"9"',
            "dead",
            href,
        )
    assert "No worker" in words(page(failing, "letters"))
