"""Checks that changed nothing: one event a second for all of them, which only moves ages."""

import pytest

from app.db import write
from app.reconciliation import registry
from app.reconciliation.check_batcher import MAX_CHECKS_PER_EVENT, CheckBatcher, UnchangedCheck
from tests.reconciliation.desk import SERVICE, Desk
from tests.reconciliation.values import heard, judge, known, look, told
from tests.support.any_service import ANY_KIND, NOWHERE

ANSWER = look(queued=["a"])


def unchanged(desk: Desk, service_id: str = SERVICE, began: float = 5, version: int = 1) -> UnchangedCheck:
    verdict = judge(known("a", last_published=told(counts=ANSWER.counts)), heard(ANSWER, began))
    return UnchangedCheck(desk.lease.claim(), service_id, version, verdict, heard(ANSWER, began))


@pytest.fixture
def gatherer() -> CheckBatcher:
    return CheckBatcher()


def test_the_checks_of_several_services_are_one_event(desk: Desk, gatherer: CheckBatcher) -> None:
    with write() as session:
        registry.add(session, id="billing", name="Billing", kind=ANY_KIND, url=NOWHERE)
    other = Desk("billing", desk.lease)
    desk.observe(ANSWER)
    other.observe(ANSWER)
    for service_id in (SERVICE, "billing"):
        gatherer.add(unchanged(desk, service_id))
    gatherer.flush(desk.lease.claim())
    [event] = desk.events("reconciliation.verified")
    assert set(event["services"]) == {SERVICE, "billing"}
    assert event["services"][SERVICE] == {"checkedAt": "2026-11-21T12:00:05Z", "latencyMs": 7}


def test_only_the_newest_check_of_a_service_is_told(desk: Desk, gatherer: CheckBatcher) -> None:
    desk.observe(ANSWER)
    gatherer.add(unchanged(desk, began=5))
    gatherer.add(unchanged(desk, began=6))
    gatherer.flush(desk.lease.claim())
    [event] = desk.events("reconciliation.verified")
    assert event["services"][SERVICE]["checkedAt"] == "2026-11-21T12:00:06Z"
    assert desk.state.heard_at == "2026-11-21T12:00:06.000Z"


def test_nothing_to_tell_is_no_event_and_needs_no_lease(desk: Desk, gatherer: CheckBatcher) -> None:
    claim = desk.lease.claim()
    desk.lose_lease()
    gatherer.flush(claim)
    assert desk.events("reconciliation.verified") == []


def test_what_was_told_is_not_told_again(desk: Desk, gatherer: CheckBatcher) -> None:
    desk.observe(ANSWER)
    gatherer.add(unchanged(desk))
    gatherer.flush(desk.lease.claim())
    gatherer.flush(desk.lease.claim())
    assert len(desk.events("reconciliation.verified")) == 1


def test_a_check_of_a_belief_that_changed_since_says_nothing(desk: Desk, gatherer: CheckBatcher) -> None:
    desk.observe(ANSWER)
    gatherer.add(unchanged(desk, version=0))
    before = desk.state.checked_at
    gatherer.flush(desk.lease.claim())
    assert desk.events("reconciliation.verified") == []
    assert desk.state.checked_at == before


def test_a_check_made_under_an_earlier_claim_says_nothing(desk: Desk, gatherer: CheckBatcher) -> None:
    desk.observe(ANSWER)
    gatherer.add(unchanged(desk))
    desk.lease.release()
    assert desk.lease.try_acquire()
    gatherer.flush(desk.lease.claim())
    assert desk.events("reconciliation.verified") == []


def test_a_discrepancy_that_goes_on_moves_its_age_but_not_that_of_the_last_verification(desk: Desk) -> None:
    desk.observe(look(queued=["a", "b"]))
    verified_at = desk.state.last_verified_at
    desk.observe(ANSWER)
    checked_at = desk.state.checked_at
    desk.observe()
    desk.observer.tick()
    assert len(desk.events("reconciliation.verified")) == 1
    assert desk.state.last_verified_at == verified_at
    assert (desk.state.checked_at or "") > (checked_at or "")


def test_many_services_are_told_in_events_that_fit() -> None:
    assert MAX_CHECKS_PER_EVENT * 150 < 64 * 1024


def test_the_times_are_those_of_the_check(desk: Desk, gatherer: CheckBatcher) -> None:
    desk.observe(ANSWER)
    gatherer.add(unchanged(desk, began=9))
    gatherer.flush(desk.lease.claim())
    state = desk.state
    assert (state.checked_at, state.last_verified_at, state.latency_ms) == (
        "2026-11-21T12:00:09.000Z",
        "2026-11-21T12:00:09.000Z",
        7,
    )
