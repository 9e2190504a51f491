"""What is wrong, in words: each kind of finding has its own, and no sentence says that a number differs from itself."""

from typing import Any

import pytest

from app.eventlog.event_types import FindingKind
from app.reconciliation import finding_text


def payload(status: str, *findings: tuple[str, list[str]], **more: Any) -> dict[str, Any]:
    return {"status": status, "findings": [{"kind": kind, "jobIds": ids} for kind, ids in findings], **more}


def sides(expected: int, actual: int) -> dict[str, Any]:
    return {"discrepancyDetails": {"expected": expected, "actual": actual, "missingJobIds": []}}


def test_two_sides_are_named_where_they_differ() -> None:
    said = finding_text.describe_problem("mail", payload("discrepancy", ("missing", ["a", "b"]), **sides(14, 12)))
    assert said == "Beacon knows 14 jobs, mail reports 12"


def test_two_sides_that_agree_are_not_set_against_each_other() -> None:
    said = finding_text.describe_problem("mail", payload("discrepancy", ("dangling", ["a", "b", "c"]), **sides(3, 3)))
    assert said == "3 listed but without a job"


def test_as_many_missing_as_extra_are_both_said() -> None:
    found = (("missing", ["a"]), ("extra", ["b"]))
    said = finding_text.describe_problem("mail", payload("discrepancy", *found, **sides(3, 3)))
    assert said == "1 missing, 1 published as finished and still there"


def test_counts_that_disagree_with_lists_say_which_and_by_how_much() -> None:
    more = {"reason": "queued: 5 counted, 4 listed", **sides(0, 0)}
    assert (
        finding_text.describe_problem("mail", payload("discrepancy", ("count-mismatch", []), **more)) == more["reason"]
    )


def test_every_kind_adds_its_own_sentence_and_the_reason_comes_last() -> None:
    found = (("missing", ["a"]), ("orphaned", ["b"]), ("overdue", ["c", "d"]))
    more = {"reason": "no scheduler serves mail", **sides(2, 1)}
    said = finding_text.describe_problem("mail", payload("discrepancy", *found, **more))
    assert said.split("; ") == [
        "Beacon knows 2 jobs, mail reports 1",
        "1 running on a dead worker, 2 scheduled and overdue",
        "no scheduler serves mail",
    ]


def test_a_stale_service_says_what_was_missing_before() -> None:
    missing = {"kind": "missing", "jobIds": ["a"], "count": 15}
    stale = {"status": "stale", "reason": "refused the connection", "findings": [missing]}
    assert finding_text.describe_problem("mail", stale) == "refused the connection; 15 jobs were missing before"
    assert (
        finding_text.describe_problem("mail", payload("stale", ("missing", ["a"])))
        == "has not answered; 1 job was missing before"
    )


def test_a_stale_service_says_what_disagreed_and_could_not_be_read_before() -> None:
    odd = {"kind": "unreadable", "jobIds": [], "count": 3}
    mismatch = {"kind": "count-mismatch", "jobIds": []}
    for found, said in (
        ([mismatch], "its counts and lists disagreed before"),
        ([odd], "3 jobs were listed but unreadable before"),
        ([odd, mismatch], "3 jobs were listed but unreadable and its counts and lists disagreed before"),
    ):
        assert finding_text.describe_earlier_findings(found) == said


def test_jobs_beyond_those_that_an_event_names_are_counted() -> None:
    assert (
        finding_text.list_findings([{"kind": "dangling", "jobIds": ["a"], "count": 5_000}])
        == "5,000 listed but without a job"
    )


def test_how_often_a_state_came_and_went_is_no_number_of_jobs() -> None:
    assert finding_text.list_findings([{"kind": "flapping", "jobIds": [], "count": 6}]) == "flapping, 6 times"


@pytest.mark.parametrize("kind", FindingKind.__args__)  # type: ignore[attr-defined]
def test_no_kind_goes_by_its_name_in_the_payload_alone(kind: str) -> None:
    assert finding_text.kind_label(kind) != kind or kind in ("missing", "flapping")  # which are words of the field


def test_a_loss_has_both_numbers_also_while_its_service_is_silent() -> None:
    lost = {"kind": "lost", "jobIds": [], "count": 50_008, "note": "50,008 jobs before, 0 in the next answer"}
    said = finding_text.describe_problem("mail", {"status": "discrepancy", "findings": [lost]})
    assert said == "50,008 lost at once: 50,008 jobs before, 0 in the next answer"
    beside = finding_text.describe_problem("mail", {"status": "discrepancy", "findings": [lost], **sides(3, 1)})
    assert beside == f"{said}; Beacon knows 3 jobs, mail reports 1"
    silent = {"status": "stale", "reason": "did not answer", "findings": [lost]}
    assert finding_text.describe_problem("mail", silent) == "did not answer; 50,008 jobs were lost before"


def test_a_queue_without_a_worker_has_its_own_sentence() -> None:
    def said(count: int, *queues: str) -> str:
        finding = {"kind": "no-worker", "jobIds": [], "count": count, "queues": list(queues)}
        return finding_text.describe_unserved([finding])

    assert said(250, "mail") == "250 jobs wait in the queue mail, and no worker serves it"
    assert said(1, "mail") == "1 job waits in the queue mail, and no worker serves it"
    assert said(3, "mail", "web") == "3 jobs wait in the queues mail and web, and no worker serves them"
    assert said(9, *"abcde") == "9 jobs wait in the queues a, b, c and others, and no worker serves them"
    assert finding_text.describe_unserved([]) == ""


def test_it_stands_behind_what_is_wrong() -> None:
    waits = {"kind": "no-worker", "jobIds": [], "count": 250, "queues": ["mail"]}
    found = {"status": "discrepancy", "findings": [{"kind": "orphaned", "jobIds": ["b"]}, waits], **sides(2, 2)}
    said = finding_text.describe_problem("mail", found)
    assert said == "1 running on a dead worker; 250 jobs wait in the queue mail, and no worker serves it"
