"""A state that comes and goes: published once, suppressed until it is calm, and never a new discrepancy lost."""

from datetime import timedelta

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from app.db import write
from app.eventlog.event_types import Status
from app.infra.clock import utc_now
from app.reconciliation import finding_text, flapping
from app.reconciliation.accept import accept_items
from app.reconciliation.current_status import current_status
from app.reconciliation.flapping import (
    CALM_AFTER,
    FLAPPING_WINDOW,
    MAX_ARRIVALS,
    NO_FLAPS,
    Flaps,
    StatusTurn,
    dump_flaps,
    load_flaps,
    update_flaps,
)
from app.reconciliation.models import ServiceState
from app.sources.protocol import SourceError
from tests.reconciliation.desk import INTERVAL_S, SERVICE, Desk
from tests.reconciliation.values import at, look

GOOD = look(queued=["a", "b"])
ODD = look(queued=["a", "b"], counts={"queued": 3, "running": 0, "succeeded": 0, "failed": 0})
STATUSES: st.SearchStrategy[Status] = st.sampled_from(["verified", "verified", "stale", "discrepancy", "discrepancy"])
WALKS = st.lists(st.tuples(st.sampled_from([1, 5, 20, 59, 60, 61, 299, 300, 301]), STATUSES), max_size=60)


def walk(*statuses: Status, step_s: float = 5) -> Flaps:
    flaps = NO_FLAPS
    for n, status in enumerate(statuses):
        flaps = update_flaps(flaps, StatusTurn(at(n * step_s), status))
    return flaps


class TestRule:
    def test_three_times_are_not_flapping_and_the_fourth_is(self) -> None:
        three = walk(*["verified", "discrepancy"] * MAX_ARRIVALS)
        assert three.since is None
        four = walk(*["verified", "discrepancy"] * (MAX_ARRIVALS + 1))
        assert (four.since, four.count, four.worst) == (at(5), MAX_ARRIVALS + 1, "discrepancy")

    def test_arrivals_of_different_states_are_counted_apart(self) -> None:
        assert walk("verified", *["stale", "discrepancy"] * MAX_ARRIVALS).since is None
        assert walk("verified", *["stale", "discrepancy"] * MAX_ARRIVALS, "stale").since is not None

    def test_five_minutes_apart_is_not_often(self) -> None:
        assert walk(*["verified", "discrepancy"] * 20, step_s=60).since is None

    @pytest.mark.parametrize(("seconds", "flaps"), [(59, True), (60, False)])
    def test_an_outage_of_a_minute_is_no_part_of_it(self, seconds: float, flaps: bool) -> None:
        after = update_flaps(walk(*["verified", "stale"] * 4), StatusTurn(at(35 + seconds), "stale"))
        assert (after.since is not None) is flaps

    @pytest.mark.parametrize(("seconds", "flaps"), [(299, True), (300, False)])
    def test_it_ends_five_minutes_after_the_last_turn(self, seconds: float, flaps: bool) -> None:
        before = walk(*["verified", "discrepancy"] * 4)
        after = update_flaps(before, StatusTurn(at(35 + seconds), "discrepancy"))
        assert (after.since is not None) is flaps

    def test_it_is_the_same_after_a_change_of_the_poller(self) -> None:
        flaps = update_flaps(
            walk(*["verified", "discrepancy"] * 4), StatusTurn(at(40), "verified", "f", frozenset({"missing"}))
        )
        assert load_flaps(dump_flaps(flaps)) == flaps

    @settings(max_examples=300, deadline=None)
    @given(WALKS)
    def test_it_flaps_as_the_definition_says(self, steps: list[tuple[int, Status]]) -> None:
        now, flaps, turns, flapping_since_turn = 0.0, NO_FLAPS, list[tuple[float, Status]](), None
        status: Status | None = None
        for wait, following in steps:
            now += wait
            if flapping_since_turn is not None and now - turns[-1][0] >= CALM_AFTER.total_seconds():
                flapping_since_turn, turns = None, []
            if status is not None and following != status:
                turns.append((now, following))
                recent = [
                    one for when, one in turns if now - when < FLAPPING_WINDOW.total_seconds() and one == following
                ]
                if flapping_since_turn is None and following != "verified" and len(recent) > MAX_ARRIVALS:
                    flapping_since_turn = now
            status = following
            flaps = update_flaps(flaps, StatusTurn(at(now), following))
            assert (flaps.since is not None) is (flapping_since_turn is not None)
            assert flaps.status == following
            if flaps.since is not None:
                assert flaps.count > MAX_ARRIVALS
                assert flaps.worst != "verified"
                assert not flapping.is_worse(following, flaps.worst)
            assert len(flaps.turns) <= 6 * MAX_ARRIVALS
            assert len(dump_flaps(flaps)) < 4_000


def toggle(desk: Desk, times: int) -> None:
    for _ in range(times):
        desk.observe(ODD)
        desk.observe(GOOD)


def pass_turns(seconds: float) -> None:
    """Move what is remembered of the service's turns into the past."""
    with write() as session:
        row = session.get(ServiceState, SERVICE)
        assert row is not None
        flaps = load_flaps(row.flapping_json)
        turns = tuple(
            StatusTurn(turn.at - timedelta(seconds=seconds), turn.status, turn.figures, turn.kinds)
            for turn in flaps.turns
        )
        row.flapping_json = dump_flaps(Flaps(flaps.status, turns, flaps.since, flaps.count, flaps.worst))


def findings(desk: Desk) -> dict[str, int | None]:
    return {found["kind"]: found.get("count") for found in desk.told["findings"]}


class TestTold:
    @pytest.fixture
    def restless(self, desk: Desk) -> Desk:
        """It has just been said that the service flaps."""
        desk.observe(GOOD)
        toggle(desk, MAX_ARRIVALS)
        desk.observe(ODD)
        assert findings(desk) == {"count-mismatch": None, "flapping": MAX_ARRIVALS + 1}
        return desk

    def test_it_is_said_once_and_then_nothing_of_the_toggling(self, restless: Desk) -> None:
        events, record = len(restless.events()), len(restless.record)
        restless.observe(GOOD)
        toggle(restless, 10)
        restless.observer.tick()
        assert (len(restless.events()), len(restless.record)) == (events, record)

    def test_meanwhile_it_is_never_shown_as_verified(self, restless: Desk) -> None:
        for _ in range(4):
            restless.observe(GOOD)
            restless.observer.tick()
            assert restless.told["status"] == restless.state.status == "discrepancy"
            assert not [e for e in restless.events()[-1:] if e["status"] == "verified"]

    def test_it_goes_on_under_another_poller(self, restless: Desk) -> None:
        events = len(restless.events())
        restless.restart()
        toggle(restless, 3)
        assert len(restless.events()) == events

    def test_once_it_is_calm_one_update_says_so_with_the_total(self, restless: Desk) -> None:
        toggle(restless, 3)
        events = len(restless.events())
        pass_turns(301)
        restless.observe(GOOD)
        restless.observe(GOOD)
        assert len(restless.events()) == events + 1
        assert restless.told["status"] == "verified"
        assert "findings" not in restless.told
        assert restless.told["lastFlapping"]["count"] == MAX_ARRIVALS + 1 + 2
        assert "calmAt" in restless.told["lastFlapping"]

    def test_a_calm_that_is_still_wrong_says_what_is_wrong(self, restless: Desk) -> None:
        pass_turns(301)
        restless.observe(ODD)
        assert findings(restless) == {"count-mismatch": None}
        assert restless.told["status"] == "discrepancy"

    def test_a_job_that_vanishes_meanwhile_is_told_at_once(self, restless: Desk) -> None:
        record = len(restless.record)
        restless.observe(look(queued=["a"]))
        assert restless.told["discrepancyDetails"]["missingJobIds"] == ["b"]
        assert len(restless.record) == record + 1
        events = len(restless.events())
        for _ in range(3):
            restless.observe(GOOD)
            restless.observe(look(queued=["a"]))
        assert len(restless.events()) == events

    def test_another_kind_of_trouble_is_told_at_once(self, restless: Desk) -> None:
        restless.observe(look(queued=["a", "b"], running=["b"]))
        assert "duplicate" in findings(restless)

    def test_new_figures_are_told_between_the_turns(self, restless: Desk) -> None:
        events = len(restless.events())
        restless.observe(GOOD)
        restless.observe(look(queued=["a", "b", "c", "d"]))
        restless.observe(look(queued=["a", "b", "c", "d"]))
        assert len(restless.events()) == events + 1
        assert (restless.told["counts"]["queued"], restless.told["status"]) == (4, "discrepancy")

    def test_an_operator_who_accepts_does_not_make_it_verified(self, restless: Desk) -> None:
        restless.observe(look(queued=["a"]))
        with write() as session:
            accept_items(session, SERVICE, {"b"}, "bob", "deleted by hand")
        assert restless.told["status"] == "discrepancy"
        assert "flapping" in findings(restless)


def test_a_service_that_answers_by_turns_is_stale_until_it_is_calm(desk: Desk) -> None:
    desk.observe(GOOD)
    for _ in range(MAX_ARRIVALS + 1):
        desk.pass_time(20)
        desk.observe(SourceError("answered 500"))
        desk.observe(GOOD)
    assert (desk.told["status"], desk.told["counts"], findings(desk)) == ("stale", {}, {"flapping": MAX_ARRIVALS + 1})
    events = len(desk.events())
    for _ in range(3):
        desk.observe(GOOD)
        desk.pass_time(20)
        desk.observe(SourceError("answered 500"))
    assert len(desk.events()) == events
    assert desk.told["reason"] == "answered 500"


def test_a_service_that_comes_and_goes_is_not_said_to_be_silent_while_it_answers(desk: Desk) -> None:
    desk.observe(GOOD)
    for _ in range(MAX_ARRIVALS + 1):
        desk.observe(SourceError("answered 500"))
        desk.pass_time(15.1)
        desk.observe(SourceError("answered 500"))
        desk.observe(GOOD)
    said = "flapping, 4 times; last: answered 500"
    assert "silentSince" not in desk.told
    assert finding_text.describe_problem("Mail", desk.told) == said
    now = current_status(desk.state, desk.told, utc_now(), timedelta(seconds=INTERVAL_S))
    assert (now.health, now.reason, now.silent_since) == ("ok", f"is {said}", None)


def test_what_is_remembered_of_turns_stands_in_the_row(desk: Desk) -> None:
    desk.observe(GOOD)
    desk.observe(ODD)
    with write() as session:
        text = session.scalar(sa.select(ServiceState.flapping_json))
    assert [turn.status for turn in load_flaps(text).turns] == ["discrepancy"]
