"""Commands on a real PostgreSQL: whoever races for an id, a target, a limit or a claim, one wins."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from app import create_app
from app.audit.models import AuditRow
from app.commands import leases, rejections, submit
from app.commands.leases import Claim, CommandLeaseLost
from app.commands.models import CommandRow, ItemRow
from app.commands.removed_jobs import CommandExplanations
from app.commands.request import CommandRequest
from app.config import Settings
from app.db import db, now_epoch, read, write
from app.reconciliation import registry
from app.reconciliation.loader import database_now
from tests.commands.operator_desk import OperatorDesk, new_id
from tests.support.application import start_worker
from tests.support.cast import ADA, BOB, join
from tests.support.demo_service import DemoService, start_demo
from tests.support.machine import scaled

RACERS = 6


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[DemoService]:
    service = start_demo(tmp_path)
    yield service
    service.stop()


@pytest.fixture
def workers(app: Flask, settings: Settings) -> Iterator[list[Flask]]:
    """Two applications on one database, and a service that none of these tests asks."""
    join(app, BOB, ADA)
    with app.app_context(), write() as session:
        registry.add(session, id="mail", name="Mail", kind="palantir", url="http://127.0.0.1:1")
    other = create_app(settings)
    yield [app, other]
    with other.app_context():
        db.engine.dispose()


def retry(target: str, command_id: str | None = None) -> CommandRequest:
    body = {"commandId": command_id or new_id(), "actionType": "retry-job", "service": "mail", "target": target}
    return CommandRequest.model_validate(body)


def race(workers: list[Flask], act: Callable[[int], Any]) -> list[Any]:
    """What each of `RACERS` got who began together, half of them on each worker; refusals by their status."""
    start, found = threading.Barrier(RACERS), list[Any]()

    def run(number: int) -> None:
        start.wait(scaled(20))
        with workers[number % 2].app_context():
            try:
                found.append(act(number))
            except rejections.CommandRejected as refused:
                found.append(refused.status)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(RACERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(scaled(60))
    assert len(found) == RACERS
    return found


def count(app: Flask, model: Any) -> int:
    with app.app_context(), read() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(model)) or 0


def test_one_id_is_taken_on_once(workers: list[Flask]) -> None:
    for number in range(5):
        asked = retry(f"j{number}")
        taken = race(workers, lambda _, asked=asked: submit.submit_command(asked, "bob").phase)
        assert taken == ["queued"] * RACERS
    assert count(workers[0], CommandRow) == count(workers[0], ItemRow) == 5
    with workers[0].app_context(), read() as session:
        stages = list(session.scalars(sa.select(AuditRow.stage).where(AuditRow.command_id.is_not(None))))
    assert stages == ["accepted"] * 5


def test_one_target_is_held_by_one_command(workers: list[Flask]) -> None:
    got = race(workers, lambda _: submit.submit_command(retry("j1"), "bob").phase)
    assert sorted(map(str, got)) == sorted(["409"] * (RACERS - 1) + ["queued"])
    assert count(workers[0], CommandRow) == 1


def test_a_limit_holds_when_all_come_at_once(workers: list[Flask]) -> None:
    got = race(workers, lambda number: submit.submit_command(retry(f"j{number}"), "bob").phase)
    assert sorted(map(str, got)) == sorted(
        ["429"] * (RACERS - submit.MAX_OPEN_COMMANDS_PER_USER) + ["queued"] * submit.MAX_OPEN_COMMANDS_PER_USER
    )


def test_one_runner_gets_a_command_and_one_gets_it_from_the_dead(workers: list[Flask]) -> None:
    app = workers[0]
    with app.app_context():
        command_id = submit.submit_command(retry("j1"), "bob").command_id
    first = [claim for claim in race(workers, lambda number: leases.claim_command(command_id, f"r{number}")) if claim]
    assert len(first) == 1
    with app.app_context():
        assert leases.find_claimable(10) == []
        with write() as session:
            session.execute(sa.update(CommandRow).values(lease_until=now_epoch() - 1))
        assert leases.find_claimable(10) == [command_id]
    second = [claim for claim in race(workers, lambda number: leases.claim_command(command_id, f"s{number}")) if claim]
    assert [claim.fence for claim in second] == [first[0].fence + 1]
    with app.app_context():
        assert is_lost(first[0])
        assert not is_lost(second[0])


def is_lost(claim: Claim) -> bool:
    try:
        with write() as session:
            claim.lock_command(session)
    except CommandLeaseLost:
        return True
    return False


def test_a_command_runs_to_its_end(workers: list[Flask], demo: DemoService) -> None:
    """Everything that it writes, on this database; and reconciliation is told what it removed."""
    app = workers[0]
    with app.app_context(), write() as session:
        registry.put(session, id="mail", name="Mail", kind="palantir", url=demo.url)
    desk = OperatorDesk(app, demo)
    job = demo.create_job(state="failed", ageS=60)["id"]
    start_worker(app)
    command = desk.ended(desk.give("delete-job", job, by=ADA), by=ADA)
    assert (command["phase"], command["verified"]) == ("success", True)
    assert [entry.stage for entry in desk.audit(command["commandId"])] == ["accepted", "result"]
    with app.app_context(), read() as session:
        since = database_now(session)
        assert CommandExplanations().find_ended(session, "mail", {job, "other"}, since) == {job}
