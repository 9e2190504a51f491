"""Each fault as a client meets it, and the control API that sets it."""

import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from flask.testing import FlaskClient

from demo.job import Job, enqueue
from demo.snapshots import INTERVAL_S, KEPT, Snapshots
from demo.store import Store
from tests.support.demo_service import DemoService
from tests.support.machine import scaled
from tests.support.waiting import wait_for

COUNTS = "/api/v1/jobs/counts"


def refused(service: DemoService) -> bool:
    parts = urlsplit(service.url)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 0), timeout=scaled(2)).close()
    except (ConnectionRefusedError, ConnectionResetError):
        return True
    return False


def is_behind(service: DemoService, seconds: float) -> bool:
    """Whether its clock may be that far behind, given when the question was sent and answered."""
    sent = datetime.now(UTC)
    told = datetime.fromisoformat(service.counts()["asOf"])
    answered = datetime.now(UTC)
    tolerance = 0.1  # the copying itself takes time
    least, most = ((moment - told).total_seconds() for moment in (sent, answered))
    return least - tolerance <= seconds <= most + tolerance


def in_background(ask: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(ask()), daemon=True)
    thread.start()
    return thread, answers


def hanging(service: DemoService) -> bool:
    try:
        requests.get(service.url + COUNTS, timeout=0.2)
    except requests.ReadTimeout:
        return True
    return False


def test_no_fault_is_on_at_the_start(demo_service: DemoService) -> None:
    assert demo_service.get("/_fault").json() == {
        "mode": "none",
        "seconds": None,
        "until": None,
        "lostJobIds": [],
        "detail": "No fault is on.",
        "waiting": 0,
    }


def test_slow_delays_every_answer(shared_demo: DemoService) -> None:
    assert shared_demo.fault("slow", seconds=0.3)["seconds"] == 0.3
    started = time.monotonic()
    assert shared_demo.get("/api/v1/health").status_code == 200
    assert time.monotonic() - started >= 0.3


def test_slow_is_two_seconds_unless_asked(client: FlaskClient) -> None:
    assert client.put("/_fault", json={"mode": "slow"}).get_json() == {
        "mode": "slow",
        "seconds": 2,
        "until": None,
        "lostJobIds": [],
        "detail": "Every answer comes 2 s late.",
        "waiting": 0,
    }


def test_an_answer_under_way_comes_when_slow_ends(shared_demo: DemoService) -> None:
    shared_demo.fault("slow", seconds=60)
    thread, answers = in_background(lambda: shared_demo.get("/api/v1/health").status_code)
    assert hanging(shared_demo)
    shared_demo.fault("none")
    thread.join(scaled(5))
    assert answers == [200]


def test_hang_never_answers_until_it_ends(shared_demo: DemoService) -> None:
    shared_demo.fault("hang")
    thread, answers = in_background(lambda: shared_demo.get(COUNTS).status_code)
    assert hanging(shared_demo)
    assert not answers
    shared_demo.fault("none")
    thread.join(scaled(5))
    assert answers == [200]


def test_hang_ends_by_itself_after_its_seconds(shared_demo: DemoService) -> None:
    assert shared_demo.fault("hang", seconds=0.4)["until"]
    started = time.monotonic()
    assert shared_demo.get(COUNTS).status_code == 200
    assert time.monotonic() - started >= 0.3
    assert shared_demo.get("/_fault").json()["mode"] == "none"


def test_a_command_that_hangs_is_executed_once_all_the_same(shared_demo: DemoService) -> None:
    job = shared_demo.create_job()
    path = f"/api/v1/jobs/{job['id']}"
    shared_demo.fault("hang")
    with pytest.raises(requests.ReadTimeout):
        requests.delete(shared_demo.url + path, headers={"Idempotency-Key": "k"}, timeout=0.2)
    shared_demo.fault("none")
    assert shared_demo.command("DELETE", path, key="k").status_code == 200
    assert len(shared_demo.calls()) == 1


def test_a_hung_request_ends_when_its_peer_gives_up(shared_demo: DemoService) -> None:
    shared_demo.fault("hang")
    in_background(lambda: hanging(shared_demo))
    wait_for(lambda: shared_demo.get("/_fault").json()["waiting"] == 1)
    wait_for(lambda: shared_demo.get("/_fault").json()["waiting"] == 0)


def test_error_answers_500_and_executes_nothing(shared_demo: DemoService) -> None:
    job = shared_demo.create_job()
    shared_demo.fault("error")
    answer = shared_demo.command("DELETE", f"/api/v1/jobs/{job['id']}")
    assert answer.status_code == 500
    assert answer.json()["error"]
    shared_demo.fault("none")
    assert shared_demo.get(f"/api/v1/jobs/{job['id']}").status_code == 200
    assert shared_demo.calls() == []


def test_garbage_claims_to_be_json_and_is_not(shared_demo: DemoService) -> None:
    shared_demo.fault("garbage")
    answer = shared_demo.get(COUNTS)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    with pytest.raises(requests.JSONDecodeError):
        answer.json()
    with pytest.raises(UnicodeDecodeError):
        answer.content.decode()


def test_refuse_closes_the_port_and_opens_it_again(shared_demo: DemoService) -> None:
    told = shared_demo.fault("refuse", seconds=0.5)
    assert told["until"]
    assert refused(shared_demo)
    wait_for(lambda: not refused(shared_demo))
    assert shared_demo.get("/_fault").json()["mode"] == "none"
    assert shared_demo.get("/api/v1/health").status_code == 200


def test_refuse_works_every_time(shared_demo: DemoService) -> None:
    for _ in range(10):
        shared_demo.fault("refuse", seconds=0.05)
        wait_for(lambda: not refused(shared_demo))
        assert shared_demo.get(COUNTS).status_code == 200


def test_nobody_can_take_the_port_while_it_refuses(demo_service: DemoService) -> None:
    demo_service.fault("refuse", seconds=30)

    def take(thief: socket.socket) -> None:
        thief.bind(("127.0.0.1", urlsplit(demo_service.url).port))
        thief.listen()

    with socket.socket() as thief, pytest.raises(OSError, match="in use"):
        take(thief)


def test_refuse_lasts_half_a_minute_unless_asked(client: FlaskClient) -> None:
    assert client.put("/_fault", json={"mode": "refuse"}).get_json()["seconds"] == 30


def test_rewind_goes_back_in_jobs_revision_and_time(demo_service: DemoService) -> None:
    before = demo_service.counts()
    demo_service.create_jobs({"id": "a"}, {"id": "b"})
    told = demo_service.fault("rewind")
    after = demo_service.counts()
    assert told["seconds"] > 0
    assert after["revision"] == before["revision"] == 0
    assert after["counts"]["queued"] == 0
    assert after["instanceId"] != before["instanceId"]
    assert is_behind(demo_service, told["seconds"])
    assert demo_service.get("/api/v1/jobs/a").status_code == 404


def test_the_clock_stays_back_until_the_fault_ends(demo_service: DemoService) -> None:
    time.sleep(0.5)  # the age of the only snapshot is how far the clock can go back
    back = demo_service.fault("rewind")["seconds"]
    demo_service.fault("slow", seconds=0.01)
    assert is_behind(demo_service, back)
    demo_service.fault("none")
    assert is_behind(demo_service, 0)


def test_a_rewind_forgets_answers_but_not_that_it_executed(demo_service: DemoService) -> None:
    path = "/api/v1/queues/mail/purge"
    demo_service.command("POST", path, key="k")
    demo_service.fault("rewind")
    demo_service.command("POST", path, key="k")
    assert [call["idempotencyKey"] for call in demo_service.calls()] == ["k", "k"]


def test_a_rewind_picks_the_newest_snapshot_that_is_old_enough(store: Store) -> None:
    now = 0.0
    snapshots = Snapshots(store, monotonic=lambda: now)
    for minute in range(4):
        now = 60.0 * minute
        snapshots.take()
        store.put(*store.in_state("queued"), new_job(f"job_{minute}"))
    now = 185.0
    assert snapshots.rewind(100) == 125
    assert [job.id for job in store.in_state("queued")] == ["job_0"]
    assert snapshots.rewind(10_000) == 185
    assert store.in_state("queued") == []
    snapshots.close()


def test_only_the_last_two_minutes_are_kept(store: Store) -> None:
    now = 0.0
    snapshots = Snapshots(store, monotonic=lambda: now)
    for turn in range(KEPT + 5):
        now = float(turn * INTERVAL_S)
        snapshots.take()
    assert snapshots.rewind(10_000) == (KEPT - 1) * INTERVAL_S
    snapshots.close()


def new_job(job_id: str) -> Job:
    return enqueue("mail", "2026-01-01T00:00:00.000Z", job_id)


def test_a_lost_job_is_unknown_by_id(shared_demo: DemoService) -> None:
    job = shared_demo.create_job()
    assert shared_demo.lose() == [job["id"]]
    assert shared_demo.get(f"/api/v1/jobs/{job['id']}").status_code == 404
    assert shared_demo.counts()["counts"]["queued"] == 0


def test_only_unfinished_jobs_get_lost_and_it_says_so(shared_demo: DemoService) -> None:
    shared_demo.create_jobs(
        {"id": "q", "ageS": 5}, {"id": "r", "state": "running"}, {"state": "failed"}, {"state": "succeeded"}
    )
    told = shared_demo.fault("none", lose_jobs=5)
    assert told["lostJobIds"] == ["q", "r"]
    assert "Lost 2 of the 5" in told["detail"]
    assert shared_demo.counts()["counts"] == {"queued": 0, "running": 0, "succeeded": 1, "failed": 1}


def test_no_worker_brings_a_lost_job_back(start: Any) -> None:
    lively = start(quiet_jobs=False, speed=20)
    lost = lively.lose(5)
    assert len(lost) == 5
    changes = lively.counts()["revision"] + 20
    wait_for(lambda: lively.counts()["revision"] >= changes)
    assert {lively.get(f"/api/v1/jobs/{job_id}").status_code for job_id in lost} == {404}


def test_losing_jobs_goes_with_any_mode(shared_demo: DemoService) -> None:
    job = shared_demo.create_job()
    told = shared_demo.fault("slow", seconds=0.01, lose_jobs=1)
    assert (told["mode"], told["lostJobIds"]) == ("slow", [job["id"]])


@pytest.mark.parametrize("mode", ["slow", "hang", "error", "garbage", "rewind"])
def test_no_fault_touches_the_control_api(shared_demo: DemoService, mode: str) -> None:
    shared_demo.fault(mode, seconds=30)
    started = time.monotonic()
    assert shared_demo.get("/_fault").json()["mode"] == mode
    assert shared_demo.calls() == []
    assert time.monotonic() - started < scaled(5)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"mode": "sulk"}', "'none', 'slow', 'hang', 'error', 'garbage', 'refuse' or 'rewind'"),
        (b"{}", "mode: Field required"),
        (b'{"mode": ', "Invalid JSON"),
        (b"[]", "should be an object"),
        (b'{"mode": "slow", "seconds": -1}', "seconds: Input should be greater than 0"),
        (b'{"mode": "slow", "seconds": NaN}', "seconds"),
        (b'{"mode": "none", "loseJobs": -1}', "loseJobs: Input should be greater than or equal to 0"),
        (b'{"mode": "none", "loosejobs": 1}', "loosejobs: Extra inputs are not permitted"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused_with_what_was_expected(
    client: FlaskClient, body: bytes, expected: str
) -> None:
    client.put("/_fault", json={"mode": "slow", "seconds": 0.01})
    answer = client.put("/_fault", data=body)
    assert answer.status_code == 400
    assert expected in answer.get_json()["error"]
    assert client.get("/_fault").get_json()["mode"] == "slow"


@pytest.mark.parametrize("peer", ["192.0.2.7", "::ffff:192.0.2.7", "", "nonsense"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/_fault"),
        ("PUT", "/_fault"),
        ("GET", "/_calls"),
        ("POST", "/_jobs"),
        ("DELETE", "/_jobs"),
        ("PATCH", "/_jobs/j"),
        ("DELETE", "/_jobs/j"),
    ],
)
def test_the_control_api_refuses_strangers(client: FlaskClient, method: str, path: str, peer: str) -> None:
    answer = client.open(
        path, method=method, environ_base={"REMOTE_ADDR": peer}, headers={"X-Forwarded-For": "127.0.0.1"}
    )
    assert answer.status_code == 403
    assert "this machine only" in answer.get_json()["error"]


@pytest.mark.parametrize(
    "body",
    [
        b"nonsense",
        b"{}",
        b'{"jobs": [{"state": "lost"}]}',
        b'{"jobs": [{"id": "a/b"}]}',
        b'{"jobs": [{}, {"id": ""}]}',
    ],
)
def test_jobs_that_make_no_sense_are_refused_whole(client: FlaskClient, body: bytes) -> None:
    assert client.post("/_jobs", data=body).status_code == 400
    assert client.get("/api/v1/jobs").get_json()["jobs"] == []


def test_a_clean_sheet_holds_no_trace_and_a_higher_revision(shared_demo: DemoService) -> None:
    shared_demo.create_jobs({"id": "a"}, {"id": "b"})
    shared_demo.command("DELETE", "/api/v1/jobs/b", key="k")
    before = shared_demo.counts()["revision"]
    shared_demo.reset()
    after = shared_demo.counts()
    assert sum(after["counts"].values()) == 0
    assert after["revision"] > before
    assert shared_demo.get("/api/v1/jobs/b").status_code == 404
    assert shared_demo.calls() == []


def test_setting_a_job_again_changes_it_and_brings_it_back(client: FlaskClient) -> None:
    client.post("/_jobs", json={"jobs": [{"id": "j", "queue": "billing"}]})
    client.delete("/api/v1/jobs/j")
    [job] = client.post("/_jobs", json={"jobs": [{"id": "j", "state": "running"}]}).get_json()["jobs"]
    assert client.get("/api/v1/jobs/j").get_json() == job
    assert job["state"] == "running"
    client.put("/_fault", json={"mode": "none", "loseJobs": 1})
    assert client.get("/api/v1/jobs/j").status_code == 404  # its first end is no longer remembered


def test_only_finished_jobs_age_out(client: FlaskClient) -> None:
    client.post("/_jobs", json={"jobs": [{"id": "j"}]})
    assert client.delete("/_jobs/j").status_code == 409
    assert client.get("/api/v1/jobs/j").status_code == 200


def test_moving_an_unknown_job_is_refused(client: FlaskClient) -> None:
    assert client.patch("/_jobs/ghost", json={"state": "failed"}).status_code == 404
    assert client.patch("/_jobs/ghost", json={"state": "lost"}).status_code == 400
