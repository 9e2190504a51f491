"""What commands do: seen at the service itself, before and after; told step by step; recorded; noticed."""

import json

import sqlalchemy as sa

from app.db import read
from app.infra.clock import utc_text
from app.notifications.models import Notification
from tests.commands.operator_desk import NOW, OperatorDesk
from tests.support.application import start_worker


def test_a_failed_job_is_queued_again_and_the_result_says_what_was_seen(desk: OperatorDesk) -> None:
    job = desk.demo.create_job(state="failed", queue="mail")["id"]
    desk.is_watched()
    command = desk.run("retry-job", job)
    assert (command["phase"], command["verified"]) == ("success", True)
    assert desk.demo.get(f"/api/v1/jobs/{job}").json()["state"] == "queued"
    assert command["logs"][-1].startswith("queued again, verified ")
    assert command["results"] == [{"target": job, "outcome": "done", "detail": "It is queued.", "confirmed": True}]
    assert (command["before"]["state"], command["after"]["state"]) == ("failed", "queued")


def test_what_a_web_worker_has_taken_on_waits_for_a_worker(idle: OperatorDesk) -> None:
    idle.app.extensions["beacon"].background.start()
    command_id = idle.give("retry-job", idle.demo.create_job(state="failed")["id"])
    assert (idle.see(command_id)["phase"], idle.demo.calls()) == ("queued", [])
    start_worker(idle.app)
    assert idle.ended(command_id)["phase"] == "success"


def test_a_job_is_deleted_and_is_not_missing_afterwards(desk: OperatorDesk) -> None:
    job = desk.demo.create_job(state="queued", queue="mail")["id"]
    desk.is_watched()
    command = desk.run("delete-job", job)
    assert (command["phase"], command["verified"]) == ("success", True)
    assert desk.demo.get(f"/api/v1/jobs/{job}").status_code == 410
    assert "discrepancy" not in [update["status"] for update in desk.events("reconciliation.update")]


def test_a_queue_is_purged_of_as_many_jobs_as_were_seen(desk: OperatorDesk) -> None:
    made = desk.demo.create_jobs(*[{"state": "queued", "queue": "mail"}] * 3, {"state": "queued", "queue": "other"})
    desk.is_watched()
    command = desk.run("purge-queue", "mail", expectedCount=3, asOf=NOW)
    assert (command["phase"], command["verified"]) == ("success", True)
    assert desk.demo.counts()["counts"]["queued"] == 1
    assert command["after"]["purged"] == 3
    named = json.loads(desk.audit(command["commandId"])[-1].command_params_json or "")["jobIds"]
    assert sorted(named) == sorted(job["id"] for job in made[:3])
    assert "discrepancy" not in [update["status"] for update in desk.events("reconciliation.update")]


def test_a_service_is_restarted_and_another_run_of_it_answers(desk: OperatorDesk) -> None:
    before = desk.demo.get("/api/v1/health").json()["instanceId"]
    desk.is_watched()
    command = desk.run("restart-service")
    assert (command["phase"], command["verified"]) == ("success", True)
    now = desk.demo.get("/api/v1/health").json()["instanceId"]
    assert now != before
    assert (command["before"]["instanceId"], command["after"]["instanceId"]) == (before, now)


def test_each_phase_and_each_log_line_is_an_event(desk: OperatorDesk) -> None:
    job = desk.demo.create_job(state="failed")["id"]
    command = desk.run("retry-job", job)
    events = desk.events(command_id=command["commandId"])
    phases = [event["phase"] for event in events]
    assert phases[0] == "queued"
    assert set(phases[1:-1]) == {"running"}
    assert phases[-1] == "success"
    assert events[-1]["logs"] == command["logs"]
    assert events[-1]["progress"] == {"total": 1, "done": 1, "failed": 0}
    grown = [len(event["logs"]) for event in events]
    assert grown == sorted(grown)


def test_a_command_leaves_two_entries_in_the_audit_and_one_notification(desk: OperatorDesk) -> None:
    job = desk.demo.create_job(state="failed")["id"]
    command = desk.run("retry-job", job, params={"reason": "the relay is back"})
    accepted, result = desk.audit(command["commandId"])
    assert (accepted.stage, accepted.outcome) == ("accepted", "success")
    assert (result.stage, result.outcome, result.actor) == ("result", "success", "bob")
    assert result.target == f"mail/{job}"
    assert json.loads(result.before_state_json or "")["state"] == "failed"
    assert json.loads(result.after_state_json or "")["state"] == "queued"
    assert json.loads(result.command_params_json or "")["params"] == {"reason": "the relay is back"}
    assert command["auditId"] == result.id
    assert accepted.origin == result.origin == "127.0.0.1"
    assert "address" not in json.loads(accepted.command_params_json or "")
    with desk.app.app_context(), read() as session:
        assert (
            session.scalar(
                sa.select(sa.func.count()).select_from(Notification).where(Notification.audience == "user:bob")
            )
            == 1
        )


def test_the_end_of_my_command_is_a_notification_to_me_alone(desk: OperatorDesk) -> None:
    job = desk.demo.create_job(state="queued")["id"]
    command = desk.run("retry-job", job)
    with desk.app.app_context(), read() as session:
        [told] = session.scalars(sa.select(Notification)).all()
    assert (told.audience, told.severity) == ("user:bob", "warning")
    assert told.title == f"Mail: retry-job of {job} failed"
    assert told.link == f"/commands/{command['commandId']}"


def test_what_the_service_refuses_is_an_error_in_its_words(desk: OperatorDesk) -> None:
    job = desk.demo.create_job(state="queued")["id"]
    command = desk.run("retry-job", job)
    assert (command["phase"], command["verified"]) == ("error", False)
    assert command["results"][0]["outcome"] == "refused"
    assert "Only a failed job can be retried" in command["results"][0]["detail"]
    assert desk.audit(command["commandId"])[-1].outcome == "failure"


def test_a_job_that_never_was_is_an_error(desk: OperatorDesk) -> None:
    command = desk.run("delete-job", "never-was")
    assert (command["phase"], command["results"][0]["outcome"]) == ("error", "absent")


def test_of_many_jobs_each_has_its_result_and_one_failure_makes_an_error(desk: OperatorDesk) -> None:
    ids = [job["id"] for job in desk.demo.create_jobs(*[{"state": "failed"}] * 3)]
    fine = desk.run("retry-job", targets=ids[:2])
    assert (fine["phase"], fine["verified"], fine["progress"]) == (
        "success",
        True,
        {"total": 2, "done": 2, "failed": 0},
    )
    mixed = desk.run("retry-job", targets=ids)
    assert mixed["phase"] == "error"
    assert [result["outcome"] for result in mixed["results"]] == ["refused", "refused", "done"]
    assert desk.demo.counts()["counts"]["queued"] == 3


def test_all_jobs_of_a_filter_are_done_and_no_others(desk: OperatorDesk) -> None:
    desk.demo.create_jobs(*[{"state": "failed", "queue": "mail"}] * 30, {"state": "failed", "queue": "other"})
    wanted = {"filter": {"state": "failed", "queue": "mail"}, "expectedCount": 30, "asOf": utc_text()}
    command = desk.run("retry-job", **wanted)
    assert (command["phase"], command["verified"]) == ("success", True)
    assert command["target"] == "30 failed jobs in mail"
    counts = desk.demo.counts()["counts"]
    assert (counts["failed"], counts["queued"]) == (1, 30)
    assert len({call["idempotencyKey"] for call in desk.demo.calls()}) == 30
    named = json.loads(desk.audit(command["commandId"])[-1].command_params_json or "")["jobIds"]
    assert sorted(named) == sorted(result["target"] for result in command["results"])


def test_the_service_is_looked_at_at_once_and_not_at_the_next_poll(desk: OperatorDesk) -> None:
    """The poller of the tests looks every 5 s, so one of three looks at most comes by itself in time."""
    jobs = [job["id"] for job in desk.demo.create_jobs(*[{"state": "failed"}] * 3)]
    desk.is_watched()
    for left, job in zip((3, 2, 1), jobs, strict=True):
        command = desk.run("retry-job", job)
        assert (command["before"]["counts"]["failed"], command["after"]["counts"]["failed"]) == (left, left - 1)
        assert float(command["logs"][-1].rsplit("verified ", 1)[1].split(" s")[0]) < 4
