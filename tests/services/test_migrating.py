"""Several `beacon migrate` at once, as when a deployment starts on two hosts."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import flask_migrate
import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory
from flask import Flask

from app import create_app
from app.audit import chain
from app.audit.chain import Entry
from app.config import Settings
from app.db import db, read, write
from app.flags.change_log import RolloutChange
from app.flags.document import Flag, Rollout
from app.infra import database_upgrade
from app.rollout import changes_history
from tests.support.application import stop
from tests.support.beacon_server import ROOT
from tests.support.machine import scaled
from tests.support.postgres import Postgres

AT_ONCE = 3


@pytest.mark.parametrize("database", ["postgresql", "sqlite"])
def test_whoever_comes_second_waits_and_finds_nothing_left_to_do(
    request: pytest.FixtureRequest, tmp_path: Path, database: str
) -> None:
    environment = {**os.environ, "BEACON_INSTANCE_DIR": str(tmp_path), "BEACON_SECRET_KEY": "k" * 64}
    if database == "postgresql":
        postgres: Postgres = request.getfixturevalue("postgres")
        environment["BEACON_DATABASE_URL"] = postgres.new_database()
    command = [sys.executable, "-c", "from app.cli.main import main; main()", "migrate"]
    running = [
        subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for _ in range(AT_ONCE)
    ]
    ended = [(process.communicate(timeout=scaled(60))[0], process.returncode) for process in running]
    assert [code for _, code in ended] == [0] * AT_ONCE, ended


@pytest.fixture(params=["postgresql", "sqlite"])
def older(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Flask]:
    """A database from before rollouts had a table of their changes."""
    more = {}
    if request.param == "postgresql":
        postgres: Postgres = request.getfixturevalue("postgres")
        more["database_url"] = postgres.new_database()
    settings = Settings(instance_dir=tmp_path, secret_key="k", **more)
    app = create_app(settings)
    if settings.is_sqlite:
        (tmp_path / "beacon.db").touch()
    flask_migrate.Migrate(app, db, directory=database_upgrade.MIGRATIONS, render_as_batch=False)
    with app.app_context():
        before = ScriptDirectory(database_upgrade.MIGRATIONS).get_revision("0019").down_revision
        flask_migrate.upgrade(revision=str(before))
    yield app
    stop(app)


def test_the_history_of_a_rollout_is_what_the_audit_still_has_of_it(older: Flask) -> None:
    flag, ten, half = Flag.SSE_STREAMING, {"enabled": True, "percentage": 10}, {"enabled": True, "percentage": 12.5}
    plan = [{"percentage": 50, "holdMinutes": 60.0}]
    with older.app_context():
        with write() as session:
            for entry in (
                Entry("eve (Unleash)", "rollout-seen", flag, after=ten, params={"reason": "changed in Unleash"}),
                Entry("pia", "rollout-plan-start", flag, params={"steps": plan, "reason": "slowly"}),
                Entry("pia", "rollout-set", flag, "failure", before=ten, after=half, params={"reason": "more"},
                      logs=["not allowed"]),
                Entry("plan", "rollout-set", flag, before=ten, after=half, params={"reason": "step 1"}),
                Entry("guardrail", "rollout-hold", flag, before=half, after=half, params={"reason": "holds: trouble"}),
                Entry("guardrail", "rollout-plan-pause", flag, params={"reason": "the guardrail holds"}),
                Entry("pia", "rollout-set", flag, before={"percentage": "much"}, after=ten, params={"reason": "odd"}),
                Entry("pia", "retry-job", "mail"),
            ):  # fmt: skip
                chain.record(session, entry)
            pending = "'c', 0, 'f', TRUE, 10, 'guardrail', 'r', 1, TRUE"
            session.execute(sa.text(f"INSERT INTO flag_intent VALUES ({pending})"))
            session.execute(sa.text("INSERT INTO outage_watch VALUES ('a', 'flapping:a@1', 's'), ('b', 'e1', 's')"))
        flask_migrate.upgrade()
        with read() as session:
            found = changes_history.load_entries(session, flag)
            percentages = changes_history.load_percentages(session, flag)
            causes = session.execute(sa.text("SELECT cause FROM flag_intent")).scalars().all()
            flapping = session.execute(sa.text("SELECT service FROM outage_watch WHERE is_flapping")).scalars().all()
        assert all(entry.at for entry in found)
        before, after = Rollout(True, 10), Rollout(True, 12.5)
        assert [without_time(entry) for entry in reversed(found)] == [
            RolloutChange("eve (Unleash)", "unleash", "set", "changed in Unleash", None, before),
            RolloutChange("pia", "manual", "started", "slowly", steps=plan),
            RolloutChange("pia", "manual", "set", "more", before, after, "not allowed"),
            RolloutChange("plan", "plan", "set", "step 1", before, after),
            RolloutChange("guardrail", "guardrail", "held", "holds: trouble", after, after),
            RolloutChange("guardrail", "guardrail", "paused", "the guardrail holds"),
        ]
        assert (percentages, causes, flapping) == ([10], ["guardrail"], ["a"])
        flask_migrate.downgrade(revision="-1")


def without_time(entry: RolloutChange) -> RolloutChange:
    return replace(entry, at="")
