"""A service as its page shows it: both sides of every difference, and what is known of each job that is named."""

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
from app.web import display_text
from app.web.dashboard import queries
from app.web.dashboard.view_models import IdList, Tile

ITEMS = 100
FINDING_IDS = 25
# What a person can do about each, where Beacon itself can do nothing.
ADVICE = {
    "extra": "Closes by itself once the service no longer shows them as unfinished.",
    "lost": "Look whether its store was emptied, restored or replaced. Accept it, or bring the jobs back.",
    "dangling": "Remove the ids from the service's own lists; nothing will ever run them.",
    "duplicate": "Look in the service which of its lists is right; they may run twice.",
    "orphaned": "Their worker is dead: the service has to put them back, or they stand still.",
    "overdue": "Look whether anybody serves the queue: with RQ a worker that was started with --with-scheduler, with "
    "Celery one that has room for it.",
    "no-worker": "Start a worker for the queue, or let a running one serve it too; resume workers that are suspended.",
    "count-mismatch": "The service contradicts itself; look at its own counts.",
    "unreadable": "Remove the entry, or shorten its id; until then Beacon counts it and cannot follow it.",
    "flapping": "Said once, until it has been calm for five minutes.",
    "rewound": "The service went back in time. Accept that, or wait until it has caught up.",
}
# Their note says of how many jobs they are.
_NUMBER_IN_NOTE = ("lost", "no-worker")
_ITEM_KINDS = ("missing", "unaccounted")
_SAID = {"queued": "queued", "started": "started", "finished": "finished", "failed": "failed"}


@dataclass(frozen=True, slots=True)
class Said:
    """One thing that was published of a job."""

    word: str
    at: str


@dataclass(frozen=True, slots=True)
class OpenRow:
    """A job that is missing or unaccounted for, and what Beacon knows of it. `seen`: what accepting it is bound to."""

    job_id: str
    kind: str
    word: str
    since: str
    known: str
    said: tuple[Said, ...] = ()
    seen: str = ""


@dataclass(frozen=True, slots=True)
class FindingRow:
    """Something that the service's own data says; `ids` with what Beacon knows of each, as far as they are shown."""

    kind: str
    word: str
    since: str
    ids: IdList
    known: Mapping[str, str]
    advice: str
    note: str = ""

    @property
    def is_wrong(self) -> bool:
        """Whether it alone puts the service into discrepancy."""
        return self.kind in DISCREPANCY_KINDS


@dataclass(frozen=True, slots=True)
class Workers:
    """`all` is None where it cannot be told; `why_not` says why."""

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
    workers: Workers
    counts_only: tuple[str, ...] | None
    """The states of which only the number is known; empty where it is not known which. None: all jobs are listed."""
    answered_at: str | None
    cut_queues: tuple[str, ...] = ()
    """In which queues, where the jobs of all others are listed."""
    not_told: tuple[tuple[str, str], ...] = ()
    """States whose number nobody knows, each with the reason."""

    @property
    def has_more_to_accept(self) -> bool:
        """Whether something stands there besides jobs that only accepting everything accepts."""
        return any(finding.kind in ("rewound", "lost") for finding in self.findings)

    @property
    def has_form(self) -> bool:
        return bool(self.items) or self.has_more_to_accept

    @property
    def open_words(self) -> str:
        """`3 missing, 1 unaccounted for`"""
        numbers = self.numbers.numbers.items()
        return ", ".join(f"{number:,} {finding_text.kind_label(kind)}" for kind, number in sorted(numbers))


def view(session: Session, watched: ServiceWithState, viewer: Viewer, interval: timedelta) -> ServiceView:
    service, state, payload = watched.service, watched.state, watched.payload or {}
    items = open_item_queries.list_open_items(session, service.id, ITEMS)
    findings = [one for one in payload.get("findings") or [] if one["kind"] not in (*_ITEM_KINDS, *items.numbers)]
    ids = [item.job_id for item in items.shown]
    named = {job_id for finding in findings for job_id in finding["jobIds"][:FINDING_IDS]}
    known = open_item_queries.find_known_jobs(session, service.id, {*ids, *named})
    said = published_job_events.read_events_by_job(session, viewer, service.id, ids)
    return ServiceView(
        queries.build_tile(watched, interval),
        service.kind,
        service.url,
        watched.current_status(interval.total_seconds()).health,
        service.registered_at,
        [_open_row(item, known.get(item.job_id), said.get(item.job_id, [])) for item in items.shown],
        items,
        [_finding(one, known) for one in findings],
        _workers(watched),
        _counts_only(watched, payload),
        state.last_answer_at if state else None,
        tuple(payload.get("countsOnlyQueues") or ()),
        tuple((display_text.state_label(name), why) for name, why in sorted((payload.get("notTold") or {}).items())),
    )


def _open_row(item: OpenItem, job: KnownJob | None, said: Sequence[Event]) -> OpenRow:
    queue = f" in queue {item.queue}" if item.queue else ""
    attempt = f", attempt {job.attempt}" if job and job.attempt is not None else ""
    known = f"was {item.last_state}{queue}{attempt} when it was last seen"
    word = finding_text.kind_label(item.kind).capitalize()
    told = tuple(Said(_SAID[event.type.removeprefix("job.")], event.timestamp) for event in said)
    seen = item_digest(item.job_id, item.kind, item.since)
    return OpenRow(item.job_id, item.kind, word, item.since, known, told, seen)


def _finding(finding: Mapping[str, Any], known: Mapping[str, KnownJob]) -> FindingRow:
    kind, ids = finding["kind"], finding["jobIds"]
    word = (
        finding_text.list_findings([{**finding, "jobIds": []}]) if kind == "flapping" else finding_text.kind_label(kind)
    )
    shown = ids[:FINDING_IDS]
    words = {job_id: _known_words(known[job_id]) for job_id in shown if job_id in known}
    note = finding.get("note") or ""
    if kind == "no-worker":
        note = finding_text.describe_unserved_in_full([finding])
    told_of = finding_text.count_jobs(finding) if kind in _NUMBER_IN_NOTE else len(shown) or (1 if note else 0)
    rest = IdList(tuple(shown), finding_text.count_jobs(finding) - told_of)
    return FindingRow(kind, word.capitalize(), finding["since"], rest, words, ADVICE.get(kind, ""), note)


def _known_words(job: KnownJob) -> str:
    queue = f" in queue {job.queue}" if job.queue else ""
    attempt = f", attempt {job.attempt}" if job.attempt is not None else ""
    return f"{job.state}{queue}{attempt}"


def _workers(watched: ServiceWithState) -> Workers:
    text = watched.state.workers_json if watched.state else None
    if text is not None:
        return Workers(json.loads(text))
    why_not = registry.capabilities_of(watched.service).why_not("workers")
    return Workers(None, why_not or "the service has not told of its workers yet")


def _counts_only(watched: ServiceWithState, payload: Mapping[str, Any]) -> tuple[str, ...] | None:
    if watched.state is None or not watched.state.counts_only:
        return None
    return tuple(display_text.state_label(state) for state in payload.get("countsOnly") or [])
