"""Against a model of a fleet whose jobs move while they are read: never a false alarm, never a silent loss."""

from hypothesis import given, settings
from hypothesis import strategies as st

from app.reconciliation.known_state import KnownState
from app.sources.protocol import FinishedVisible
from tests.reconciliation.fleet import Fleet, Move, observe

NAMES = st.sampled_from(["arrive", "start", "start", "succeed", "fail", "requeue", "retry", "wait"])
MOVES: st.SearchStrategy[list[Move]] = st.lists(st.tuples(NAMES, st.integers(0, 30)), max_size=120)
VISIBLE: st.SearchStrategy[FinishedVisible] = st.sampled_from([None, "lookup", 2.0, 20.0])
OBSERVATIONS = 8


def crowd(visible: FinishedVisible, jobs: int = 6) -> Fleet:
    fleet = Fleet(listed_s=visible if isinstance(visible, float) else 1.0)
    for _ in range(jobs):
        fleet.move(("arrive", 0))
    return fleet


@settings(max_examples=400, deadline=None)
@given(VISIBLE, MOVES)
def test_jobs_that_only_move_are_never_missing(visible: FinishedVisible, moves: list[Move]) -> None:
    fleet, known, coming = crowd(visible), KnownState(), iter(moves)
    for _ in range(OBSERVATIONS):
        known, verdict = observe(fleet, known, visible, coming)
        assert verdict.status == "verified", verdict
        assert not [item for item in verdict.opened if item.kind == "missing"]


@settings(max_examples=400, deadline=None)
@given(VISIBLE, MOVES)
def test_what_is_known_after_a_quiet_look_is_what_is_unfinished(visible: FinishedVisible, moves: list[Move]) -> None:
    fleet, known, coming = crowd(visible), KnownState(), iter(moves)
    for _ in range(OBSERVATIONS):
        known, _ = observe(fleet, known, visible, coming)
    known, _ = observe(fleet, known, visible, iter(()))
    assert set(known.jobs) == set(fleet.unfinished())
    assert not known.unseen


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(["lookup", 20.0]), MOVES, st.data())
def test_jobs_that_vanish_between_two_looks_are_found_and_no_others(
    visible: FinishedVisible, moves: list[Move], data: st.DataObject
) -> None:
    fleet, known, coming = crowd(visible), KnownState(), iter(moves)
    for _ in range(3):
        known, _ = observe(fleet, known, visible, coming)
    candidates = [job_id for job_id in fleet.unfinished() if job_id in known.jobs]
    lost = set(data.draw(st.lists(st.sampled_from(candidates), unique=True))) if candidates else set()
    for job_id in lost:
        fleet.lose(job_id)
    heard_at = fleet.now
    known, verdict = observe(fleet, known, visible, coming)
    named = {item.job_id for item in verdict.opened if item.kind == "missing"}
    if visible == "lookup" or fleet.now - heard_at < 19:
        assert named == lost
    assert named <= lost
    assert (verdict.status == "discrepancy") is bool(named)


@settings(max_examples=200, deadline=None)
@given(MOVES, st.data())
def test_where_finished_jobs_are_forgotten_a_lost_one_is_unaccounted_and_no_alarm(
    moves: list[Move], data: st.DataObject
) -> None:
    fleet, known = crowd(None), KnownState()
    known, _ = observe(fleet, known, None, iter(moves))
    candidates = [job_id for job_id in fleet.unfinished() if job_id in known.jobs]
    if not candidates:
        return
    lost = data.draw(st.sampled_from(candidates))
    fleet.lose(lost)
    known, verdict = observe(fleet, known, None, iter(()))
    assert (lost, "unaccounted") in {item.key for item in verdict.opened}
    assert verdict.status == "verified"
