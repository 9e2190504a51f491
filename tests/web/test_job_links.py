"""A job's id leads to its page wherever it stands, whatever characters it has."""

import pytest
from flask import Flask

from app.eventlog.reader import Event
from app.web.dashboard import push_fragments
from app.web.dashboard.view_models import job_href
from tests.web.payloads import discrepancy


@pytest.mark.parametrize(
    ("job_id", "path"),
    [("a", "a"), ("a/b", "a%2Fb"), ("ä?#%", "%C3%A4%3F%23%25"), ('"><', "%22%3E%3C"), ("\ud800", "%3F")],
)
def test_a_link_has_the_whole_id(job_id: str, path: str) -> None:
    assert job_href("/services/mail", job_id) == f"/services/mail/jobs/{path}"


def test_missing_jobs_are_links_on_tile_strip_and_in_the_activity(bare: Flask) -> None:
    payload = discrepancy("job/1", "job\ud800", previousStatus="verified")
    event = Event(7, "reconciliation.update", "everyone", payload, "2026-11-21T12:03:05.123Z")
    text = push_fragments.render_fragments(event) or ""
    assert text.count('href="/services/mail/jobs/job%2F1"') == 3
    assert text.count('href="/services/mail/jobs/job%3F"') == 3
