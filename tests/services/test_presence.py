"""The cap of a user over two workers that share a real PostgreSQL."""

import contextlib
import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from flask import Flask

from app.config import Settings
from app.db import read, write
from app.infra.problems import Problem
from app.stream import admission as module
from app.stream.admission import Admission
from app.stream.models import PresenceRow
from app.stream.presence import PresenceStore, PresenceUpdate, SlotClaim
from tests.support.machine import scaled


@pytest.fixture
def workers(app: Flask, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> list[Admission]:
    monkeypatch.setattr(module, "MAX_RECHECK_S", 0.0)
    monkeypatch.setattr(module, "RECHECK_INTERVAL_S", 0.01)
    settings = settings.model_copy(update={"connect_rate_per_user": 1_000})
    made = [Admission(settings, PresenceStore(app, settings)) for _ in range(2)]
    for number, worker in enumerate(made):
        worker.worker = f"worker-{number}"
    return made


def rows(app: Flask) -> dict[tuple[str, str], int]:
    with app.app_context(), read() as session:
        found = session.execute(sa.select(PresenceRow.worker, PresenceRow.user, PresenceRow.count)).all()
    return {(worker, user): count for worker, user, count in found}


def age(app: Flask, seconds: float) -> None:
    with app.app_context(), write() as session:
        session.execute(sa.update(PresenceRow).values(seen=PresenceRow.seen - seconds))


def test_workers_share_the_cap_and_a_killed_one_locks_nobody_out(app: Flask, workers: list[Admission]) -> None:
    killed, other = workers
    seats = [killed.admit("o'hara ✓") for _ in range(8)]
    killed.flush()
    with pytest.raises(Problem) as refused:
        other.admit("o'hara ✓")
    assert refused.value.members == {"reason": "user-cap"}
    seats[0].release()
    killed.flush()
    other.admit("o'hara ✓")
    age(app, 3.1)
    other.admit("o'hara ✓")
    other.flush()
    age(app, 61)
    assert rows(app) == {("worker-0", "o'hara ✓"): 7, ("worker-1", "o'hara ✓"): 2}
    other.stop()
    assert rows(app) == {("worker-0", "o'hara ✓"): 7}


def at_once(*calls: Callable[[], object]) -> None:
    """All of them in threads that start together; whoever is refused is refused."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], object]) -> None:
        barrier.wait(scaled(5))
        with contextlib.suppress(Problem):
            call()

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(scaled(30))
    assert not any(thread.is_alive() for thread in threads)


def test_streams_opened_at_once_fill_the_cap_and_never_pass_it(app: Flask, workers: list[Admission]) -> None:
    for n in range(10):
        user = f"user-{n}"
        at_once(*[lambda worker=worker, user=user: worker.admit(user) for worker in workers * 8])
        assert sum(worker._counter.count_for(user) for worker in workers) == 8
    assert sum(rows(app).values()) == 80


def test_workers_that_ask_for_many_users_together_do_not_block_each_other_for_good(
    app: Flask, workers: list[Admission]
) -> None:
    """A deadlock would end one of the two transactions."""
    stores = [worker._store for worker in workers]

    def claim(number: int) -> None:
        chance = random.Random(number)
        for _ in range(20):
            users = chance.sample([f"user-{n}" for n in range(200)], 150)
            stores[number].save(f"worker-{number}", PresenceUpdate({}, claims=dict.fromkeys(users, SlotClaim(0, 5))))

    with ThreadPoolExecutor() as pool:
        list(pool.map(claim, range(2)))
    total = Counter[str]()
    for (_, user), count in rows(app).items():
        total[user] += count
    assert max(total.values()) <= 8


def test_while_another_holds_the_lock_for_long_own_counts_decide(
    app: Flask, workers: list[Admission], caplog: pytest.LogCaptureFixture
) -> None:
    held, other = workers
    held.admit("alice")
    with app.app_context(), write() as session:
        session.execute(sa.text("SELECT pg_advisory_xact_lock(4207004, n) FROM generate_series(0, 63) AS n"))
        for _ in range(7):
            other.admit("alice")
        with pytest.raises(Problem) as refused:
            other.admit("alice")
        assert refused.value.members == {"reason": "user-cap"}
    assert len([record for record in caplog.records if "does not answer" in record.message]) == 1
    other.flush()
    assert rows(app) == {("worker-0", "alice"): 1, ("worker-1", "alice"): 7}


def test_rows_are_changed_renewed_mended_and_swept(app: Flask, settings: Settings) -> None:
    store = PresenceStore(app, settings)
    store.save("dead", PresenceUpdate({"alice": 1}))
    age(app, 61)
    store.save("w1", PresenceUpdate({"alice": 2, "bob": 1}))
    store.save("w1", PresenceUpdate({"bob": 0, "charlie": 4}, renew={"alice": 2, "charlie": 4}, sweep=True))
    assert rows(app) == {("w1", "alice"): 2, ("w1", "charlie"): 4}
    with app.app_context(), write() as session:
        session.execute(sa.delete(PresenceRow))
    store.save("w1", PresenceUpdate({}, renew={"alice": 2, "charlie": 4}))
    age(app, 10)
    assert store.count_elsewhere("w2", "alice") == 0
    store.save("w1", PresenceUpdate({}, renew={"alice": 2, "charlie": 4}))
    assert store.count_elsewhere("w2", "alice") == 2
