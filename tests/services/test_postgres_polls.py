"""Polls over a real PostgreSQL: a first look, one that changes jobs, a loss, checks that change nothing."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from flask import Flask

from app.db import write
from app.reconciliation import registry
from app.sources.protocol import Capabilities, Job
from tests.reconciliation.desk import SERVICE, Desk
from tests.reconciliation.values import look

JOBS = [f"j{n:04}" for n in range(600)]


@pytest.fixture
def desk(app: Flask) -> Iterator[Desk]:
    with app.app_context():
        with write() as session:
            registry.add(session, id=SERVICE, name="Mail", kind="palantir", url="http://127.0.0.1:1")
        made = Desk()
        made.source.capabilities = Capabilities(3_600.0)
        yield made


def test_jobs_are_written_over_and_a_loss_is_declared(desk: Desk) -> None:
    desk.observe(look(queued=JOBS))
    desk.observe(look(running=JOBS))
    assert desk.known == dict.fromkeys(JOBS, "running")
    desk.observe(look())
    assert (desk.known, desk.items) == ({}, dict.fromkeys(JOBS, "missing"))


def test_checks_that_change_nothing_move_the_times_in_one_statement(desk: Desk) -> None:
    desk.observe(look(queued=JOBS))
    before = desk.state
    desk.observe()
    desk.observer.tick()
    after = desk.state
    assert after.version == before.version
    assert (after.last_verified_at or "") > (before.last_verified_at or "")
    assert len(desk.samples) == 2
    assert len(desk.events("reconciliation.verified")) == 1


def test_data_that_the_database_rejects_is_a_failed_check_and_no_silence(desk: Desk) -> None:
    desk.observe(look(queued=["a"]))
    odd = look(queued=["a", "b"])
    listing = replace(odd.listings[0], jobs={**odd.listings[0].jobs, "b": Job("b", "queued", "mail\0")})
    assert not desk.observe(replace(odd, listings=(listing, *odd.listings[1:]))).answered
    assert (desk.state.reason, desk.known) == ("gave data that the database rejects", {"a": "queued"})
    assert desk.state.failing_since is not None
    assert desk.observe(look(queued=["a", "b"])).answered
    assert desk.state.failing_since is None
