"""Presence rows: what one worker says of its streams, and what the others believe of it, and for how long."""

import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.dialects import sqlite

from app.config import Settings
from app.db import db, read, write
from app.stream.models import PresenceRow
from app.stream.presence import DATABASE_ERRORS, PresenceStore, PresenceUpdate, SlotClaim
from tests.support.machine import ROOM_S, scaled

ROOT = Path(__file__).resolve().parents[2]
STRANGE = ("o'hara", 'say "hi"', "%s:x", "naïve ✓", "a/b\\c", "{}")


@pytest.fixture
def store(app: Flask, settings: Settings) -> Iterator[PresenceStore]:
    made = PresenceStore(app, settings)
    yield made
    made.close()


def rows(app: Flask) -> dict[tuple[str, str], int]:
    with app.app_context(), read() as session:
        found = session.execute(sa.select(PresenceRow.worker, PresenceRow.user, PresenceRow.count)).all()
    return {(worker, user): count for worker, user, count in found}


def age(app: Flask, worker: str, seconds: float) -> None:
    """As if the worker had said nothing for so long."""
    with app.app_context(), write() as session:
        session.execute(
            sa.update(PresenceRow).where(PresenceRow.worker == worker).values(seen=PresenceRow.seen - seconds)
        )


def test_a_worker_counts_what_all_others_say_and_never_itself(store: PresenceStore) -> None:
    store.save("w1", PresenceUpdate({"alice": 2, "bob": 1}))
    store.save("w2", PresenceUpdate({"alice": 3}))
    assert [store.count_elsewhere(worker, "alice") for worker in ("w1", "w2", "w3")] == [3, 2, 5]
    assert store.count_elsewhere("w1", "nobody") == 0


def test_counts_change_and_nought_takes_the_row_away(app: Flask, store: PresenceStore) -> None:
    store.save("w1", PresenceUpdate({"alice": 2, "bob": 1}))
    store.save("w1", PresenceUpdate({"alice": 5, "bob": 0, "never here": 0}))
    assert rows(app) == {("w1", "alice"): 5}


@pytest.mark.parametrize(("silent_s", "counted"), [(0.5, 4), (3.1, 0), (-2.5, 4), (-3600, 0)])
def test_a_silent_workers_rows_count_for_three_seconds(
    app: Flask, store: PresenceStore, silent_s: float, counted: int
) -> None:
    """Below nought: the database's clock was set back meanwhile."""
    store.save("killed", PresenceUpdate({"alice": 4}))
    age(app, "killed", silent_s)
    assert store.count_elsewhere("w1", "alice") == counted


def test_renewing_brings_all_rows_of_the_worker_up_to_date_and_no_others(app: Flask, store: PresenceStore) -> None:
    store.save("w1", PresenceUpdate({"alice": 1, "bob": 2}))
    store.save("killed", PresenceUpdate({"alice": 4}))
    age(app, "w1", 10)
    age(app, "killed", 10)
    store.save("w1", PresenceUpdate({}, renew={"alice": 1, "bob": 2}))
    assert store.count_elsewhere("w2", "alice") == 1
    assert store.count_elsewhere("w2", "bob") == 2


def test_a_change_and_the_renewal_go_together(app: Flask, store: PresenceStore) -> None:
    store.save("w1", PresenceUpdate({"alice": 1, "bob": 2}))
    store.save("w1", PresenceUpdate({"bob": 0, "charlie": 1}, renew={"alice": 1, "charlie": 1}))
    assert rows(app) == {("w1", "alice"): 1, ("w1", "charlie"): 1}


@pytest.mark.parametrize("damage", ["DELETE FROM stream_presence", "DELETE FROM stream_presence WHERE count = 2"])
def test_renewing_mends_rows_that_others_have_removed(app: Flask, store: PresenceStore, damage: str) -> None:
    """A worker that was frozen for minutes finds its rows swept while its streams are still open."""
    store.save("w1", PresenceUpdate({"alice": 1, "bob": 2}))
    with app.app_context(), write() as session:
        session.execute(sa.text(damage))
    store.save("w1", PresenceUpdate({}, renew={"alice": 1, "bob": 2}))
    assert rows(app) == {("w1", "alice"): 1, ("w1", "bob"): 2}


def test_the_long_dead_are_swept_and_nobody_else(app: Flask, store: PresenceStore) -> None:
    for worker, silent_s in (("dead", 61), ("silent", 50), ("alive", 0)):
        store.save(worker, PresenceUpdate({"alice": 1}))
        age(app, worker, silent_s)
    store.save("w1", PresenceUpdate({"bob": 1}, sweep=True))
    assert {worker for worker, _ in rows(app)} == {"silent", "alive", "w1"}


def test_a_worker_can_be_forgotten(app: Flask, store: PresenceStore) -> None:
    store.save("w1", PresenceUpdate({"alice": 1, "bob": 1}))
    store.save("w2", PresenceUpdate({"alice": 1}))
    store.remove_worker("w1")
    assert rows(app) == {("w2", "alice"): 1}


def test_names_of_any_kind_are_only_names(app: Flask, store: PresenceStore) -> None:
    store.save("w1", PresenceUpdate(dict.fromkeys(STRANGE, 1), renew=dict.fromkeys(STRANGE, 1)))
    assert {user for _, user in rows(app)} == set(STRANGE)
    assert [store.count_elsewhere("w2", user) for user in STRANGE] == [1] * len(STRANGE)


CAP = 8


@pytest.fixture
def capped(app: Flask, settings: Settings) -> Iterator[PresenceStore]:
    made = PresenceStore(app, settings.model_copy(update={"max_streams_per_user": CAP}))
    yield made
    made.close()


def test_a_claim_gets_what_all_workers_together_leave_of_the_cap(app: Flask, capped: PresenceStore) -> None:
    capped.save("w1", PresenceUpdate({"alice": 3, "bob": 8}))
    capped.save("w2", PresenceUpdate({"alice": 2}))
    claims = {"alice": SlotClaim(2, 5), "bob": SlotClaim(0, 1), "charlie": SlotClaim(0, 9)}
    assert capped.save("w2", PresenceUpdate({}, claims=claims)) == {"alice": 3, "bob": 0, "charlie": 8}
    assert rows(app) == {("w1", "alice"): 3, ("w1", "bob"): 8, ("w2", "alice"): 5, ("w2", "charlie"): 8}
    assert capped.save("w1", PresenceUpdate({}, claims={"alice": SlotClaim(3, 1)})) == {"alice": 0}


def test_a_worker_that_has_more_than_it_may_gets_nothing_and_loses_nothing(app: Flask, capped: PresenceStore) -> None:
    capped.save("w1", PresenceUpdate({"alice": 9}))
    assert capped.save("w1", PresenceUpdate({}, claims={"alice": SlotClaim(9, 1)})) == {"alice": 0}
    assert rows(app) == {("w1", "alice"): 9}


def test_rows_of_the_killed_leave_room_for_claims(app: Flask, capped: PresenceStore) -> None:
    capped.save("killed", PresenceUpdate({"alice": 8}))
    age(app, "killed", 3.1)
    assert capped.save("w1", PresenceUpdate({}, claims={"alice": SlotClaim(0, 9)})) == {"alice": 8}


@pytest.mark.parametrize("swept", [False, True])
def test_a_claim_the_change_and_the_renewal_go_together(app: Flask, capped: PresenceStore, swept: bool) -> None:
    capped.save("w1", PresenceUpdate({"alice": 2, "bob": 1, "charlie": 1}))
    if swept:
        with app.app_context(), write() as session:
            session.execute(sa.text("DELETE FROM stream_presence"))
    update = PresenceUpdate(
        {"alice": 1, "bob": 0}, {"alice": 1, "charlie": 1}, True, {"alice": SlotClaim(1, 1), "bob": SlotClaim(0, 2)}
    )
    assert capped.save("w1", update) == {"alice": 1, "bob": 2}
    assert rows(app) == {("w1", "alice"): 2, ("w1", "bob"): 2, ("w1", "charlie"): 1}


def test_names_of_any_kind_can_claim(capped: PresenceStore) -> None:
    capped.save("w1", PresenceUpdate(dict.fromkeys(STRANGE, 7)))
    assert capped.save("w2", PresenceUpdate({}, claims=dict.fromkeys(STRANGE, SlotClaim(0, 2)))) == dict.fromkeys(
        STRANGE, 1
    )


def test_what_was_written_last_stays_when_the_file_comes_back(
    app: Flask, store: PresenceStore, move_database: Callable[[], Callable[[], None]]
) -> None:
    """The store keeps its connection, but never writes on to a file that was moved away."""
    store.save("w1", PresenceUpdate({"alice": 1}))
    back = move_database()
    with pytest.raises(DATABASE_ERRORS):
        store.save("w1", PresenceUpdate({"alice": 2}))
    back()
    assert rows(app) == {("w1", "alice"): 1}
    store.save("w1", PresenceUpdate({"alice": 3}))
    assert rows(app) == {("w1", "alice"): 3}


def test_an_unreachable_database_says_so(store: PresenceStore, database: Path) -> None:
    away = database.rename(database.with_name("away"))
    with pytest.raises(DATABASE_ERRORS):
        store.save("w1", PresenceUpdate({"alice": 1}))
    away.rename(database)
    store.save("w1", PresenceUpdate({"alice": 1}))


def test_asking_for_a_user_uses_the_index(app: Flask, store: PresenceStore) -> None:
    asked: list[tuple[str, tuple[object, ...]]] = []
    with app.app_context(), read() as session:
        sa.event.listen(db.engine, "before_cursor_execute", lambda *call: asked.append(call[2:4]))
        store.count_elsewhere("w1", "alice")
        statement, values = asked[-1]
        plan = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
    assert "ix_stream_presence_user" in str(plan)


UNDER_GEVENT = """
from gevent import monkey
monkey.patch_all()
import sqlite3, sys, time
from pathlib import Path
import gevent
from app import create_app
from app.config import Settings
from app.stream.presence import PresenceStore, PresenceUpdate

folder = Path(sys.argv[1])
settings = Settings(instance_dir=folder, secret_key="x")
store = PresenceStore(create_app(settings), settings)
store.save("w1", PresenceUpdate({"bob": 1}))
holder = sqlite3.connect(folder / "beacon.db", isolation_level=None)
holder.execute("BEGIN IMMEDIATE")
saving = gevent.spawn(store.save, "w1", PresenceUpdate({"alice": 1}))
late, ends = 0.0, time.perf_counter() + 0.4
while time.perf_counter() < ends:
    began = time.perf_counter()
    gevent.sleep(0.001)
    late = max(late, time.perf_counter() - began)
assert not saving.ready()
holder.execute("COMMIT")
saving.get(timeout=5)
assert store.count_elsewhere("w2", "alice") == 1
(folder / "beacon.db").rename(folder / "away")
try:
    store.save("w1", PresenceUpdate({"alice": 2}))
except Exception as error:
    print(type(error).__name__, late)
"""


def test_a_write_that_waits_does_not_hold_the_event_loop_nor_print_traces(database: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", UNDER_GEVENT, str(database.parent)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=scaled(60),
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    kind, late_s = done.stdout.split()
    assert kind == "OperationalError"
    assert float(late_s) < scaled(0.1) + ROOM_S


def test_claiming_uses_the_index(database: Path, store: PresenceStore) -> None:
    compiled = store._rows._claimed.compile(dialect=sqlite.dialect(paramstyle="named"))
    values = {**compiled.params, "of_worker": "w1", "pairs": "{}"}
    with contextlib.closing(sqlite3.connect(database)) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {compiled}", values).fetchall()
    assert "ix_stream_presence_user" in str(plan)
