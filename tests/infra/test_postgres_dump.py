"""What `beacon backup` and `beacon restore` say when a program of PostgreSQL fails."""

import pytest

from app.infra.postgres_dump import explain_failure


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
