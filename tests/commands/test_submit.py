"""Taking a command on: once for its id, never beside another one on the same thing, never more than was seen."""

import json
import threading
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from app.audit.models import AttemptCount, AuditRow
from app.commands import submit
from app.commands.models import CommandRow, ItemRow
from app.db import read
from app.infra.clock import utc_now, utc_text
from tests.commands.operator_desk import NOW, OperatorDesk, new_id
from tests.support.cast import ADA, ALICE, BOB, PIA, headers_of, logged_in
from tests.support.machine import scaled

AT_ONCE = 12


def commands(desk: OperatorDesk) -> int:
    with desk.app.app_context(), read() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(CommandRow)) or 0


def refusals(desk: OperatorDesk) -> list[AuditRow]:
    with desk.app.app_context(), read() as session:
        failures = sa.select(AuditRow).where(AuditRow.outcome == "failure", AuditRow.command_id.is_not(None))
        return list(session.scalars(failures))


def test_the_same_id_and_body_again_is_the_same_command(idle: OperatorDesk) -> None:
    body = idle.body("retry-job", "j1")
    first, again = idle.send(body), idle.send(dict(reversed(body.items())))
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.get_json() == again.get_json() == {"commandId": body["commandId"], "phase": "queued"}
    assert first.headers["Location"] == f"/commands/{body['commandId']}"
    assert commands(idle) == 1
    assert len(idle.audit(body["commandId"])) == 1


@pytest.mark.parametrize("change", [{"target": "j2"}, {"actionType": "delete-job"}, {"params": {"reason": "other"}}])
def test_the_same_id_with_another_body_is_refused(idle: OperatorDesk, change: dict[str, Any]) -> None:
    body = idle.body("retry-job", "j1")
    assert idle.send(body).status_code == 202
    answer = idle.send({**body, **change})
    assert (answer.status_code, answer.get_json()["reason"]) == (422, "command-id")
    assert commands(idle) == 1


def test_nobody_else_can_use_my_id(idle: OperatorDesk) -> None:
    body = idle.body("retry-job", "j1")
    assert idle.send(body, BOB).status_code == 202
    assert idle.send(body, ADA).status_code == 422


def test_of_many_identical_requests_at_once_one_is_taken_on(idle: OperatorDesk) -> None:
    body = idle.body("retry-job", "j1")
    headers, answers = idle.headers(), list[int]()
    start = threading.Barrier(AT_ONCE)

    def send() -> None:
        start.wait(scaled(10))
        answers.append(idle.app.test_client().post("/commands/run", json=body, headers=headers).status_code)

    threads = [threading.Thread(target=send) for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(scaled(30))
    assert answers == [202] * AT_ONCE
    assert commands(idle) == 1
    assert len(idle.audit(body["commandId"])) == 1


OVERLAPS = [
    (("retry-job", "j1", {}), ("delete-job", "j1", {}), True),
    (("retry-job", "j1", {}), ("retry-job", "j2", {}), False),
    (("retry-job", None, {"targets": ["j1", "j2"]}), ("delete-job", "j2", {}), True),
    (("delete-job", "j2", {}), ("retry-job", None, {"targets": ["j1", "j2"]}), True),
    (("purge-queue", "mail", {}), ("purge-queue", "mail", {}), True),
    (("purge-queue", "mail", {}), ("purge-queue", "other", {}), False),
    (("restart-service", None, {}), ("retry-job", "j1", {}), True),
    (("retry-job", "j1", {}), ("restart-service", None, {}), True),
    (("restart-service", None, {}), ("purge-queue", "mail", {}), True),
    (("restart-service", None, {}), ("restart-service", None, {}), True),
    (("retry-job", None, {"filter": {"state": "failed", "queue": "mail"}}), ("purge-queue", "mail", {}), True),
    (("purge-queue", "mail", {}), ("retry-job", None, {"filter": {"state": "failed", "queue": "mail"}}), True),
]


@pytest.mark.parametrize(("first", "second", "overlap"), OVERLAPS)
def test_what_touches_the_same_thing_waits_with_a_link_to_the_other(
    idle: OperatorDesk, first: tuple[Any, ...], second: tuple[Any, ...], overlap: bool
) -> None:
    idle.demo.create_job(state="failed", queue="mail")
    given: list[str] = []
    for action, target, more in (first, second):
        seen = {"expectedCount": 9, "asOf": utc_text()} if action == "purge-queue" or "filter" in more else {}
        body = idle.body(action, target, **more, **seen)
        answer = idle.send(body, ADA)
        given.append(body["commandId"])
    assert answer.status_code == (409 if overlap else 202), answer.text
    assert commands(idle) == (1 if overlap else 2)
    if overlap:
        problem = answer.get_json()
        assert (problem["reason"], problem["link"]) == ("overlap", f"/commands/{given[0]}")
        [refused] = refusals(idle)
        assert (refused.command_id, refused.actor) == (given[1], "ada")


def test_a_purge_of_more_than_was_seen_is_refused_and_says_how_many_are_new(idle: OperatorDesk) -> None:
    idle.demo.create_jobs(*[{"state": "queued", "queue": "mail"}] * 7)
    answer = idle.send(idle.body("purge-queue", "mail", expectedCount=4, asOf=NOW))
    problem = answer.get_json()
    assert (answer.status_code, problem["reason"], problem["newCount"], problem["actualCount"]) == (409, "grown", 3, 7)
    assert problem["detail"].startswith("3 new since 12:03:05: there are 7 jobs now.")
    assert commands(idle) == 0
    assert idle.demo.calls() == []
    assert "3 new since 12:03:05" in json.loads(refusals(idle)[0].logs_json or "")[0]


def test_a_promotion_takes_one_job_of_a_service_that_can_do_it(idle: OperatorDesk) -> None:
    many = idle.send(idle.body("promote-job", targets=["j1", "j2"]))
    assert (many.status_code, "expected the name of one job as target" in many.text) == (400, True)
    seen = {"filter": {"state": "queued"}, "expectedCount": 9, "asOf": NOW}
    assert idle.send(idle.body("promote-job", **seen)).status_code == 400
    one = idle.send(idle.body("promote-job", "j1"))
    assert (one.status_code, one.get_json()["reason"]) == (409, "capability")
    assert one.get_json()["detail"] == "This kind of service cannot move a job to the front of its queue."
    assert commands(idle) == 0
    assert idle.demo.calls() == []


def test_a_filter_that_finds_more_than_was_seen_is_refused(idle: OperatorDesk) -> None:
    idle.demo.create_jobs(*[{"state": "failed"}] * 3)
    body = idle.body("retry-job", filter={"state": "failed"}, expectedCount=2, asOf=NOW)
    assert idle.send(body).get_json()["reason"] == "grown"
    less = idle.body("retry-job", filter={"state": "failed"}, expectedCount=5, asOf=utc_text())
    assert idle.send(less).status_code == 202


def test_of_a_filter_only_what_was_there_then_is_touched(idle: OperatorDesk) -> None:
    """As many have gone since then as have come: the count alone does not tell."""
    old, _ = idle.demo.create_jobs({"state": "failed", "ageS": 600}, {"state": "failed"})
    seen_at = utc_text(utc_now() - timedelta(minutes=5))
    command_id = idle.give("retry-job", filter={"state": "failed"}, expectedCount=2, asOf=seen_at)
    with idle.app.app_context(), read() as session:
        targets = session.scalars(sa.select(ItemRow.target).where(ItemRow.command_id == command_id))
        assert list(targets) == [old["id"]]


def test_a_filter_that_finds_nothing_has_nothing_to_do(idle: OperatorDesk) -> None:
    answer = idle.send(idle.body("retry-job", filter={"state": "failed"}, expectedCount=2, asOf=NOW))
    assert (answer.status_code, answer.get_json()["reason"]) == (409, "empty")


def test_a_service_that_does_not_answer_is_not_told_to_purge(idle: OperatorDesk) -> None:
    idle.demo.fault("error")
    answer = idle.send(idle.body("purge-queue", "mail", expectedCount=4, asOf=NOW))
    assert answer.status_code == 502
    assert "Nothing was done" in answer.get_json()["detail"]


def test_the_same_filter_again_is_answered_although_its_jobs_have_moved_on(idle: OperatorDesk) -> None:
    [job] = idle.demo.create_jobs({"state": "failed"})
    body = idle.body("retry-job", filter={"state": "failed"}, expectedCount=1, asOf=utc_text())
    assert idle.send(body).status_code == 202
    idle.demo.move(job["id"], "queued")
    assert idle.send(body).status_code == 202


def test_a_user_has_at_most_five_and_a_service_twenty(idle: OperatorDesk) -> None:
    for number in range(submit.MAX_OPEN_COMMANDS_PER_USER):
        idle.give("retry-job", f"j{number}")
    answer = idle.send(idle.body("retry-job", "one-more"))
    assert (answer.status_code, answer.get_json()["reason"]) == (429, "limit")
    assert int(answer.headers["Retry-After"]) >= 1
    assert idle.send(idle.body("retry-job", "j0")).status_code == 429
    assert idle.send(idle.body("retry-job", "j9"), ADA).status_code == 202
    assert [json.loads(row.logs_json or "")[0][:19] for row in refusals(idle)] == ["refused (429 limit)"] * 2


def test_what_is_tried_again_and_again_is_recorded_once_and_counted(idle: OperatorDesk) -> None:
    first = idle.give("retry-job", "j1")
    for _ in range(5):
        assert idle.send(idle.body("delete-job", "j1")).status_code == 409
    # Two where a minute ended in between.
    assert len(refusals(idle)) in (1, 2)
    with idle.app.app_context(), read() as session:
        again = session.scalar(sa.select(sa.func.sum(AttemptCount.count)))
    assert len(refusals(idle)) + (again or 0) == 5
    assert first not in [row.command_id for row in refusals(idle)]


def test_every_kind_of_refusal_is_recorded_with_its_reason_and_from_where(idle: OperatorDesk) -> None:
    body = idle.body("retry-job", "j1")
    assert idle.send(body).status_code == 202
    assert idle.send({**body, "target": "j2"}).status_code == 422
    idle.demo.fault("error")
    assert idle.send(idle.body("purge-queue", "mail", expectedCount=4, asOf=NOW)).status_code == 502
    told = [(json.loads(row.logs_json or "")[0].split(":")[0], row.origin) for row in refusals(idle)]
    assert told == [("refused (422 command-id)", "127.0.0.1"), ("refused (502 service)", "127.0.0.1")]


BAD = [
    ({"commandId": "short"}, "commandId"),
    ({"commandId": "../../etc/passwd"}, "commandId"),
    ({"actionType": "drop-table"}, "actionType"),
    ({"target": "a\nb"}, "target"),
    ({"service": "a\0b"}, "service"),
    ({"target": "x" * 1_001}, "target"),
    ({"target": None}, "body"),
    ({"targets": ["j1"]}, "body"),
    ({"target": None, "targets": ["j1", "j1"]}, "body"),
    ({"target": None, "targets": [f"j{n}" for n in range(1_001)]}, "targets"),
    ({"target": None, "targets": ["j1", "j2"], "expectedCount": 3}, "body"),
    ({"target": None, "filter": {"state": "failed"}}, "body"),
    ({"actionType": "purge-queue", "target": "mail"}, "body"),
    ({"actionType": "restart-service", "target": "another"}, "body"),
    ({"params": {"password": "x"}}, "params.password"),
    ({"asOf": "yesterday"}, "asOf"),
    ({"surprise": 1}, "surprise"),
]


@pytest.mark.parametrize(("change", "field"), BAD)
def test_a_bad_body_is_answered_with_the_field_and_what_was_expected(
    idle: OperatorDesk, change: dict[str, Any], field: str
) -> None:
    body = {**idle.body("retry-job", "j1"), **change}
    answer = idle.send({name: value for name, value in body.items() if value is not None})
    assert answer.status_code == 400, answer.text
    assert list(answer.get_json()["errors"]) == [field]
    assert commands(idle) == 0


def test_a_service_that_nobody_watches_takes_no_commands(idle: OperatorDesk) -> None:
    answer = idle.send({**idle.body("retry-job", "j1"), "service": "elsewhere"})
    assert (answer.status_code, answer.get_json()["reason"]) == (404, "service")


@pytest.mark.parametrize("person", [ALICE, PIA])
def test_whoever_may_not_is_refused_and_nothing_happens(idle: OperatorDesk, person: Any) -> None:
    headers = headers_of(idle.app, person, "read")
    answer = idle.client.post("/commands/run", json=idle.body("retry-job", "j1"), headers=headers)
    assert answer.status_code == 403
    assert commands(idle) == 0


def test_a_token_of_an_operator_needs_the_scope(idle: OperatorDesk) -> None:
    headers = headers_of(idle.app, BOB, "read", "publish")
    assert idle.client.post("/commands/run", json=idle.body("retry-job", "j1"), headers=headers).status_code == 403


def test_a_cookie_alone_gives_no_command(idle: OperatorDesk) -> None:
    answer = logged_in(idle.app, BOB).post("/commands/run", json=idle.body("retry-job", "j1"))
    assert (answer.status_code, answer.get_json()["reason"]) == (400, "csrf")


def test_the_list_is_filtered_and_paged_by_key(idle: OperatorDesk) -> None:
    ids = [idle.give("retry-job", f"j{number}") for number in range(3)]
    ids += [idle.give("delete-job", f"j{number}", by=ADA) for number in range(3, 5)]
    found: list[str] = []
    before = ""
    while True:
        answer = idle.client.get("/commands", query_string={"limit": 2, "before": before}, headers=idle.headers(ALICE))
        assert answer.status_code == 200, answer.text
        found += [row["commandId"] for row in answer.get_json()["data"]]
        before = answer.get_json()["meta"]["next"]
        if before is None:
            break
    assert sorted(found) == sorted(ids)
    assert len(set(found)) == 5

    def listed(**asked: str) -> list[str]:
        answer = idle.client.get("/commands", query_string=asked, headers=idle.headers(ALICE))
        return [row["target"] for row in answer.get_json()["data"]]

    assert sorted(listed(actor="ada")) == ["j3", "j4"]
    assert sorted(listed(actionType="retry-job", phase="queued")) == ["j0", "j1", "j2"]
    assert listed(target="j4") == ["j4"]
    assert listed(service="elsewhere") == []
    refused = idle.client.get("/commands", query_string={"phase": "lost"}, headers=idle.headers(ALICE))
    assert refused.status_code == 400


def test_an_unknown_command_is_not_found(idle: OperatorDesk) -> None:
    assert idle.client.get(f"/commands/{new_id()}", headers=idle.headers(ALICE)).status_code == 404


def test_what_was_refused_holds_nothing(idle: OperatorDesk) -> None:
    idle.give("retry-job", "j2")
    assert idle.send(idle.body("delete-job", targets=["j1", "j2", "j3"])).status_code == 409
    with idle.app.app_context(), read() as session:
        assert list(session.scalars(sa.select(ItemRow.hold))) == ["job:j2"]
