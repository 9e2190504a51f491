"""What is no id of a job, and why; `test_<kind>_left_out.py` has what it costs: the entry, and no other."""

import pytest

from app.sources.protocol import MAX_JOB_ID_BYTES, MAX_JOB_ID_CHARS, find_job_id_fault

LONG = "x" * (MAX_JOB_ID_CHARS + 1)
TOO_LONG, CONTROL = "its id has more than 1,000 characters", "its id has a control character"
ODD: list[tuple[str, str]] = [
    ("", "it has no id"),
    (LONG, TOO_LONG),
    ("a\nid: 7", CONTROL),
    ("a\x7f", CONTROL),
    ("日" * 667, "its id has more than 2,000 bytes"),
]


@pytest.mark.parametrize(
    ("job_id", "fault"), [*ODD, ("a\x85", CONTROL), ("a\u3000b", "its id has U+3000, which cannot be seen")]
)
def test_the_limit_is_said(job_id: str, fault: str) -> None:
    assert find_job_id_fault(job_id) == fault


@pytest.mark.parametrize("job_id", ["a", "a b/c?d=é", "x" * 300, "x" * MAX_JOB_ID_CHARS, "日" * 666])
def test_an_id_within_the_limits_is_taken(job_id: str) -> None:
    assert find_job_id_fault(job_id) == ""
    assert len(job_id.encode()) <= MAX_JOB_ID_BYTES
