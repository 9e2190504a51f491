"""What is wrong with a service, in words: the one place that makes sentences of findings, for pages and notifications.

Each kind of finding has its own sentence. Both sides are named only where they differ: "3 ≠ 3" tells nobody anything.
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
    "flapping": "coming and going",
    "rewound": "back in an older state",
}
# What "Beacon knows …, … reports …" is about.
_SIDES = ("missing", "extra")
UNSPECIFIC_DIFFERENCE = "differs from what Beacon knows"
# What goes on being wrong while nobody hears of it.
_EARLIER_LABELS = {"lost": "lost"}
MAX_NAMED_QUEUES = 3
_PERSISTING_KINDS = ("missing", "lost", "extra", "dangling", "duplicate", "orphaned", "overdue")


def describe_problem(name: str, payload: Mapping[str, Any]) -> str:
    """Of a `reconciliation.update`; empty for a verified service. `name` is the service's, as people know it."""
    status, findings = payload.get("status"), payload.get("findings") or []
    if status == "verified":
        return ""
    if status == "stale":
        parts = [
            payload.get("reason") or "has not answered",
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


def describe_loss(findings: Sequence[Mapping[str, Any]]) -> str:
    """`50,008 lost at once: 50,008 jobs before, 0 in the next answer`; without both it would look like work done."""
    found = [one for one in findings if one["kind"] == "lost"]
    return ": ".join([list_findings(found), *(one["note"] for one in found if one.get("note"))])


def describe_unserved(findings: Sequence[Mapping[str, Any]]) -> str:
    """`250 jobs wait in the queue mail, and no worker serves it`; empty where every queue has its worker."""
    found = next((one for one in findings if one["kind"] == "no-worker"), None)
    if found is None:
        return ""
    number, names = count_jobs(found), found.get("queues") or []
    serves = f"no worker serves {'it' if len(names) == 1 else 'them'}"
    return f"{format_job_count(number)} {'waits' if number == 1 else 'wait'} in {format_queues(names)}, and {serves}"


def describe_unserved_in_full(findings: Sequence[Mapping[str, Any]]) -> str:
    """With since when, and why where that is known."""
    notes = [one["note"] for one in findings if one["kind"] == "no-worker" and one.get("note")]
    return ": ".join([describe_unserved(findings), *notes])


def format_queues(names: Sequence[str]) -> str:
    """`the queue mail`, `the queues mail and web`; an event may name fewer of many than there are."""
    shown = [*names[:MAX_NAMED_QUEUES], *(["others"] if len(names) > MAX_NAMED_QUEUES else [])]
    if len(shown) == 1:
        return f"the queue {shown[0]}"
    return f"the queues {', '.join(shown[:-1])} and {shown[-1]}" if shown else "its queues"


def describe_both_sides(name: str, details: Mapping[str, Any] | None) -> str:
    """`Beacon knows 14 jobs, mail reports 12`: who says what, so that nobody has to guess which is which."""
    if not details or details["expected"] == details["actual"]:
        return ""
    return f"Beacon knows {format_job_count(details['expected'])}, {name} reports {details['actual']:,}"


def list_findings(findings: Sequence[Mapping[str, Any]]) -> str:
    """`3 missing, 1 running on a dead worker`; a finding about no job in particular goes without a number."""
    parts = []
    for finding in findings:
        word, number = kind_label(finding["kind"]), count_jobs(finding)
        if finding["kind"] == "flapping":
            parts.append(f"{word}, {finding['count']:,} times" if finding.get("count") else word)
        else:
            parts.append(f"{number:,} {word}" if number else word)
    return ", ".join(parts)


def describe_earlier_findings(findings: Sequence[Mapping[str, Any]]) -> str:
    """`15 jobs were missing before`, of a service that nobody hears: nobody has said that its jobs are in order."""
    numbers = [
        (count_jobs(one), _EARLIER_LABELS.get(one["kind"], kind_label(one["kind"])))
        for one in findings
        if one["kind"] in _PERSISTING_KINDS
    ]
    named = [(number, word) for number, word in numbers if number]
    if not named:
        return ""
    (number, word), *others = named
    first = f"{format_job_count(number)} {'was' if number == 1 else 'were'} {word}"
    return ", ".join([first, *(f"{number:,} {word}" for number, word in others)]) + " before"


def count_jobs(finding: Mapping[str, Any]) -> int:
    """How many jobs it is about: it names as many as an event holds."""
    counted = 0 if finding["kind"] == "flapping" else finding.get("count") or 0
    return max(len(finding["jobIds"]), counted)


def kind_label(kind: str) -> str:
    return _LABELS.get(kind, kind)


def format_job_count(number: int) -> str:
    return f"{number:,} job" if number == 1 else f"{number:,} jobs"


def _is_in_reason(finding: Mapping[str, Any], payload: Mapping[str, Any]) -> bool:
    """Whether the reason already says it, and better: which state, and both its numbers."""
    return finding["kind"] == "count-mismatch" and bool(payload.get("reason"))
