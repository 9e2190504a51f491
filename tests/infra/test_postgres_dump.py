"""`pg_dump` and `pg_restore` as Beacon runs them; with the real programs: tests/services/test_postgres_backup.py."""

from pathlib import Path

import pytest

from app.infra import postgres_dump

URL = "postgresql+psycopg://ada:s%40cret@db.example/beacon?sslmode=require"
# Writes down its arguments and the password that it is given, as any user of the host could read them with `ps`.
PROGRAM = """#!/bin/sh
echo "$0 $*" > {folder}/arguments
echo "$PGPASSWORD" > {folder}/password
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("pg_dump", "pg_restore"):
        (tmp_path / name).write_text(PROGRAM.format(folder=tmp_path))
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_the_password_is_in_the_environment_and_in_no_argument(programs: Path) -> None:
    for run in (postgres_dump.back_up, postgres_dump.restore):
        run(URL, programs / "kept.dump")
        arguments = (programs / "arguments").read_text()
        assert "--dbname=postgresql://ada@db.example/beacon?sslmode=require" in arguments
        assert "cret" not in arguments
        assert (programs / "password").read_text() == "s@cret\n"
