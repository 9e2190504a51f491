"""What each person reported counts for one person: since the stage began, bounded, cuts as failures."""

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from sqlalchemy.orm import Session

from app.db import db, write
from app.flags import embedded
from app.flags.document import Flag
from app.flags.models import WitnessRow
from app.rollout import stages, witnesses
from app.rollout.client_reports import ClientReport
from app.rollout.evidence import CohortEvidence
from app.rollout.plan_service import read_epoch
from app.rollout.witnesses import MAX_OF_STAGE, WHOLE_STAGE, PersonReport

FLAG = Flag.SSE_STREAMING


class Room:
    def __init__(self, session: Session) -> None:
        self.session = session
        embedded.change_rollout(session, FLAG, "pia", "a test", 10)
        self.now = read_epoch(session)

    @property
    def since_ms(self) -> int:
        return stages.find_stage_start(self.session, FLAG)

    def reports(self, *users: str, cohort: str = "streaming", after: float = 60, **figures: int) -> None:
        self.now += after
        reports = {(cohort, user): PersonReport(**figures) for user in users}
        witnesses.save_reports(self.session, FLAG, self.since_ms, reports, self.now, 300, "secret")

    def found(self, cohort: str = "streaming", *periods: int) -> CohortEvidence:
        return witnesses.load_cohort(self.session, FLAG, self.since_ms, cohort, periods or [WHOLE_STAGE])


@pytest.fixture
def room(cast: Flask) -> Iterator[Room]:
    with cast.app_context(), write() as session:
        yield Room(session)


def test_people_connects_and_deliveries_add_up_and_the_worst_is_known(room: Room) -> None:
    room.reports("ann", attempts=3, failures=1, delivered=4, slow=1)
    room.reports("ann", "bea", attempts=2)
    assert room.found() == CohortEvidence(2, 7, 1, 4, 1, 1, 1, 5, 1, 5)
    assert room.found("polling") == CohortEvidence()


def test_one_person_counts_for_no_more_than_a_limit_in_the_same_proportions(room: Room) -> None:
    for _ in range(20):
        room.reports("ann", attempts=12, failures=6)
    found = room.found()
    assert (found.people, found.connects, found.failures) == (1, MAX_OF_STAGE[0], MAX_OF_STAGE[0] // 2)


@pytest.mark.parametrize(
    ("waits", "failures"), [((60, 33, 33), 2), ((60, 3_600, 3_600), 0), ((60, 140, 140), 2), ((60, 160, 160), 0)]
)
def test_streams_that_end_soon_after_each_other_were_cut_and_those_of_an_hour_were_not(
    room: Room, waits: tuple[float, ...], failures: int
) -> None:
    for wait in waits:
        room.reports("ann", after=wait, attempts=1, reconnects=1)
    assert room.found().failures == failures


def test_several_ends_within_one_report_are_cuts(room: Room) -> None:
    room.reports("ann", attempts=3, reconnects=2)
    assert (room.found().connects, room.found().failures) == (3, 2)


def test_what_was_reported_before_the_stage_or_may_tell_of_that_time_counts_for_nothing(room: Room) -> None:
    room.reports("ann", attempts=5)
    embedded.change_rollout(room.session, FLAG, "pia", "more", 50)
    room.now = room.since_ms / 1_000
    room.reports("ann", "new", after=30, attempts=2)
    assert (room.found().people, room.found().connects) == (1, 2), "whoever was just let in counts at once"
    room.reports("ann", "new", after=11, attempts=2)
    assert (room.found().people, room.found().connects) == (2, 6)


def test_recent_periods_are_apart_and_old_ones_are_forgotten(room: Room) -> None:
    room.reports("ann", attempts=5, failures=5)
    period = int(room.now // 300)
    assert room.found("streaming", period).failures == 5
    room.reports("ann", after=900, attempts=1)
    assert room.found("streaming", period).connects == 0
    assert room.found("streaming", int(room.now // 300)).connects == 1
    assert room.found().connects == 6


def test_polls_are_kept_for_the_whole_stage_alone_and_full_rows_are_not_written_again(room: Room) -> None:
    for _ in range(20):
        room.reports("ann", cohort="polling", attempts=12)
    [row] = room.session.scalars(db.select(WitnessRow)).all()
    assert (row.period, row.connects) == (WHOLE_STAGE, MAX_OF_STAGE[0])


def test_nobody_is_named(room: Room) -> None:
    room.reports("ann", attempts=1)
    assert {row.person for row in room.session.scalars(db.select(WitnessRow))} == {
        witnesses.hash_person("ann", "secret")
    }
    assert "ann" not in witnesses.hash_person("ann", "secret")


def test_stages_before_are_kept_as_before_unless_they_had_trouble(room: Room) -> None:
    def move(percentage: int) -> None:
        embedded.change_rollout(room.session, FLAG, "pia", "more", percentage)
        stages.ensure_stage(room.session, FLAG, percentage)
        room.now = room.since_ms / 1_000

    def before() -> int:
        return stages.load_step_evidence(room.session, FLAG, 300, room.now)[0].before.connects

    stages.ensure_stage(room.session, FLAG, 10)
    room.reports("ann", attempts=5)
    move(20)
    assert before() == 5
    room.reports("ann", after=60, attempts=7)
    stages.find_stage(room.session, FLAG).had_trouble = True  # type: ignore[union-attr]
    move(30)
    assert before() == 5
    move(0)
    move(10)
    assert before() == 0, "nobody was in, so another rollout has begun"


@pytest.mark.parametrize(("given", "slow"), [([10.0, 2_500.0], 1), ([2_000.0], 0)])
def test_a_report_counts_what_came_too_late(given: list[float], slow: int) -> None:
    body: dict[str, Any] = {"attempts": 20, "lagMs": given}
    found = PersonReport.of(ClientReport.model_validate(body), 2)
    assert (found.attempts, found.delivered, found.slow) == (12, len(given), slow)
