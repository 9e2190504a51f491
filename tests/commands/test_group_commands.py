"""Commands on the failed jobs with one cause: exactly those, bound to what was seen."""

import re
from typing import Any

import pytest
import sqlalchemy as sa

from app.db import read
from app.failures.models import FailureGroup
from app.infra.clock import utc_text
from tests.commands.operator_desk import OperatorDesk
from tests.support.cast import BOB, csrf_token, logged_in
from tests.support.waiting import wait_for


def causes(desk: OperatorDesk) -> dict[str, tuple[str, int]]:
    """Id and number of jobs of each group, by function."""
    with desk.app.app_context(), read() as session:
        groups = session.scalars(sa.select(FailureGroup).where(FailureGroup.jobs > 0))
        return {str(group.function): (group.id, group.jobs) for group in groups}


@pytest.fixture
def failing(desk: OperatorDesk) -> OperatorDesk:
    """Three failed jobs of one function and two of another."""
    desk.demo.create_jobs(*[{"state": "failed", "queue": "mail"}] * 3, *[{"state": "failed", "queue": "billing"}] * 2)
    wait_for(
        lambda: {name: found[1] for name, found in causes(desk).items()} == {"mail.send": 3, "billing.charge": 2},
        "five failed jobs by cause",
        20,
    )
    return desk


def retry(desk: OperatorDesk, group: str, expected: int, **more: Any) -> dict[str, Any]:
    wanted = {"state": "failed", "group": group, **more}
    return desk.body("retry-job", filter=wanted, expectedCount=expected, asOf=utc_text())


def test_exactly_the_jobs_with_this_cause_are_retried(failing: OperatorDesk) -> None:
    group, _ = causes(failing)["mail.send"]
    answer = failing.send(retry(failing, group, 3))
    assert answer.status_code == 202, answer.text
    command = failing.ended(answer.get_json()["commandId"])
    assert (command["phase"], command["progress"]["done"]) == ("success", 3)
    assert command["target"] == "3 failed jobs: Error in mail.send"
    counts = failing.demo.counts()["counts"]
    assert (counts["queued"], counts["failed"]) == (3, 2)
    wait_for(lambda: set(causes(failing)) == {"billing.charge"}, "the group to be empty", 20)


def test_more_jobs_than_were_seen_are_a_conflict_that_says_how_many_came(failing: OperatorDesk) -> None:
    group, _ = causes(failing)["mail.send"]
    answer = failing.send(retry(failing, group, 2))
    assert answer.status_code == 409
    assert failing.demo.calls() == []


@pytest.mark.parametrize("group", ["0" * 20, "nothing"])
def test_a_cause_without_failed_jobs_is_refused(failing: OperatorDesk, group: str) -> None:
    answer = failing.send(retry(failing, group, 1))
    assert (answer.status_code, failing.demo.calls()) == (409, [])


@pytest.mark.parametrize("more", [{"queue": "mail"}, {"olderThan": "2026-11-21T12:00:00Z"}, {"state": "queued"}])
def test_a_cause_goes_with_no_other_filter(failing: OperatorDesk, more: dict[str, str]) -> None:
    group, _ = causes(failing)["mail.send"]
    assert failing.send(retry(failing, group, 3, **more)).status_code == 400


def test_the_buttons_of_a_cause_do_the_same_and_a_delete_is_reviewed(failing: OperatorDesk) -> None:
    group, _ = causes(failing)["billing.charge"]
    bob = logged_in(failing.app, BOB)
    text = bob.get(f"/failures/{group}", headers={"Accept": "text/html"}).text
    assert "Delete these 2 jobs…" in text
    fields = dict(re.findall(r'name="(scope|state|group|expectedCount|asOf|nonce)" value="([^"]*)"', text))
    sent = {**fields, "csrf_token": csrf_token(bob, "/"), "do": "delete-job"}
    review = bob.post("/services/mail/commands", data=sent, headers={"Accept": "text/html"})
    assert review.status_code == 200
    assert "Delete 2 jobs from Mail?" in review.text
    assert f'name="group" value="{group}"' in review.text
    retried = bob.post("/services/mail/commands", data={**sent, "do": "retry-job"}, headers={"Accept": "text/html"})
    assert retried.status_code == 303
    command = failing.ended(retried.headers["Location"].rpartition("/")[2])
    assert (command["phase"], command["progress"]["done"]) == ("success", 2)
    assert failing.demo.counts()["counts"]["failed"] == 3
