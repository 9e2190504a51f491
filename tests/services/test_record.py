"""The record and the page of a service over PostgreSQL: the same rows, each once, as over SQLite."""

import random
import re

import pytest
from flask import Flask

from app.db import read, write
from app.infra.clock import utc_now, utc_text
from app.reconciliation import registry
from app.reconciliation.models import CheckSample, KnownJob
from app.sources.protocol import MAX_JOB_ID_BYTES
from app.stream.viewer_count import count_streams
from app.web.services import check_history
from tests.support.cast import ALICE, join, logged_in
from tests.web.record_scene import at, happened, item, put, watched
from tests.web.test_discrepancy_page import pages, rows_of, text_of


@pytest.fixture
def scene(app: Flask) -> Flask:
    """Names that a locale sorts otherwise than their bytes; some moments have several rows."""
    join(app, ALICE)
    watched(app, "a-b", "ab", "a-c")
    closed = {"at": at(5), "how": "accepted", "by": "bob", "why": "deleted by hand"}
    rows = [
        happened(name, "discrepancy", at(n % 60, 10 + n // 60), [f"{name}-{n}"])
        for n in range(40)
        for name in ("a-b", "ab", "a-c")
    ]
    put(app, *rows, *(item("ab", f"u-{n}", "unaccounted", at(n, 11)) for n in range(20)))
    put(app, happened("ab", "verified", at(5)), item("ab", "ab-39", "missing", at(39, 10), **closed))
    return app


@pytest.mark.parametrize("query", ["", "?sort=service", "?sort=service&order=desc", "?order=asc", "?q=id:9"])
def test_the_pages_hold_every_row_once(scene: Flask, query: str) -> None:
    rows = [row for page in pages(logged_in(scene, ALICE), query) for row in page]
    assert len(rows) == len(set(rows)) == (14 if "q=" in query else 140)


def test_a_row_says_how_it_ended(scene: Flask) -> None:
    [row] = rows_of(text_of(logged_in(scene, ALICE), "?q=id:ab-39+-service:a-b"))
    assert re.search(r"12:05:00 · 1 accepted by bob: deleted by hand$", row)


def test_the_longest_id_fits_into_every_index(scene: Flask) -> None:
    """PostgreSQL refuses entries of more than 2,704 bytes, and these cannot be made smaller."""
    service, signs = "s" * 64, random.Random(7)
    job_id = "".join(chr(signs.randrange(0x4E00, 0x9FFF)) for _ in range(MAX_JOB_ID_BYTES // 3))
    with scene.app_context(), write() as session:
        registry.add(session, id=service, name="S", kind="palantir", url="http://127.0.0.1:1")
        session.add(KnownJob(service_id=service, job_id=job_id, state="queued"))
    put(scene, item(service, job_id, "missing", at(5)))
    with scene.app_context(), read() as session:
        assert session.get(KnownJob, (service, job_id)) is not None


def test_the_graph_and_the_footer_are_read(scene: Flask) -> None:
    with scene.app_context(), write() as session:
        row = CheckSample(service_id="ab", at=utc_text(utc_now()), ok=True, status="verified", latency_ms=7)
        row.counts_json = "{}"
        session.add(row)
    with scene.app_context(), read() as session:
        assert check_history.load_history(session, "ab", "day").sentence.startswith("1 of 1 checks answered")
        assert count_streams(session) == 0
    assert "<b>1</b> polls per minute" in logged_in(scene, ALICE).get("/cost").text
    assert "Ab" in logged_in(scene, ALICE).get("/services/ab").text
