"""The page of one job: what happened, why it failed, what Beacon believes; the unknown is a dash with its reason."""

import re
from collections.abc import Iterator
from html import unescape

import pytest
from flask import Flask

from app.db import write
from app.eventlog.append import NewEvent
from app.infra.clock import parse_utc
from app.reconciliation import registry
from app.reconciliation.models import KnownJob, ServiceState
from app.sources.palantir.palantir_source import PalantirSource
from app.sources.protocol import SourceError
from tests.sources.upstream import upstream
from tests.support.any_service import ANY_KIND, NOWHERE
from tests.support.cast import ALICE, BOB, Person, headers_of, logged_in, publish
from tests.support.demo_service import DemoService, start_demo
from tests.web.record_scene import at, item, put
from tests.web.test_failure_pages import fail

SERVICE = "mail"


@pytest.fixture(scope="module")
def demo_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoService]:
    running = start_demo(tmp_path_factory.mktemp("demo"))
    yield running
    running.stop()


@pytest.fixture
def demo(demo_process: DemoService) -> DemoService:
    demo_process.reset()
    return demo_process


@pytest.fixture
def watching(cast: Flask, demo: DemoService) -> Flask:
    with cast.app_context(), write() as session:
        registry.add(session, id=SERVICE, name="Mail", kind="palantir", url=demo.url)
    return cast


@pytest.fixture
def silent(cast: Flask) -> Flask:
    with cast.app_context(), write() as session:
        registry.add(session, id=SERVICE, name="Mail", kind=ANY_KIND, url=NOWHERE)
    return cast


def page(app: Flask, job_id: str, person: Person = ALICE) -> str:
    answer = logged_in(app, person).get(f"/services/{SERVICE}/jobs/{job_id}", headers={"Accept": "text/html"})
    assert answer.status_code == 200, answer.text
    return answer.text


def words(text: str) -> str:
    """What a reader sees of it."""
    body = text[text.index("<main") :]
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def test_a_failed_job_says_what_failed_where_and_when(watching: Flask, demo: DemoService) -> None:
    demo.create_job(id="job-1", state="failed", queue="billing")
    said = words(page(watching, "job-1"))
    assert "billing.charge job-1" in said
    assert "Failed without saying why" in said
    assert "Attempt 1 of 3" in said
    assert re.search(r"Ended: failed Failed without saying why Mail", said)
    assert "Beacon follows jobs until they end, and this one is not among them." in said


def test_a_job_of_a_silent_service_has_what_beacon_knows_and_no_more(silent: Flask) -> None:
    with silent.app_context(), write() as session:
        session.add(KnownJob(service_id=SERVICE, job_id="job-1", state="queued", queue="out", seen_at=at(0)))
    said = words(page(silent, "job-1"))
    assert "Mail does not tell about this job now: the service refused the connection" in said
    assert "Waiting when it was last seen" in said
    assert "The newest poll did not find it. It was last seen queued in queue out at 2026-11-21 12:00:00 UTC." in said
    assert "A second snapshot within a second did not find it" in said
    assert "Not known" in said


def test_a_missing_job_has_its_history_and_its_reasons(silent: Flask) -> None:
    put(silent, item(SERVICE, "job-1", "missing", at(5)))
    publish(silent, NewEvent("job.queued", {"service": SERVICE, "jobId": "job-1"}))
    said = words(page(silent, "job-1"))
    assert "All five conditions of a missing job held when it was declared." in said
    assert "Declared missing" in said
    assert "Queued (job.queued) published" in said


def test_what_cannot_be_known_yet_is_a_dash_with_the_reason(watching: Flask, demo: DemoService) -> None:
    demo.create_job(id="job-1", state="queued")
    said = words(page(watching, "job-1"))
    assert "Started — not yet" in said
    assert "Ran for — not yet" in said
    demo.create_job(id="job-1", state="running")
    said = words(page(watching, "job-1"))
    assert "Ended — not yet" in said
    assert "Planned for" not in said


def test_arguments_are_shown_only_where_the_service_allows_it(watching: Flask, demo: DemoService) -> None:
    demo.create_job(id="job-1", state="queued")
    assert "Arguments" not in words(page(watching, "job-1"))
    with watching.app_context(), write() as session:
        registry.put(session, id=SERVICE, name="Mail", kind="palantir", url=demo.url, show_arguments="all")
    assert re.search(r"Arguments order=\d+, token=\(hidden\)", words(page(watching, "job-1")))


@pytest.mark.parametrize(("person", "disabled"), [(ALICE, True), (BOB, False)])
def test_actions_are_offered_and_say_what_they_need(
    watching: Flask, demo: DemoService, person: Person, disabled: bool
) -> None:
    demo.create_job(id="job-1", state="failed")
    text = page(watching, "job-1", person)
    [button] = re.findall(r'<button[^>]*value="retry-job:job-1"[^>]*>', text)
    assert ("disabled" in button) is disabled
    assert ("Commands need the role operator" in text) is disabled


def test_a_job_that_nobody_knows_is_a_page_that_says_so(watching: Flask) -> None:
    answer = logged_in(watching, ALICE).get(f"/services/{SERVICE}/jobs/nobody", headers={"Accept": "text/html"})
    assert answer.status_code == 404
    assert "Neither Beacon nor the service knows a job with this id." in answer.text


def test_a_service_that_answers_no_check_is_not_waited_for_unless_somebody_asks(cast: Flask) -> None:
    with upstream() as mail:
        mail.answers["/api/v1/jobs/job-1"] = lambda _request: mail.hold()
        with cast.app_context(), write() as session:
            registry.add(session, id=SERVICE, name="Mail", kind="palantir", url=mail.url)
            session.merge(ServiceState(service_id=SERVICE, failing_since=at(9), last_answer_at=at(5)))
        fail(cast, SERVICE, "job-1")
        said = words(page(cast, "job-1"))
        assert "Mail has not been reachable since 12:05:00 UTC : the service did not answer within 0.2 s." in said
        assert "SMTPServerDisconnected" in said
        page(cast, "job-1")
        assert "others are waiting for its answer." in words(page(cast, "job-1")), "it does not take all slots"
        mail.json("/api/v1/jobs/job-1", {"id": "job-1", "state": "failed", "queue": "out"})
        mail.released.set()
        assert "not been reachable" not in words(page(cast, "job-1?ask=now"))


def test_others_that_failed_like_this_are_counted(watching: Flask, demo: DemoService) -> None:
    demo.create_job(id="a", state="failed")
    fail(watching, SERVICE, "a", "b", "c")
    assert "2 others failed like this" in words(page(watching, "a"))


def test_a_list_names_function_and_error_of_each_job_and_leads_to_its_page(watching: Flask, demo: DemoService) -> None:
    demo.create_job(id="job-1", state="failed", queue="billing")
    text = logged_in(watching, ALICE).get(f"/services/{SERVICE}/jobs", headers={"Accept": "text/html"}).text
    assert f'href="/services/{SERVICE}/jobs/job-1"' in text
    assert re.search(r"billing\.charge .*Failed without saying why", words(text))


def test_a_list_whose_jobs_cannot_be_read_names_their_ids(
    watching: Flask, demo: DemoService, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise SourceError("refused the connection")

    monkeypatch.setattr(PalantirSource, "read_facts", refuse)
    demo.create_job(id="job-1", state="failed")
    text = logged_in(watching, ALICE).get(f"/services/{SERVICE}/jobs", headers={"Accept": "text/html"}).text
    assert f'href="/services/{SERVICE}/jobs/job-1"' in text


def test_hostile_ids_are_text(silent: Flask) -> None:
    hostile = "<script>alert(1)</script>"
    with silent.app_context(), write() as session:
        session.add(KnownJob(service_id=SERVICE, job_id=hostile, state="queued", queue=hostile, seen_at=None))
    text = page(silent, "%3Cscript%3Ealert(1)%3C%2Fscript%3E")
    assert hostile not in text
    assert hostile in words(text)


def test_a_failed_job_of_a_silent_service_has_the_facts_that_were_read(silent: Flask) -> None:
    fail(silent, SERVICE, "a", "b", "c", ended_at=parse_utc(at(0)))
    text = page(silent, "b")
    said = words(text)
    assert "mail.send b" in said
    assert "Failed when it was last seen" in said
    assert "smtplib.SMTPServerDisconnected : Connection unexpectedly closed" in said
    assert "in shop/mail/transport.py:88 in deliver" in said
    assert "Attempt 3 of 5" in said
    assert "Queued — Beacon does not keep it" in said
    assert "Found failed Beacon" in said
    assert "2 others failed like this" in said
    assert [f"/services/{SERVICE}/jobs/{job_id}" in text for job_id in "ac"] == [True, True]


def test_a_job_and_its_cause_lead_to_each_other(watching: Flask, demo: DemoService) -> None:
    demo.create_job(id="a", state="failed")
    fail(watching, SERVICE, "a")
    text = page(watching, "a")
    assert "No other job failed like this" in words(text)
    [group] = set(re.findall(r'href="(/failures/[0-9a-f]+)"', text))
    assert "/ SMTPServerDisconnected in mail.send" in words(text)
    cause = logged_in(watching, ALICE).get(group, headers={"Accept": "text/html"}).text
    assert f'href="/services/{SERVICE}/jobs/a"' in cause
    answer = watching.test_client().get(f"/services/{SERVICE}/jobs/a", headers=headers_of(watching, ALICE, "read"))
    assert answer.get_json()["cause"] == {"group": group.rpartition("/")[2], "count": 1}
