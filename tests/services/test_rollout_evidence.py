"""Plans, their evidence and their guardrail on PostgreSQL, and with a real Unleash."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from app import create_app
from app.config import Settings
from app.db import read, write
from app.flags.document import Flag
from app.flags.models import GuardrailRow, PlanRow, StageRow
from app.infra.lease import Lease
from app.rollout import plan_archive, plan_service, stages, witnesses
from app.rollout.controller import RolloutController
from app.rollout.witnesses import PersonReport
from tests.services.unleash_scene import beside
from tests.support.application import stop
from tests.support.postgres import Postgres
from tests.support.unleash_server import Unleash
from tests.support.waiting import wait_for

FLAG = Flag.SSE_STREAMING
PEOPLE = ("ann", "bea", "cid", "dan", "eve")
STEPS = [{"percentage": one, "holdMinutes": 0} for one in (20, 50)]


class Plan:
    """A plan of two steps without holds, followed turn by turn."""

    def __init__(self, app: Flask, settings: Settings) -> None:
        self.app, self._settings = app, settings
        with app.app_context():
            provider = app.extensions["beacon"].provider
            self._controller = RolloutController(app, settings, provider, Lease("rollout", 3_600, "test"))
            with write() as session:
                plan_service.begin_plan(session, FLAG, "pia", "slowly", STEPS)

    def turn(self) -> float | None:
        self._controller.run_once()
        with self.app.app_context(), read() as session:
            found: float | None = self.app.extensions["beacon"].provider.view(session, FLAG).state.percentage
            return found

    def reported(self, failures: int = 0) -> None:
        """By five people, a minute from now, with enough minutes of streams."""
        with self.app.app_context(), write() as session:
            now, since_ms = plan_service.read_epoch(session), stages.find_stage_start(session, FLAG)
            reports = {("streaming", user): PersonReport(20, failures, delivered=3) for user in PEOPLE}
            witnesses.save_reports(session, FLAG, since_ms, reports, now + 60, 300, self._settings.secret_key)
            stage = session.get(StageRow, (FLAG, since_ms))
            assert stage is not None
            stage.stream_minutes = 100.0


def check(plan: Plan) -> None:
    """It never raises on no evidence or bad evidence, and ends with what was seen."""
    wait_for(lambda: plan.turn() == 20, "the first step", within_s=20)
    for _ in range(3):
        assert plan.turn() == 20, "nothing was seen"
    plan.reported()
    wait_for(lambda: plan.turn() == 50, "the second step", within_s=20)
    plan.turn()
    plan.reported(failures=15)
    for _ in range(3):
        assert plan.turn() == 50
    with plan.app.app_context(), write() as session:
        row, held = session.get_one(PlanRow, FLAG), session.get_one(GuardrailRow, FLAG)
        assert row.paused_at is not None
        assert "attempts to connect failed" in held.reason
        plan_service.stop_plan(session, FLAG, "pia")
        last = plan_archive.load_last_plan(session, FLAG)
    assert last is not None
    seen = [(one["percentage"], one["connects"], one["failures"]) for one in last["evidence"]]
    assert seen == [(20, 100, 0), (50, 100, 75)]


def test_a_plan_waits_for_evidence_and_is_held_on_postgresql_too(app: Flask, settings: Settings) -> None:
    check(Plan(app, settings))


@pytest.fixture
def with_unleash(postgres: Postgres, unleash: Unleash, tmp_path: Path) -> Iterator[tuple[Flask, Settings]]:
    settings = Settings(
        instance_dir=tmp_path,
        database_url=postgres.migrated_database(),
        secret_key="for the tests only",
        **beside(unleash),  # type: ignore[arg-type]
    )
    app = create_app(settings)
    app.extensions["beacon"].background.start()
    yield app, settings
    stop(app)


def test_a_plan_waits_for_evidence_and_is_held_with_a_real_unleash_too(with_unleash: tuple[Flask, Settings]) -> None:
    app, settings = with_unleash
    provider = app.extensions["beacon"].provider

    def stands() -> float | None:
        with app.app_context(), read() as session:
            found: float | None = provider.view(session, FLAG).state.percentage
            return found

    wait_for(lambda: stands() == 10, "what Unleash says", within_s=30)
    check(Plan(app, settings))
