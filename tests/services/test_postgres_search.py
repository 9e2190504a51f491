"""The search finds on PostgreSQL what it finds on SQLite, and any text is only text there, too."""

import time

import pytest
import sqlalchemy as sa
from flask import Flask

from app.commands.models import CommandRow
from app.db import write
from app.failures import failure_retention, failure_store
from app.infra.clock import utc_text
from app.reconciliation.models import KnownJob
from app.search.limited_reader import LimitedReader, TimeUp, run_search
from tests.search.test_fact_search import SERVICES, fail, find, found, jobs, upgrade_again
from tests.search.test_search_terms import HOSTILE
from tests.support.cast import ALICE, join
from tests.web.record_scene import watched


@pytest.fixture
def facts(app: Flask) -> Flask:
    watched(app, *SERVICES)
    return app


def test_ids_names_and_words_are_found(facts: Flask) -> None:
    join(facts, ALICE)
    fail(facts, "7f3a91c2e4d8", "Connection unexpectedly closed for order-4711")
    fail(facts, "8c11d0aa0f2b", "Connection refused: Überlauf")
    with facts.app_context(), write() as session:
        session.add(KnownJob(service_id="shop", job_id="9d_1", state="queued", queue="letters"))
        session.flush()
        row = {"body_hash": "h", "asked_json": "{}", "action": "retry-job", "target": "t", "actor": "bob"}
        at = utc_text()
        session.add(
            CommandRow(id="4f6d", service_id="mail", phase="success", created_at=at, ended_at=at, total=1, **row)
        )
    for text in ("7f3a91c2e4d8", "7f3a", "closed", "CONNECTION 4711", "unexp order-4711"):
        assert jobs(facts, text) == ["7f3a91c2e4d8"], text
    assert jobs(facts, "überlauf") == jobs(facts, "Überl") == ["8c11d0aa0f2b"]
    assert (jobs(facts, "9d_1"), jobs(facts, "9d_")) == (["9d_1"], ["9d_1"])
    assert jobs(facts, "9d%") == []
    assert found(facts, "4f6") == [("command", "4f6d", "success")]
    assert found(facts, "letter") == [("queue", "letters", "busy")]
    assert found(facts, "ail-7") == [("worker", "mail-7", "failed")]
    assert found(facts, "ali", people=True) == [("person", "alice", "active")]
    assert len(find(facts, "mail.send").hits.of_kind("failure")) == 2


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_is_only_text(facts: Flask, text: str) -> None:
    fail(facts, "a1", f"before {text} after".replace("\0", " "))
    assert find(facts, text).unfinished == []


def test_facts_from_before_the_upgrade_are_found_after_it(facts: Flask) -> None:
    fail(facts, "a1", "some reason")
    upgrade_again(facts)
    assert jobs(facts, "reason") == jobs(facts, "a1") == ["a1"]
    assert found(facts, "emails") == [("queue", "emails", "failed")]


def test_what_is_deleted_is_not_found_any_more(facts: Flask) -> None:
    fail(facts, "a1", "some reason")
    with facts.app_context(), write() as session:
        failure_store.mark_gone(session, "mail", ["a1"])
    with facts.app_context():
        failure_retention.prune(-1)
    assert found(facts, "reason") == []


def test_a_statement_that_takes_too_long_is_ended_and_so_is_the_search(facts: Flask) -> None:
    def wait_twice(reader: LimitedReader) -> str:
        for _ in range(2):
            with pytest.raises(TimeUp):
                reader.fetch(sa.text("SELECT pg_sleep(30)"))
        return "ended"

    with facts.app_context():
        assert run_search(wait_twice, time.monotonic() + 0.2) == "ended"
