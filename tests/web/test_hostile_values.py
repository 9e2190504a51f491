"""Ids, names, messages and tracebacks of jobs are shown as text everywhere: page, stream, CSV, search, notification."""

import csv
import io
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.db import write
from app.failures import failure_announcer
from app.failures.tracker import FailureTracker
from app.infra.clock import utc_now
from app.infra.lease import Lease
from app.reconciliation import registry
from app.reconciliation.explanations import EventExplainer
from app.reconciliation.observer import ServiceObserver, WatchedService
from app.search import finder
from app.sources.protocol import (
    MAX_TRACEBACK_BYTES,
    Anomaly,
    Capabilities,
    Job,
    JobDetail,
    JobError,
    JobFilter,
    JobLookup,
    LeftOut,
    Listing,
    ReadOnlySource,
    Selection,
    ServiceSnapshot,
    StuckJob,
    Worker,
    clean_text,
    find_job_id_fault,
)
from app.sources.tracebacks import Frame
from tests.support.any_service import ANY_KIND, NOWHERE
from tests.support.cast import ADA, ALICE, BOB, headers_of, logged_in
from tests.support.hostile_texts import ALL_TEXTS, TEXTS, ShownPage, essence
from tests.support.machine import scaled
from tests.support.sse_client import open_stream, parse

SERVICE = "mail"
HOME = f"/services/{SERVICE}"
COMMAND = "retry-all"
STACK = 'Traceback (most recent call last):\n  File "/srv/shop/mail.py", line 7, in send\n    deliver()\n'
# Of a text that is longer than a page shows.
SHOWN_CHARS = 150
# As sources cut the texts of a job, but for its traceback.
MAX_CHARS = 2_000
# What a spreadsheet takes for the beginning of a formula.
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")
POLLS_TO_MISS = 3


def make_id(number: int, text: str) -> str:
    """With the text in it, if a source accepts that as an id; sources leave out all others."""
    job_id = f"{text}#{number}"
    return f"job#{number}" if find_job_id_fault(job_id) else job_id


IDS = {name: make_id(number, text) for number, (name, text) in enumerate(ALL_TEXTS.items())}
TEXTS_BY_ID = {IDS[name]: text for name, text in ALL_TEXTS.items()}
WAITING = [f"{job_id} waits" for job_id in TEXTS_BY_ID]


class HostileSource(ReadOnlySource):
    """Has a hostile text wherever the text of a service may stand. One more of its jobs fails with each poll, and in
    the end it has lost those that wait."""

    capabilities = Capabilities("lookup")

    def __init__(self) -> None:
        self._polls = 0

    def read_snapshot(self) -> ServiceSnapshot:
        self._polls += 1
        names = [clean_text(text)[:200] for text in ALL_TEXTS.values()]
        some = list(zip(TEXTS_BY_ID, names, strict=True))[: self._polls]
        failed = {job_id: Job(job_id, "failed", name) for job_id, name in some}
        is_forgetful = self._polls > len(names)
        queued = {} if is_forgetful else {job_id: Job(job_id, "queued", names[0]) for job_id in WAITING}
        return ServiceSnapshot(
            counts={"queued": len(queued), "failed": len(failed)},
            listings=(
                Listing("queued", False, queued, left_out=LeftOut(1, names[0])),
                Listing("failed", True, failed),
            ),
            latency_ms=3,
            anomalies=(Anomaly("overdue", tuple(failed), names[0]),),
            workers=tuple(Worker(name, "busy", (name,), WAITING[0], note=name) for name in names),
            health=names[1],
        )

    def look_up(self, job_id: str) -> JobLookup:
        return JobLookup("unknown")

    def detail(self, job_id: str) -> JobDetail | None:
        whole = TEXTS_BY_ID.get(job_id)
        if whole is None:
            return None
        text = whole[:MAX_CHARS]
        return JobDetail(
            Job(job_id, "failed", text, 1),
            description=text,
            enqueued_at=utc_now() - timedelta(minutes=2),
            ended_at=utc_now() - timedelta(minutes=1),
            worker=text,
            error=JobError(text, f"{text} delivery", Frame(text, None)),
            function=text,
            traceback=f"{STACK}{text}: {whole}\n"[-MAX_TRACEBACK_BYTES:],
            arguments=text,
            depends_on=(job_id,),
            dependents=(job_id,),
            related={text: job_id},
            not_told={"startedAt": text},
        )

    def stuck(self) -> Sequence[StuckJob]:
        return [StuckJob(Job(job_id, "failed"), text[:MAX_CHARS]) for job_id, text in TEXTS_BY_ID.items()]

    def select(self, wanted: JobFilter, limit: int) -> Selection:  # type: ignore[override]
        return Selection(utc_now(), len(TEXTS_BY_ID), tuple(TEXTS_BY_ID)[:limit])

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def hostile(cast: Flask, monkeypatch: pytest.MonkeyPatch) -> Flask:
    """Watched until all of its jobs have failed or are missing, and Bob has asked to retry those that failed."""
    source = HostileSource()
    monkeypatch.setattr(registry, "source_maker", lambda *_: lambda: source)
    monkeypatch.setattr(registry, "capabilities_of", lambda _: source.capabilities)
    monkeypatch.setattr(failure_announcer, "NEW_CAUSES_INTERVAL_S", 0)
    monkeypatch.setattr(finder, "SEARCH_TIMEOUT_S", scaled(10))
    with cast.app_context():
        with write() as session:
            registry.add(session, id=SERVICE, name=f"Mail {TEXTS['handler']}", kind=ANY_KIND, url=NOWHERE)
        lease = Lease(ttl_s=scaled(60))  # a poller would renew it
        assert lease.try_acquire()
        observer = ServiceObserver(
            lease, 5, [EventExplainer()], second_snapshot_after_s=0, followers=[FailureTracker()]
        )
        for _ in range(len(ALL_TEXTS) + POLLS_TO_MISS):
            assert observer.observe(WatchedService(SERVICE, source)).answered
    order = {"commandId": COMMAND, "actionType": "retry-job", "service": SERVICE, "targets": list(TEXTS_BY_ID)}
    answer = cast.test_client().post("/commands/run", json=order, headers=headers_of(cast, BOB, "command"))
    assert answer.status_code == 202, answer.text
    return cast


def assert_harmless(browser: FlaskClient, path: str, shows: Collection[str] = ()) -> None:
    """`shows`: the names of the texts that people see there, as text."""
    answer = browser.get(path, headers={"Accept": "text/html"})
    assert answer.status_code == 200, (path, answer.text[:2_000])
    shown = ShownPage(answer.text)
    assert shown.harm == [], path
    seen = essence(shown.text)
    missing = [name for name in shows if essence(ALL_TEXTS[name][:SHOWN_CHARS]) not in seen]
    assert missing == [], path


# The pages, and whether each of them shows every text.
PAGES = {
    "/": False,
    "/failures": True,
    HOME: True,
    f"{HOME}/jobs?state=failed": True,
    f"{HOME}/failures": True,
    f"{HOME}/stuck": True,
    f"{HOME}/commands": False,
    f"{HOME}/commands/review?do=delete-job&scope=filter&state=failed": False,
    "/discrepancies": False,
    "/notifications": True,
    "/notifications/panel": False,
    "/commands": False,
    f"/commands/{COMMAND}": False,
    "/audit": False,
    "/trends": False,
    "/admin/services": False,
    "/search?q=delivery": False,
    "/search?q=mail": False,
}


def test_pages_show_texts_and_nothing_of_them_runs(hostile: Flask) -> None:
    browser = logged_in(hostile, ADA)
    for path, is_complete in PAGES.items():
        assert_harmless(browser, path, ALL_TEXTS if is_complete else ())


def test_the_pages_of_jobs_and_causes_show_their_texts(hostile: Flask) -> None:
    browser = logged_in(hostile, ADA)
    for name, job_id in IDS.items():
        assert_harmless(browser, f"{HOME}/jobs/{quote(job_id, safe='')}", [name])
    assert_harmless(browser, f"{HOME}/jobs/{quote(WAITING[0], safe='')}")
    groups = hostile.test_client().get("/failures", headers=headers_of(hostile, ALICE, "read")).get_json()["data"]
    assert len(groups) == len(ALL_TEXTS)
    for group in groups[::4]:
        assert_harmless(browser, f"/failures/{group['group']}")


def strings(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set().union(*(strings(part) for pair in value.items() for part in pair), set())
    if isinstance(value, list):
        return set().union(*(strings(part) for part in value), set())
    return {value} if isinstance(value, str) else set()


def has_all_ids(texts: Collection[str], ids: Collection[str]) -> bool:
    everything = "\n".join(texts)
    return all(job_id in everything for job_id in ids)


def test_json_exports_and_search_have_the_ids_and_no_formula(hostile: Flask) -> None:
    client, headers = hostile.test_client(), headers_of(hostile, ALICE, "read")
    for path, ids in {
        "/reconciliation/discrepancies?limit=500": WAITING,
        f"/commands/{COMMAND}": list(TEXTS_BY_ID),
        f"{HOME}/failures?limit=500": list(TEXTS_BY_ID),
        "/api/events?after=0&limit=500": WAITING,
        "/api/search?q=delivery": [IDS[name] for name in IDS if name != "megabyte"],
        "/services/registered": [],
    }.items():
        answer = client.get(path, headers=headers)
        assert answer.status_code == 200, (path, answer.text)
        assert has_all_ids(strings(answer.get_json()), ids), path

    browser = logged_in(hostile, ADA)
    for path, ids in {"/discrepancies?format=csv": WAITING, "/audit?format=csv": list(TEXTS_BY_ID)}.items():
        cells = [cell for row in csv.reader(io.StringIO(browser.get(path).text, newline="")) for cell in row]
        assert [cell for cell in cells if cell.startswith(FORMULA_SIGNS)] == [], path
        seen = essence("".join(cells)).replace("\\", "")
        assert [job_id for job_id in ids if essence(job_id).replace("\\", "") not in seen] == [], path

    for name, text in ALL_TEXTS.items():
        sent = text.encode("utf-8", "replace").decode()[:SHOWN_CHARS]
        assert_harmless(browser, f"/search?q={quote(sent)}", [name])
        found = client.get("/api/search", query_string={"q": IDS[name]}, headers=headers).get_json()["data"]
        assert ("job", IDS[name]) in [(hit["kind"], hit["id"]) for hit in found], name


def test_streams_have_the_events_of_the_log_and_no_other(live_app: Flask, hostile: Flask) -> None:
    client, headers = hostile.test_client(), headers_of(live_app, ALICE)
    logged = client.get("/api/events?after=0&limit=500", headers=headers).get_json()["data"]
    frames = {}
    for shape in ("json", "html"):
        path = f"/api/stream/events?as={shape}&lastEventId=0"
        with open_stream(client, path, headers=headers) as reader:
            frames[shape] = [frame for frame in reader.frames(len(logged) + 1) if frame.event != "hello"]
        assert [frame.id for frame in frames[shape]] == [str(event["id"]) for event in logged]
    assert [frame.json()["data"] for frame in frames["json"]] == [event["data"] for event in logged]
    polled = parse(client.get("/api/events/frames?after=0", headers=headers).data)
    assert [frame.data for frame in polled if frame.id] == [frame.data for frame in frames["html"]]
    page = ShownPage("".join(frame.data for frame in frames["html"] if frame.event == "message"))
    assert page.harm == []
    seen = essence(page.text)
    assert [name for name, text in ALL_TEXTS.items() if essence(text[:SHOWN_CHARS]) not in seen] == []
