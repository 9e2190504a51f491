"""Turns findings into sentences, for pages and notifications. The only place that does.

Each kind of finding has its own wording. Both sides are named only if they differ: "3 ≠ 3" helps nobody.
"""

from collections.abc import Mapping, Sequence
from typing import Any

_LABELS = {
    "missing": "missing",
    "extra": "published as finished and still there",
    "unaccounted": "unaccounted for",
    "lost": "lost at once",
    "dangling": "listed but without a job",
    "duplicate": "in two states at once",
    "orphaned": "running on a dead worker",
    "overdue": "scheduled and overdue",
    "no-worker": "waiting without a worker",
    "count-mismatch": "counted but not listed",
    "unreadable": "listed but unreadable",
    "flapping": "flapping",
    "rewound": "rewound to an older state",
}
# The kinds that "Beacon knows …, … reports …" covers.
_SIDES = ("missing", "extra")
UNSPECIFIC_DIFFERENCE = "differs from what Beacon knows"
# Wording for problems that persist while the service does not answer.
_EARLIER_LABELS = {"lost": "lost"}
MAX_NAMED_QUEUES = 3
_PERSISTING_KINDS = ("missing", "lost", "extra", "dangling", "duplicate", "orphaned", "overdue", "unreadable")


def describe_problem(name: str, payload: Mapping[str, Any]) -> str:
    """What is wrong, from a `reconciliation.update`; empty for a verified service. `name` is the display name."""
    status, findings = payload.get("status"), payload.get("findings") or []
    if status == "verified":
        return ""
    if status == "stale":
        parts = [
            describe_silence(payload),
            describe_earlier_findings(findings),
            describe_unserved(findings),
        ]
        return "; ".join(part for part in parts if part)
    sides = describe_both_sides(name, payload.get("discrepancyDetails"))
    by_themselves = ("lost", "no-worker", *(_SIDES if sides else ()))
    others = [one for one in findings if one["kind"] not in by_themselves and not _is_in_reason(one, payload)]
    parts = [
        describe_loss(findings),
        sides,
        list_findings(others),
        payload.get("reason") or "",
        describe_unserved(findings),
    ]
    return "; ".join(part for part in parts if part) or UNSPECIFIC_DIFFERENCE


def describe_silence(payload: Mapping[str, Any]) -> str:
    """Why a service is stale. One that comes and goes may well answer now: that it flaps is said first."""
    reason = payload.get("reason") or "has not answered"
    flapping = list_findings([one for one in payload.get("findings") or () if one["kind"] == "flapping"])
    return f"{flapping}; last: {reason}" if flapping else reason


def is_flapping(payload: Mapping[str, Any]) -> bool:
    return any(one["kind"] == "flapping" for one in payload.get("findings") or ())


def describe_loss(findings: Sequence[Mapping[str, Any]]) -> str:
    """`50,008 lost at once: 50,008 jobs before, 0 in the next answer`: alone, the fall looks like work done."""
    found = [one for one in findings if one["kind"] == "lost"]
    return ": ".join([list_findings(found), *(one["note"] for one in found if one.get("note"))])


def describe_unserved(findings: Sequence[Mapping[str, Any]]) -> str:
    """`250 jobs wait in the queue mail, and no worker serves it`; empty if every queue has a worker."""
    found = next((one for one in findings if one["kind"] == "no-worker"), None)
    if found is None:
        return ""
    number, names = count_jobs(found), found.get("queues") or []
    serves = f"no worker serves {'it' if len(names) == 1 else 'them'}"
    return f"{format_job_count(number)} {'waits' if number == 1 else 'wait'} in {format_queues(names)}, and {serves}"


def describe_unserved_in_full(findings: Sequence[Mapping[str, Any]]) -> str:
    """The same, with the start and, if known, the cause."""
    notes = [one["note"] for one in findings if one["kind"] == "no-worker" and one.get("note")]
    return ": ".join([describe_unserved(findings), *notes])


def format_queues(names: Sequence[str]) -> str:
    """`the queue mail`, `the queues mail and web`. An event may list only some of many."""
    shown = [*names[:MAX_NAMED_QUEUES], *(["others"] if len(names) > MAX_NAMED_QUEUES else [])]
    if len(shown) == 1:
        return f"the queue {shown[0]}"
    return f"the queues {', '.join(shown[:-1])} and {shown[-1]}" if shown else "its queues"


def describe_both_sides(name: str, details: Mapping[str, Any] | None) -> str:
    """`Beacon knows 14 jobs, mail reports 12`: names who says what. Empty if both agree."""
    if not details or details["expected"] == details["actual"]:
        return ""
    return f"Beacon knows {format_job_count(details['expected'])}, {name} reports {details['actual']:,}"


def list_findings(findings: Sequence[Mapping[str, Any]]) -> str:
    """`3 missing, 1 running on a dead worker`. A finding that is not about single jobs has no number."""
    parts = []
    for finding in findings:
        word, number = kind_label(finding["kind"]), count_jobs(finding)
        if finding["kind"] == "flapping":
            parts.append(f"{word}, {finding['count']:,} times" if finding.get("count") else word)
        else:
            parts.append(f"{number:,} {word}" if number else word)
    return ", ".join(parts)


def describe_earlier_findings(findings: Sequence[Mapping[str, Any]]) -> str:
    """`15 jobs were missing before`, for a service that does not answer: the problem is not known to be solved."""
    numbers = [
        (count_jobs(one), _EARLIER_LABELS.get(one["kind"], kind_label(one["kind"])))
        for one in findings
        if one["kind"] in _PERSISTING_KINDS
    ]
    named = [(number, word) for number, word in numbers if number]
    said = []
    if named:
        (number, word), *others = named
        first = f"{format_job_count(number)} {'was' if number == 1 else 'were'} {word}"
        said.append(", ".join([first, *(f"{number:,} {word}" for number, word in others)]))
    if any(one["kind"] == "count-mismatch" for one in findings):
        said.append("its counts and lists disagreed")
    return f"{' and '.join(said)} before" if said else ""


def count_jobs(finding: Mapping[str, Any]) -> int:
    """How many jobs the finding is about. The event lists only as many ids as fit."""
    counted = 0 if finding["kind"] == "flapping" else finding.get("count") or 0
    return max(len(finding["jobIds"]), counted)


def kind_label(kind: str) -> str:
    return _LABELS.get(kind, kind)


def format_job_count(number: int) -> str:
    return f"{number:,} job" if number == 1 else f"{number:,} jobs"


def _is_in_reason(finding: Mapping[str, Any], payload: Mapping[str, Any]) -> bool:
    """True if the reason already says it, with the state and both numbers."""
    return finding["kind"] == "count-mismatch" and bool(payload.get("reason"))
