"""What Beacon knows is found by ids, names and words, also after jobs were retried, failed again or were deleted."""

import threading
import time
from collections.abc import Sequence

import flask_migrate
import pytest
import sqlalchemy as sa
from flask import Flask

from app.commands.models import CommandRow
from app.db import db, write
from app.failures import failure_retention, failure_store
from app.failures.models import FailedJob
from app.infra.clock import utc_now, utc_text
from app.infra.database_upgrade import MIGRATIONS
from app.infra.problems import Problem
from app.reconciliation.models import KnownJob, OpenItem
from app.search import limited_reader, search_queries
from app.search.fact_search import FactFindings, FactScope, search_facts
from app.search.limited_reader import TimeUp, run_search
from app.search.search_terms import SearchTerms
from app.sources.protocol import Job, JobDetail, JobError
from tests.support.machine import scaled
from tests.web.record_scene import watched

SERVICES = ("mail", "shop")


@pytest.fixture
def facts(cast: Flask) -> Flask:
    watched(cast, *SERVICES)
    return cast


def fail(app: Flask, job_id: str, message: str, *, service: str = "mail", function: str = "shop.mail.send") -> None:
    detail = JobDetail(
        Job(job_id, "failed", "emails", 1),
        function=function,
        error=JobError("smtplib.SMTPServerDisconnected", message),
        worker="mail-7",
        ended_at=utc_now(),
    )
    with app.app_context(), write() as session:
        failure_store.add_failed(session, service, [job_id])
        failure_store.record_facts(session, service, [job_id], {job_id: detail})


def find(
    app: Flask, text: str, services: Sequence[str] = SERVICES, *, people: bool = False, within_s: float = 10
) -> FactFindings:
    with app.app_context():
        scope, ends_at = FactScope(services, people), time.monotonic() + scaled(within_s)
        return run_search(lambda reader: search_facts(reader, SearchTerms.parse(text), scope), ends_at)


def found(app: Flask, text: str, *, people: bool = False) -> list[tuple[str, str, str]]:
    return sorted((hit.kind, hit.id, hit.state) for hit in find(app, text, people=people).hits)


def jobs(app: Flask, text: str) -> list[str]:
    return [hit.id for hit in find(app, text).hits.of_kind("job")]


def test_a_failed_job_is_found_by_its_id_its_beginning_and_the_words_of_its_error(facts: Flask) -> None:
    fail(facts, "7f3a91c2e4d8", "Connection unexpectedly closed for order 4711")
    fail(facts, "8c11d0aa0f2b", "Connection refused")
    for text in ("7f3a91c2e4d8", "7f3a", "closed", "CONNECTION 4711", "unexp order"):
        assert jobs(facts, text) == ["7f3a91c2e4d8"], text
    assert set(jobs(facts, "connection")) == {"7f3a91c2e4d8", "8c11d0aa0f2b"}
    assert jobs(facts, "91c2") == []
    assert jobs(facts, "refused closed") == []


def test_causes_are_found_by_any_part_of_function_type_and_message(facts: Flask) -> None:
    fail(facts, "a", "Connection unexpectedly closed")
    for text in ("mail.send", "Disconnected", "smtpserver", "expectedly"):
        causes = find(facts, text).hits.of_kind("failure")
        assert [(cause.state, cause.facts["count"]) for cause in causes] == [("failing", 1)], text


def test_a_word_of_one_job_leads_to_its_cause_although_another_message_stands_for_it(facts: Flask) -> None:
    fail(facts, "a", "order 4711 is odd", function="f")
    fail(facts, "b", "order 4712 is odd", function="f")
    assert [hit.facts["count"] for hit in find(facts, "4711").hits.of_kind("failure")] == [2]


def test_queues_and_workers_in_which_jobs_fail_are_found_by_part_of_their_name(facts: Flask) -> None:
    fail(facts, "a", "no")
    with facts.app_context(), write() as session:
        session.add(KnownJob(service_id="shop", job_id="k1", state="queued", queue="emails-slow"))
    assert found(facts, "email") == [("queue", "emails", "failed"), ("queue", "emails-slow", "busy")]
    assert found(facts, "ail-7") == [("worker", "mail-7", "failed")]


def test_unfinished_and_missing_jobs_are_found_and_say_what_they_are(facts: Flask) -> None:
    with facts.app_context(), write() as session:
        session.add(KnownJob(service_id="shop", job_id="job-1", state="queued", queue="q"))
        item = {"service_id": "shop", "since": utc_text(), "last_state": "queued"}
        session.add(OpenItem(id="i2", job_id="job-2", kind="missing", **item))
        closed = {"closed_at": utc_text(), "closed_how": "accepted"}
        session.add(OpenItem(id="i3", job_id="job-3", kind="missing", **item, **closed))
    assert found(facts, "job-") == [("job", "job-1", "queued"), ("job", "job-2", "missing")]
    assert found(facts, "job-3") == [("job", "job-3", "past")]


def test_commands_are_found_by_their_id(facts: Flask) -> None:
    with facts.app_context(), write() as session:
        row = {"body_hash": "h", "asked_json": "{}", "action": "retry-job", "target": "secret-target", "actor": "bob"}
        at = utc_text()
        session.add(
            CommandRow(id="4f6d-1", service_id="mail", phase="success", created_at=at, ended_at=at, total=1, **row)
        )
    assert found(facts, "4f6d-1") == found(facts, "4f6") == [("command", "4f6d-1", "success")]
    assert found(facts, "h") == []


def test_people_are_found_only_for_those_who_may_list_them(facts: Flask) -> None:
    assert found(facts, "ali", people=True) == [("person", "alice", "active")]
    assert found(facts, "ali") == []


def test_a_job_that_failed_again_for_another_reason_is_found_by_that_alone(facts: Flask) -> None:
    fail(facts, "a", "first reason")
    with facts.app_context(), write() as session:
        failure_store.forget_facts(session, "mail", sa.select(FailedJob.job_id))
    fail(facts, "a", "second reason")
    assert (jobs(facts, "first"), jobs(facts, "second")) == ([], ["a"])


def test_a_job_that_is_gone_says_so_and_is_not_found_once_it_is_deleted(facts: Flask) -> None:
    fail(facts, "a1", "some reason")
    with facts.app_context(), write() as session:
        failure_store.mark_gone(session, "mail", ["a1"])
    assert ("job", "a1", "gone") in found(facts, "reason")
    with facts.app_context():
        failure_retention.prune(-1)
    assert [found(facts, text) for text in ("reason", "a1", "emails", "mail-7")] == [[], [], [], []]


def test_services_that_are_not_watched_any_more_are_not_searched(facts: Flask) -> None:
    fail(facts, "a1", "some reason")
    for text in ("a1", "reason", "emails", "send"):
        assert len(find(facts, text, ["shop"]).hits) == 0, text


def test_a_search_that_runs_out_of_time_says_what_it_did_not_search(facts: Flask) -> None:
    fail(facts, "a1", "some reason")
    stopped = find(facts, "reason", within_s=0)
    assert "error messages" in stopped.unfinished
    assert len(stopped.hits) == 0
    assert find(facts, "reason").unfinished == []


def test_a_statement_that_takes_too_long_is_ended(facts: Flask) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    with facts.app_context(), pytest.raises(TimeUp):
        run_search(lambda reader: reader.fetch(sa.text(endless)), time.monotonic() + 0.1)


def test_causes_are_searched_beyond_the_first_window(facts: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_queries, "GROUPS_PER_WINDOW", 2)
    for number in range(5):
        fail(facts, f"j{number}", "reason", function=f"task{number}")
    for number in range(5):
        assert len(find(facts, f"task{number}").hits.of_kind("failure")) == 1


def test_of_many_hits_the_first_are_told_and_that_there_are_more(facts: Flask) -> None:
    for number in range(30):
        fail(facts, f"job-{number:02}", "reason")
    hits = find(facts, "job-").hits
    assert (hits.count("job"), hits.more) == (20, {"job"})
    assert find(facts, "job-29").hits.is_known_job("job-29")


def test_texts_of_any_kind_are_found_as_they_were_stored(facts: Flask) -> None:
    fail(facts, "<b>1", "<b>bold</b> \u202eevil Überlauf zahl=12,5")
    for text in ("bold", "Überlauf", "12", "<b>bold</b>", "<b>1"):
        assert jobs(facts, text) == ["<b>1"], text


def test_without_a_full_text_index_the_rest_is_searched_and_it_is_said(facts: Flask) -> None:
    fail(facts, "a1", "some reason")
    with facts.app_context(), write() as session:
        for name in ("insert", "update", "delete"):
            session.execute(sa.text(f"DROP TRIGGER failed_job_text_{name}"))
        session.execute(sa.text("DROP TABLE failure_text"))
    stopped = find(facts, "a1 ")
    assert [hit.id for hit in stopped.hits.of_kind("job")] == ["a1"]
    assert any("FTS5" in part for part in stopped.unfinished)


def test_facts_from_before_the_upgrade_are_found_after_it(facts: Flask) -> None:
    fail(facts, "a1", "some reason")
    upgrade_again(facts)
    assert jobs(facts, "reason") == jobs(facts, "a1") == ["a1"]
    assert found(facts, "emails") == [("queue", "emails", "failed")]
    with facts.app_context(), write() as session:
        failure_store.mark_gone(session, "mail", ["a1"])
    with facts.app_context():
        failure_retention.prune(-1)
    assert found(facts, "reason") == []


def upgrade_again(app: Flask) -> None:
    """As if it had run without the search until now."""
    flask_migrate.Migrate(app, db, directory=MIGRATIONS, render_as_batch=False)
    with app.app_context():
        flask_migrate.downgrade(revision="0021")
        flask_migrate.upgrade()


def test_a_search_for_which_there_is_no_room_in_time_is_refused(facts: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_running", "_pending"):
        with monkeypatch.context() as patch:
            patch.setattr(limited_reader, name, threading.BoundedSemaphore(1))
            getattr(limited_reader, name).acquire()
            with pytest.raises(Problem) as refusal:
                find(facts, "reason", within_s=0)
            assert (refusal.value.status, refusal.value.title) == (503, "Busy")
