"""View model of a service's page: its differences, findings and workers, and what is known of each job."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy.orm import Session

from app.eventlog.audience import Viewer
from app.eventlog.reader import Event
from app.reconciliation import finding_text, open_item_queries, published_job_events, registry
from app.reconciliation.findings import DISCREPANCY_KINDS
from app.reconciliation.item_digests import item_digest
from app.reconciliation.models import KnownJob, OpenItem
from app.reconciliation.open_item_queries import OpenItemList
from app.reconciliation.queries import ServiceWithState
from app.sources.kinds import find_kind
from app.web import display_text
from app.web.dashboard import queries
from app.web.dashboard.view_models import IdList, Tile

MAX_ITEMS_SHOWN = 100
MAX_IDS_PER_FINDING = 25
# What a person can do about each finding, unless its kind of source knows better; Beacon itself can do nothing.
ADVICE = {
    "extra": "Closes automatically once the service no longer shows them as unfinished.",
    "lost": "Check whether its store was emptied, restored or replaced. Accept it, or restore the jobs.",
    "dangling": "Remove the ids from the service's own lists. They will never run.",
    "duplicate": "Check in the service which of its lists is right. The jobs may run twice.",
    "orphaned": "Their worker is dead. They stay where they are until the service queues them again.",
    "overdue": "Check whether a worker serves the queue.",
    "no-worker": "Start a worker for the queue, add the queue to a running worker, or resume suspended workers.",
    "count-mismatch": "The service contradicts itself. Check its own counts.",
    "unreadable": "Remove the entry or shorten its id. Until then Beacon counts it but cannot track it.",
    "flapping": "Reported once, until the counts have been stable for five minutes.",
    "rewound": "The service is back in an older state. Accept that, or wait until it has caught up.",
}
# Findings whose note contains their number of jobs.
_NUMBER_IN_NOTE = ("lost", "no-worker")
_ITEM_KINDS = ("missing", "unaccounted")
_PUBLISHED_LABELS = {"queued": "queued", "started": "started", "finished": "finished", "failed": "failed"}


@dataclass(frozen=True, slots=True)
class PublishedState:
    """A state that the service published for a job."""

    word: str
    at: str


@dataclass(frozen=True, slots=True)
class OpenRow:
    """A missing or unaccounted job and what Beacon knows of it. `seen`: the version that accepting it applies to."""

    job_id: str
    kind: str
    word: str
    since: str
    known: str
    published: tuple[PublishedState, ...] = ()
    seen: str = ""


@dataclass(frozen=True, slots=True)
class FindingRow:
    """A finding from the service's own data; `known`: what Beacon knows of the `ids` shown."""

    kind: str
    word: str
    since: str
    ids: IdList
    known: Mapping[str, str]
    advice: str
    note: str = ""

    @property
    def is_wrong(self) -> bool:
        """True if this finding alone puts the service into discrepancy."""
        return self.kind in DISCREPANCY_KINDS


@dataclass(frozen=True, slots=True)
class WorkerList:
    """`all` is None if the workers are unknown; `why_not` says why."""

    all: Sequence[Mapping[str, Any]] | None
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class ServiceView:
    tile: Tile
    kind: str
    address: str
    health: str
    registered_at: str
    items: list[OpenRow]
    numbers: OpenItemList
    findings: list[FindingRow]
    workers: WorkerList
    counts_only: tuple[str, ...] | None
    """States with a known count but no job list; empty if it is unknown which. None: all jobs are listed."""
    answered_at: str | None
    cut_queues: tuple[str, ...] = ()
    """The queues without a job list, if the jobs of all other queues are listed."""
    not_told: tuple[tuple[str, str], ...] = ()
    """States with an unknown count, each with the reason."""

    @property
    def has_more_to_accept(self) -> bool:
        """True if there are findings that only "accept all" accepts."""
        return any(finding.kind in ("rewound", "lost") for finding in self.findings)

    @property
    def has_form(self) -> bool:
        return bool(self.items) or self.has_more_to_accept

    @property
    def open_summary(self) -> str:
        """`3 missing, 1 unaccounted for`"""
        numbers = self.numbers.numbers.items()
        return ", ".join(f"{number:,} {finding_text.kind_label(kind)}" for kind, number in sorted(numbers))


def load_service_view(session: Session, watched: ServiceWithState, viewer: Viewer, interval: timedelta) -> ServiceView:
    service, state, payload = watched.service, watched.state, watched.payload or {}
    items = open_item_queries.list_open_items(session, service.id, MAX_ITEMS_SHOWN)
    findings = [one for one in payload.get("findings") or [] if one["kind"] not in (*_ITEM_KINDS, *items.numbers)]
    ids = [item.job_id for item in items.shown]
    named = {job_id for finding in findings for job_id in finding["jobIds"][:MAX_IDS_PER_FINDING]}
    known = open_item_queries.find_known_jobs(session, service.id, {*ids, *named})
    said = published_job_events.read_events_by_job(session, viewer, service.id, ids)
    kind = find_kind(service.kind)
    advice = {**ADVICE, **kind.advice} if kind else ADVICE
    return ServiceView(
        queries.build_tile(watched, interval),
        service.kind,
        service.url,
        watched.current_status(interval.total_seconds()).health,
        service.registered_at,
        [_build_open_row(item, known.get(item.job_id), said.get(item.job_id, [])) for item in items.shown],
        items,
        [_build_finding_row(one, known, advice) for one in findings],
        _build_worker_list(watched),
        _list_counts_only_states(watched, payload),
        state.last_answer_at if state else None,
        tuple(payload.get("countsOnlyQueues") or ()),
        tuple((display_text.state_label(name), why) for name, why in sorted((payload.get("notTold") or {}).items())),
    )


def _build_open_row(item: OpenItem, job: KnownJob | None, said: Sequence[Event]) -> OpenRow:
    queue = f" in queue {item.queue}" if item.queue else ""
    attempt = f", attempt {job.attempt}" if job and job.attempt is not None else ""
    known = f"was {item.last_state}{queue}{attempt} when it was last seen"
    word = finding_text.kind_label(item.kind).capitalize()
    published = tuple(
        PublishedState(_PUBLISHED_LABELS[event.type.removeprefix("job.")], event.timestamp) for event in said
    )
    seen = item_digest(item.job_id, item.kind, item.since)
    return OpenRow(item.job_id, item.kind, word, item.since, known, published, seen)


def _build_finding_row(
    finding: Mapping[str, Any], known: Mapping[str, KnownJob], advice: Mapping[str, str]
) -> FindingRow:
    kind, ids = finding["kind"], finding["jobIds"]
    word = (
        finding_text.list_findings([{**finding, "jobIds": []}]) if kind == "flapping" else finding_text.kind_label(kind)
    )
    shown = ids[:MAX_IDS_PER_FINDING]
    words = {job_id: _describe_known(known[job_id]) for job_id in shown if job_id in known}
    note = finding.get("note") or ""
    if kind == "no-worker":
        note = finding_text.describe_unserved_in_full([finding])
    shown_number = finding_text.count_jobs(finding) if kind in _NUMBER_IN_NOTE else len(shown) or (1 if note else 0)
    rest = IdList(tuple(shown), max(0, finding_text.count_jobs(finding) - shown_number))
    return FindingRow(kind, word.capitalize(), finding["since"], rest, words, advice.get(kind, ""), note)


def _describe_known(job: KnownJob) -> str:
    queue = f" in queue {job.queue}" if job.queue else ""
    attempt = f", attempt {job.attempt}" if job.attempt is not None else ""
    return f"{job.state}{queue}{attempt}"


def _build_worker_list(watched: ServiceWithState) -> WorkerList:
    text = watched.state.workers_json if watched.state else None
    if text is not None:
        return WorkerList(json.loads(text))
    why_not = registry.capabilities_of(watched.service).why_not("workers")
    return WorkerList(None, why_not or "the service has not reported its workers yet")


def _list_counts_only_states(watched: ServiceWithState, payload: Mapping[str, Any]) -> tuple[str, ...] | None:
    if watched.state is None or not watched.state.counts_only:
        return None
    return tuple(display_text.state_label(state) for state in payload.get("countsOnly") or [])
