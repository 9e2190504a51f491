"""The cap of a user over two workers that share a real PostgreSQL."""

import pytest
import sqlalchemy as sa
from flask import Flask

from app.config import Settings
from app.db import read, write
from app.errors import Problem
from app.stream import admission as module
from app.stream.admission import Admission
from app.stream.models import PresenceRow
from app.stream.presence import PresenceStore, Update


@pytest.fixture
def workers(app: Flask, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> list[Admission]:
    monkeypatch.setattr(module, "SETTLE_S", 0.0)
    monkeypatch.setattr(module, "LOOK_AGAIN_S", 0.01)
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


def test_rows_are_changed_renewed_mended_and_swept(app: Flask, settings: Settings) -> None:
    store = PresenceStore(app, settings)
    store.save("dead", Update({"alice": 1}))
    age(app, 61)
    store.save("w1", Update({"alice": 2, "bob": 1}))
    store.save("w1", Update({"bob": 0, "charlie": 4}, renew={"alice": 2, "charlie": 4}, sweep=True))
    assert rows(app) == {("w1", "alice"): 2, ("w1", "charlie"): 4}
    with app.app_context(), write() as session:
        session.execute(sa.delete(PresenceRow))
    store.save("w1", Update({}, renew={"alice": 2, "charlie": 4}))
    age(app, 10)
    assert store.elsewhere("w2", "alice") == 0
    store.save("w1", Update({}, renew={"alice": 2, "charlie": 4}))
    assert store.elsewhere("w2", "alice") == 2
