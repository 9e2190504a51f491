"""The Palantir HTTP API, asked over the wire."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.support.demo_service import DemoService
from tests.support.waiting import wait_for

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def ids_of(jobs: list[dict[str, Any]]) -> list[str]:
    return [job["id"] for job in jobs]


def test_health_names_the_instance(shared_demo: DemoService) -> None:
    health = shared_demo.get("/api/v1/health").json()
    assert health["status"] == "ok"
    assert health["instanceId"] == shared_demo.counts()["instanceId"]
    assert ISO.fullmatch(health["startedAt"])


def test_counts_name_every_state_even_those_without_jobs(shared_demo: DemoService) -> None:
    shared_demo.create_jobs({"state": "queued"}, {"state": "queued"}, {"state": "failed"})
    answer = shared_demo.counts()
    assert answer["counts"] == {"queued": 2, "running": 0, "succeeded": 0, "failed": 1}
    assert ISO.fullmatch(answer["asOf"])
    assert set(answer) == {"counts", "asOf", "revision", "instanceId"}


def test_a_job_tells_its_times_and_null_where_there_is_none(shared_demo: DemoService) -> None:
    created = shared_demo.create_job(queue="billing")
    job = shared_demo.get(f"/api/v1/jobs/{created['id']}").json()
    assert job == created
    assert set(job.pop("arguments")) == {"order", "token"}
    assert re.fullmatch(r"job_[0-9a-f]{12}", job["id"])
    assert ISO.fullmatch(job.pop("enqueuedAt"))
    del job["id"]
    assert job == {
        "state": "queued",
        "queue": "billing",
        "function": "billing.charge",
        "attempt": 1,
        "maxAttempts": 3,
        "startedAt": None,
        "finishedAt": None,
        "worker": None,
        "error": None,
    }


def test_a_failed_job_tells_why_and_when(shared_demo: DemoService) -> None:
    job = shared_demo.create_job(state="running")
    failed = shared_demo.move(job["id"], "failed")
    assert failed["startedAt"] == job["startedAt"]
    assert ISO.fullmatch(failed["finishedAt"])
    assert failed["error"]


def test_pages_join_into_the_whole_list_in_the_order_of_ids(shared_demo: DemoService) -> None:
    created = ids_of(shared_demo.create_jobs(*[{}] * 25))
    seen: list[str] = []
    pages = 0
    after: str | None = ""
    while after is not None:
        page = shared_demo.get("/api/v1/jobs", after=after, limit=10).json()
        seen += ids_of(page["jobs"])
        pages += 1
        after = page["next"]
    assert seen == sorted(created)
    assert pages == 3


def test_a_full_last_page_has_no_next(shared_demo: DemoService) -> None:
    shared_demo.create_jobs(*[{}] * 4)
    first = shared_demo.get("/api/v1/jobs", limit=2).json()
    last = shared_demo.get("/api/v1/jobs", limit=2, after=first["next"]).json()
    assert len(last["jobs"]) == 2
    assert last["next"] is None


def test_a_cursor_works_after_its_job_is_gone(shared_demo: DemoService) -> None:
    shared_demo.create_jobs({"id": "a"}, {"id": "b"}, {"id": "c"})
    shared_demo.command("DELETE", "/api/v1/jobs/b")
    assert ids_of(shared_demo.get("/api/v1/jobs", after="b").json()["jobs"]) == ["c"]


def test_a_list_of_a_state_holds_that_state_only(shared_demo: DemoService) -> None:
    shared_demo.create_jobs({"id": "q"}, {"id": "r", "state": "running"}, {"id": "f", "state": "failed"})
    assert ids_of(shared_demo.get("/api/v1/jobs", state="running").json()["jobs"]) == ["r"]
    assert ids_of(shared_demo.get("/api/v1/jobs", state="").json()["jobs"]) == ["f", "q", "r"]


def test_a_page_holds_500_jobs_unless_asked(shared_demo: DemoService) -> None:
    shared_demo.create_jobs(*[{}] * 1001)
    assert len(shared_demo.get("/api/v1/jobs").json()["jobs"]) == 500
    assert len(shared_demo.get("/api/v1/jobs", limit=1000).json()["jobs"]) == 1000


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("state=lost", "state"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=ten", "limit"),
        ("sort=id", "sort"),
    ],
)
def test_a_bad_parameter_is_refused_by_name(client: FlaskClient, query: str, named: str) -> None:
    answer = client.get(f"/api/v1/jobs?{query}")
    assert answer.status_code == 400
    assert named in answer.get_json()["error"]


def test_stuck_jobs_are_those_running_past_the_threshold(shared_demo: DemoService) -> None:
    threshold = shared_demo.get("/api/v1/jobs/stuck").json()["thresholdS"]
    shared_demo.create_jobs(
        {"id": "stuck", "state": "running", "ageS": threshold + 1},
        {"id": "busy", "state": "running", "ageS": threshold - 60},
        {"id": "waiting", "state": "queued", "ageS": threshold + 1},
        {"id": "done", "state": "succeeded", "ageS": threshold + 1},
    )
    assert ids_of(shared_demo.get("/api/v1/jobs/stuck").json()["jobs"]) == ["stuck"]


def test_a_retried_job_waits_again_as_its_next_attempt(shared_demo: DemoService) -> None:
    job = shared_demo.create_job(state="failed", ageS=60)
    answer = shared_demo.command("POST", f"/api/v1/jobs/{job['id']}/retry")
    assert answer.status_code == 200
    retried = answer.json()
    assert (retried["state"], retried["attempt"]) == ("queued", 2)
    assert retried["enqueuedAt"] > job["finishedAt"]
    assert (retried["startedAt"], retried["finishedAt"], retried["error"]) == (None, None, None)
    assert shared_demo.get(f"/api/v1/jobs/{job['id']}").json() == retried


@pytest.mark.parametrize("state", ["queued", "running", "succeeded"])
def test_only_a_failed_job_can_be_retried(client: FlaskClient, state: str) -> None:
    client.post("/_jobs", json={"jobs": [{"id": "j", "state": state}]})
    answer = client.post("/api/v1/jobs/j/retry")
    assert answer.status_code == 409
    assert state in answer.get_json()["error"]
    assert client.get("/api/v1/jobs/j").get_json()["state"] == state


def test_a_deleted_job_is_gone_with_its_end(shared_demo: DemoService) -> None:
    job = shared_demo.create_job()
    path = f"/api/v1/jobs/{job['id']}"
    assert shared_demo.command("DELETE", path).status_code == 200
    gone = shared_demo.get(path)
    assert gone.status_code == 410
    assert (gone.json()["id"], gone.json()["state"]) == (job["id"], "deleted")
    assert ISO.fullmatch(gone.json()["finishedAt"])
    assert shared_demo.command("DELETE", path).status_code == 410
    assert shared_demo.command("POST", f"{path}/retry").status_code == 410


@pytest.mark.parametrize("end", ["succeeded", "failed"])
def test_a_finished_job_that_aged_out_is_gone_as_it_ended(client: FlaskClient, end: str) -> None:
    finished = client.post("/_jobs", json={"jobs": [{"id": "j", "state": end}]}).get_json()["jobs"][0]
    assert client.delete("/_jobs/j").status_code == 200
    gone = client.get("/api/v1/jobs/j")
    assert gone.status_code == 410
    assert (gone.get_json()["state"], gone.get_json()["finishedAt"]) == (end, finished["finishedAt"])


def test_a_job_that_never_existed_is_unknown(shared_demo: DemoService) -> None:
    for method, path in (
        ("GET", "/api/v1/jobs/ghost"),
        ("DELETE", "/api/v1/jobs/ghost"),
        ("POST", "/api/v1/jobs/ghost/retry"),
    ):
        answer = shared_demo.command(method, path)
        assert answer.status_code == 404
        assert "ghost" in answer.json()["error"]


def test_a_purge_takes_the_waiting_jobs_of_that_queue_only(shared_demo: DemoService) -> None:
    shared_demo.create_jobs(
        {"id": "m1", "queue": "mail"},
        {"id": "m2", "queue": "mail"},
        {"id": "m3", "queue": "mail", "state": "running"},
        {"id": "b1", "queue": "billing"},
    )
    answer = shared_demo.command("POST", "/api/v1/queues/mail/purge").json()
    assert answer == {"purged": 2, "jobIds": ["m1", "m2"]}
    assert ids_of(shared_demo.get("/api/v1/jobs").json()["jobs"]) == ["b1", "m3"]
    assert shared_demo.get("/api/v1/jobs/m1").json()["state"] == "purged"


def test_a_service_restart_is_a_new_instance_that_requeues_running_jobs(shared_demo: DemoService) -> None:
    before = shared_demo.counts()["instanceId"]
    shared_demo.create_jobs({"id": "r", "state": "running"}, {"id": "f", "state": "failed"})
    answer = shared_demo.command("POST", "/api/v1/service/restart")
    assert answer.status_code == 202
    assert answer.json()["requeuedJobIds"] == ["r"]
    after = shared_demo.counts()
    assert after["instanceId"] == answer.json()["instanceId"] != before
    assert after["counts"] == {"queued": 1, "running": 0, "succeeded": 0, "failed": 1}
    assert shared_demo.get("/api/v1/jobs/r").json()["startedAt"] is None


def test_every_change_of_a_job_raises_the_revision(shared_demo: DemoService) -> None:
    changes: dict[str, Callable[[], object]] = {
        "create": lambda: shared_demo.create_jobs({"id": "a"}, {"id": "b"}, {"id": "c", "queue": "billing"}),
        "move": lambda: shared_demo.move("a", "failed"),
        "retry": lambda: shared_demo.command("POST", "/api/v1/jobs/a/retry"),
        "delete": lambda: shared_demo.command("DELETE", "/api/v1/jobs/a"),
        "purge": lambda: shared_demo.command("POST", "/api/v1/queues/billing/purge"),
        "run": lambda: shared_demo.move("b", "running"),
        "restart": lambda: shared_demo.command("POST", "/api/v1/service/restart"),
        "lose": lambda: shared_demo.lose(1),
    }
    for what, change in changes.items():
        before = shared_demo.counts()["revision"]
        change()
        assert shared_demo.counts()["revision"] > before, what


def test_looking_does_not_raise_the_revision(shared_demo: DemoService) -> None:
    shared_demo.create_job(id="a")
    before = shared_demo.counts()["revision"]
    shared_demo.get("/api/v1/jobs/a")
    shared_demo.command("POST", "/api/v1/jobs/a/retry")
    assert shared_demo.get("/api/v1/jobs").json()["revision"] == before


def test_a_repeated_key_gets_the_same_answer_and_does_nothing_again(shared_demo: DemoService) -> None:
    job = shared_demo.create_job(state="failed")
    path = f"/api/v1/jobs/{job['id']}/retry"
    first = shared_demo.command("POST", path, key="k1")
    shared_demo.move(job["id"], "failed")
    again = shared_demo.command("POST", path, key="k1")
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert shared_demo.get(f"/api/v1/jobs/{job['id']}").json()["state"] == "failed"
    [call] = shared_demo.calls()
    assert ISO.fullmatch(call.pop("at"))
    assert call == {"method": "POST", "path": path, "idempotencyKey": "k1", "status": 200}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/api/v1/jobs/j/retry", 409),
        ("DELETE", "/api/v1/jobs/j", 200),
        ("POST", "/api/v1/queues/mail/purge", 200),
        ("POST", "/api/v1/service/restart", 202),
    ],
)
def test_each_command_honours_its_key(client: FlaskClient, method: str, path: str, status: int) -> None:
    client.post("/_jobs", json={"jobs": [{"id": "j"}]})
    headers = {"Idempotency-Key": "k"}
    first = client.open(path, method=method, headers=headers)
    again = client.open(path, method=method, headers=headers)
    assert first.status_code == again.status_code == status
    assert first.data == again.data
    assert len(client.get("/_calls").get_json()["calls"]) == 1


def test_a_key_serves_one_command_only(shared_demo: DemoService) -> None:
    shared_demo.create_jobs({"id": "a"}, {"id": "b"})
    shared_demo.command("DELETE", "/api/v1/jobs/a", key="k")
    other = shared_demo.command("DELETE", "/api/v1/jobs/b", key="k")
    assert other.status_code == 422
    assert shared_demo.get("/api/v1/jobs/b").status_code == 200


def test_commands_without_a_key_are_all_executed(shared_demo: DemoService) -> None:
    for _ in range(2):
        shared_demo.command("POST", "/api/v1/queues/mail/purge")
    assert [call["idempotencyKey"] for call in shared_demo.calls()] == [None, None]


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_a_key_of_a_bad_length_is_refused(client: FlaskClient, key: str) -> None:
    answer = client.post("/api/v1/service/restart", headers={"Idempotency-Key": key})
    assert answer.status_code == 400
    assert client.get("/_calls").get_json()["calls"] == []


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("PUT", "/api/v1/jobs", 405)])
def test_errors_are_json_with_a_sentence(client: FlaskClient, method: str, path: str, status: int) -> None:
    answer = client.open(path, method=method)
    assert answer.status_code == status
    assert answer.content_type == "application/json"
    assert answer.get_json()["error"].endswith(".")


def test_lively_jobs_move_finish_and_fail(start: Any) -> None:
    lively = start(quiet_jobs=False, speed=100, seed=7)

    def all_kinds() -> bool:
        counts = lively.counts()["counts"]
        return bool(counts["queued"] and counts["running"] and counts["succeeded"] and counts["failed"])

    wait_for(all_kinds, within_s=15)
