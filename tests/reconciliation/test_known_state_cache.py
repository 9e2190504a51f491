"""The cache of known states between polls: it saves queries, and the row always wins."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from app.db import db, write
from app.reconciliation import registry
from app.reconciliation.models import KnownJob, ServiceState
from tests.reconciliation.desk import SERVICE, Desk
from tests.reconciliation.values import look

ANSWER = look(queued=["a", "b"])


@contextmanager
def asked(table: str) -> Iterator[list[str]]:
    """The statements that read this table."""
    found: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("SELECT") and f"FROM {table}" in statement:
            found.append(statement)

    sa.event.listen(db.engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        sa.event.remove(db.engine, "before_cursor_execute", note)


@pytest.fixture
def steady(desk: Desk) -> Desk:
    """Of a service that was told of, and that a further check found as it was."""
    desk.observe(ANSWER)
    desk.observe()
    desk.observer.tick()
    return desk


def put_elsewhere(job_id: str) -> None:
    """As another writer would: the belief's rows, and its version."""
    with write() as session:
        session.add(KnownJob(service_id=SERVICE, job_id=job_id, state="queued"))
        session.execute(sa.update(ServiceState).values(version=ServiceState.version + 1))


def test_a_steady_service_is_not_read_at_every_poll(steady: Desk) -> None:
    with asked("service_state") as states, asked("known_job") as jobs:
        for _ in range(5):
            steady.observe()
    assert (states, jobs) == ([], [])


def test_times_move_though_nothing_is_read(steady: Desk) -> None:
    before = steady.state
    steady.observe()
    steady.observer.tick()
    after = steady.state
    assert (after.heard_at or "") > (before.heard_at or "")
    assert (after.last_verified_at or "") > (before.last_verified_at or "")
    assert after.version == before.version


def test_a_loss_is_found_against_what_is_kept(steady: Desk) -> None:
    steady.observe(look(queued=["a"]))
    assert (steady.items, steady.known) == ({"b": "missing"}, {"a": "queued"})


def test_news_is_judged_anew_where_the_belief_was_changed_elsewhere(steady: Desk) -> None:
    put_elsewhere("c")
    steady.observe(look(queued=["a", "b", "d"]))
    # It has no second look of that job yet: it is neither forgotten nor declared.
    assert (steady.items, set(steady.known)) == ({}, {"a", "b", "c", "d"})
    steady.observe()
    assert (steady.items, set(steady.known)) == ({"c": "missing"}, {"a", "b", "d"})


def test_a_check_that_the_row_contradicts_is_not_told_and_the_next_one_reads_it(steady: Desk) -> None:
    put_elsewhere("c")
    before = steady.state.checked_at
    steady.observe()
    steady.observer.tick()
    assert (steady.state.checked_at, steady.items) == (before, {})
    steady.observe()
    assert steady.items == {"c": "missing"}


def test_what_was_kept_under_an_earlier_claim_is_read_again(steady: Desk) -> None:
    put_elsewhere("c")
    steady.lease.release()
    assert steady.lease.try_acquire()
    steady.observe()
    assert steady.items == {"c": "missing"}


def test_while_an_item_is_open_each_poll_looks_whether_it_was_accepted(steady: Desk) -> None:
    steady.observe(look(queued=["a"]))
    for _ in range(2):
        with asked("service_state") as states:
            steady.observe()
        assert states


def test_after_silence_the_row_is_read_again(steady: Desk) -> None:
    steady.observe(ConnectionError("away"))
    with asked("service_state") as states:
        steady.observe(ANSWER)
    assert states


def test_nothing_is_written_of_a_service_that_was_removed_meanwhile(steady: Desk) -> None:
    with write() as session:
        registry.remove(session, SERVICE, "ada")
    steady.observe()
    steady.observer.tick()
    steady.observe(look(queued=["a", "c"]))
    assert steady.known == {}
    with db.engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(ServiceState)) == 0


def test_a_job_that_went_and_came_back_is_known_as_it_came(steady: Desk) -> None:
    for answer in (look(running=["a"], queued=["b"]), look(queued=["b"], succeeded=["a"]), look(queued=["a", "b"])):
        steady.observe(answer)
    steady.restart()
    steady.observe()
    assert (steady.known, steady.items) == ({"a": "queued", "b": "queued"}, {})
