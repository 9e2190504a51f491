"""`pg_dump` and `pg_restore` as Beacon runs them; with the real programs: tests/services/test_postgres_backup.py."""

from pathlib import Path

import pytest

from app.infra import postgres_dump
from app.infra.postgres_dump import explain_failure

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


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (
            "pg_restore: error: unsupported version (1.16) in file header\n",
            "unsupported version (1.16) in file header; a newer pg_dump made the file: install client programs of that",
        ),
        (
            "pg_restore: error: could not execute query: ERROR:  must be owner of table event\n",
            "must be owner of table event; run it as the role that owns the tables, or as a superuser",
        ),
        ("", "it said nothing"),
    ],
)
def test_the_programs_own_reason_is_repeated_with_what_to_do(output: str, said: str) -> None:
    told = explain_failure("pg_restore", output)
    assert told.startswith("pg_restore failed: ")
    assert said in told
