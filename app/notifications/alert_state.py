"""Decides when a service's discrepancy is worth a notification; repeats are suppressed. Pure.

A discrepancy is reported after `POLLS_BEFORE_ALERT` polls in a row have found it. It is reported again when more of it
lasts as long: a new kind at once, more jobs of a reported kind after a pause that doubles each time. An outage is
reported when the service becomes stale, which takes three polls already.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Literal

from app.infra.clock import parse_utc
from app.reconciliation import finding_text

# A single blip is not reported: this many polls in a row must find the discrepancy.
POLLS_BEFORE_ALERT = 3
FIRST_REPEAT_PAUSE, MAX_REPEAT_PAUSE = timedelta(minutes=1), timedelta(hours=1)
# Reported jobs remembered by id for each kind; beyond this only their number is compared.
MAX_REMEMBERED_JOBS = 2_000
_KINDS_WITHOUT_DISCREPANCY = frozenset({"unaccounted", "no-worker", "flapping", "rewound"})

Outcome = Literal["opened", "grew", "recovered"]


@dataclass(frozen=True, slots=True)
class AffectedJobs:
    """Jobs of one kind of finding: how many, and the ids that are known."""

    number: int = 0
    ids: tuple[str, ...] = ()


JobsByKind = Mapping[str, AffectedJobs]


@dataclass(frozen=True, slots=True)
class DiscrepancyAlert:
    """A discrepancy from its first poll to its end.

    `polls` counts the polls in a row that found something unreported; `is_reported` means that nothing is left to
    report. `reported` holds the reported jobs by kind, `notices` how many notifications were made, `notified_at` the
    time of the last one.
    """

    service: str
    cause: str
    since: str
    checked_at: str
    polls: int = 1
    is_reported: bool = False
    reported: JobsByKind = field(default_factory=dict)
    notices: int = 0
    notified_at: str | None = None


@dataclass(frozen=True, slots=True)
class PollStatus:
    """What a poll of a service found.

    `event_id` is the id of its `reconciliation.update`, if the poll changed anything. A flapping one is reported after
    one poll, because it never lasts for several polls in a row.
    """

    service: str
    status: str
    checked_at: str
    event_id: str | None = None
    affected: JobsByKind = field(default_factory=dict)
    is_flapping: bool = False


@dataclass(frozen=True, slots=True)
class AlertTransition:
    """The alert after a poll (None: there is no discrepancy), and what to report, if anything.

    `new` holds the jobs that were not reported before.
    """

    alert: DiscrepancyAlert | None
    outcome: Outcome | None = None
    new: JobsByKind = field(default_factory=dict)


def advance_alert(alert: DiscrepancyAlert | None, poll: PollStatus) -> AlertTransition:
    """Apply one poll. A poll that was counted before, or arrives late, changes nothing."""
    if poll.status == "discrepancy":
        return _count_discrepancy(alert, poll)
    if alert is None:
        return AlertTransition(None)
    if poll.status == "stale":  # the state is unknown: keep what was reported, restart the count of polls in a row
        return AlertTransition(replace(alert, is_reported=True, polls=0) if alert.notices else None)
    return AlertTransition(None, "recovered" if alert.notices else None)


def _count_discrepancy(alert: DiscrepancyAlert | None, poll: PollStatus) -> AlertTransition:
    if alert is None:
        cause = poll.event_id or f"{poll.service}@{poll.checked_at}"
        alert = DiscrepancyAlert(poll.service, cause, poll.checked_at, poll.checked_at, polls=0)
    elif parse_utc(poll.checked_at) <= parse_utc(alert.checked_at):
        return AlertTransition(alert)
    new = find_unreported(alert.reported, poll.affected)
    if alert.notices and not new:
        return AlertTransition(replace(alert, is_reported=True, polls=0, checked_at=poll.checked_at))
    polls = 1 if alert.is_reported else alert.polls + 1
    counted = replace(alert, polls=polls, is_reported=False, checked_at=poll.checked_at)
    if counted.polls < (1 if poll.is_flapping else POLLS_BEFORE_ALERT) or _is_paused(counted, new):
        return AlertTransition(counted)
    reported = replace(
        counted,
        is_reported=True,
        reported=_merge_reported(alert.reported, poll.affected),
        notices=alert.notices + 1,
        notified_at=poll.checked_at,
    )
    return AlertTransition(reported, "grew" if alert.notices else "opened", new)


def _is_paused(alert: DiscrepancyAlert, new: JobsByKind) -> bool:
    """True while more jobs of a reported kind must wait: they may arrive one by one."""
    if alert.notified_at is None or new.keys() - alert.reported.keys():
        return False
    pause = min(FIRST_REPEAT_PAUSE * (1 << min(alert.notices - 1, 10)), MAX_REPEAT_PAUSE)
    return parse_utc(alert.checked_at) - parse_utc(alert.notified_at) < pause


def parse_affected_jobs(payload: Mapping[str, Any]) -> JobsByKind:
    """The jobs that a `reconciliation.update` reports as wrong, by kind."""
    findings = [one for one in payload.get("findings") or [] if one["kind"] not in _KINDS_WITHOUT_DISCREPANCY]
    return {one["kind"]: AffectedJobs(finding_text.count_jobs(one), tuple(one["jobIds"])) for one in findings}


def is_flapping(payload: Mapping[str, Any]) -> bool:
    return any(one["kind"] == "flapping" for one in payload.get("findings") or [])


def find_unreported(reported: JobsByKind, affected: JobsByKind) -> JobsByKind:
    """The part of `affected` that was not reported before."""
    new: dict[str, AffectedJobs] = {}
    for kind, now in affected.items():
        before = reported.get(kind)
        if before is None:
            new[kind] = now
            continue
        known = set(before.ids)
        ids = tuple(job_id for job_id in now.ids if job_id not in known)
        # If not all reported ids are remembered, an unknown id may be a reported job: compare the numbers then.
        has_all_ids = len(before.ids) >= before.number
        number = len(ids) if has_all_ids and len(now.ids) >= now.number else now.number - before.number
        if number > 0:
            new[kind] = AffectedJobs(number, ids)
    return new


def _merge_reported(reported: JobsByKind, affected: JobsByKind) -> JobsByKind:
    """Jobs that are no longer affected stay reported, so that their return is not reported again."""
    merged = dict(reported)
    for kind, now in affected.items():
        before = reported.get(kind, AffectedJobs())
        ids = tuple(dict.fromkeys((*before.ids, *now.ids)))[:MAX_REMEMBERED_JOBS]
        merged[kind] = AffectedJobs(max(before.number, now.number, len(ids)), ids)
    return merged
