"""Several `beacon migrate` at once, as when a deployment starts on two hosts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
