"""How jobs live when nobody tells them, with a clock that the test moves."""

from datetime import timedelta

import pytest

from demo.clock import Clock, iso
from demo.job import Job, State, enqueue, move
from demo.life import FIRST_JOBS, MOST_UNFINISHED, REMEMBERED, Life
from demo.store import Store

MINUTE = timedelta(minutes=1)


@pytest.fixture
def life(store: Store) -> Life:
    return Life(store, speed=1, seed=1)


def pass_time(clock: Clock, life: Life, time: timedelta) -> None:
    clock.set(clock.now() + time)
    life._next_sweep = 0  # the sweep's own pause is machine time
    life.tick()


def put(store: Store, job_id: str, state: State) -> Job:
    job = move(enqueue("mail", store.now(), job_id), state, store.now())
    store.put(job)
    return job


def test_a_new_service_has_jobs_to_show_at_once(store: Store, life: Life) -> None:
    life.wake()
    counts = store.counts()
    assert counts["queued"] + counts["running"] == FIRST_JOBS
    assert counts["queued"] > 0
    assert counts["running"] > 0


def test_a_service_that_was_emptied_stays_empty_at_its_next_start(store: Store, life: Life) -> None:
    store.remove([put(store, "j", "queued")], "deleted")
    life.wake()
    assert sum(store.counts().values()) == 0


def test_jobs_that_ran_when_the_process_ended_wait_again(store: Store, life: Life) -> None:
    put(store, "j", "running")
    life.wake()
    assert store.counts()["queued"] == 1


def test_a_waiting_job_starts_and_ends_in_its_time(store: Store, clock: Clock, life: Life) -> None:
    put(store, "j", "queued")
    life.tick()
    assert store.find("j").state == "queued"  # type: ignore[union-attr]  # it is there
    pass_time(clock, life, MINUTE)
    assert store.find("j").state == "running"  # type: ignore[union-attr]  # it is there
    life.tick()
    pass_time(clock, life, MINUTE)
    assert store.find("j").state in ("succeeded", "failed")  # type: ignore[union-attr]  # it is there


def test_a_few_jobs_in_a_hundred_fail_and_hardly_one_gets_stuck(store: Store, clock: Clock, life: Life) -> None:
    started = [move(enqueue("mail", store.now()), "running", store.now()) for _ in range(2000)]
    store.put(*started)
    for _ in range(40):
        life.tick()
    clock.set(clock.now() + MINUTE)
    for _ in range(45):
        life.tick()
    counts = store.counts()
    assert 100 <= counts["failed"] <= 220
    assert 1 <= counts["running"] <= 30


def test_a_stuck_job_fails_in_the_end(store: Store, clock: Clock, life: Life) -> None:
    put(store, "j", "running")
    store.schedule(store.find("j"), clock.now() + 10 * MINUTE)  # type: ignore[arg-type]  # it is there
    pass_time(clock, life, 9 * MINUTE)
    assert store.find("j").state == "running"  # type: ignore[union-attr]  # it is there
    pass_time(clock, life, 2 * MINUTE)
    assert store.find("j").error == "Its worker stopped answering"  # type: ignore[union-attr]  # it is there


def test_a_full_service_takes_no_more_jobs(store: Store) -> None:
    hasty = Life(store, speed=1000, seed=1)
    hasty._next_arrival -= 1
    hasty.tick()
    assert store.counts()["queued"] + store.counts()["running"] == MOST_UNFINISHED


@pytest.mark.parametrize(("end", "kept"), [("succeeded", 10 * MINUTE), ("failed", 60 * MINUTE)])
def test_finished_jobs_go_after_a_while_and_are_remembered(
    store: Store, clock: Clock, life: Life, end: State, kept: timedelta
) -> None:
    finished = put(store, "j", end)
    pass_time(clock, life, kept - MINUTE)
    assert store.find("j")
    pass_time(clock, life, 2 * MINUTE)
    assert store.find("j") is None
    tombstone = store.tombstone("j")
    assert tombstone
    assert (tombstone.state, tombstone.finished_at) == (end, finished.finished_at)


def test_tombstones_are_not_kept_for_ever(store: Store, clock: Clock, life: Life) -> None:
    store.remove([put(store, "j", "queued")], "deleted")
    pass_time(clock, life, REMEMBERED - MINUTE)
    assert store.tombstone("j")
    pass_time(clock, life, 2 * MINUTE)
    assert store.tombstone("j") is None


def test_the_same_seed_lives_the_same_life(store: Store, clock: Clock) -> None:
    durations = [
        [Life(store, speed=1, seed=seed)._duration(enqueue("mail", iso(clock.now()))) for _ in range(3)]
        for seed in (5, 5, 6)
    ]
    assert durations[0] == durations[1] != durations[2]


def test_a_change_that_fails_leaves_nothing_behind(store: Store) -> None:
    def put_and_fail() -> None:
        with store.transaction():
            put(store, "j", "queued")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        put_and_fail()
    assert store.find("j") is None
    assert store.instance().revision == 0
