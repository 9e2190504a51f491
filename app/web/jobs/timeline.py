"""What happened to one job: as its service says, as programs published, as Beacon saw, by commands. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from app.commands.actions import ACTIONS
from app.commands.job_commands import JobCommand
from app.eventlog.reader import Event
from app.failures.models import FailedJob
from app.infra.clock import utc_text
from app.reconciliation.models import OpenItem
from app.sources.protocol import JobDetail
from app.web.display_text import state_label

Source = Literal["service", "published", "beacon", "command"]
_CLOSED = {
    "reappeared": "It was found again",
    "finished": "It has finished",
    "requeued": "It was queued again",
    "accepted": "Accepted",
    "expired": "No longer followed",
}


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """`at` is in UTC; `href` leads to more about it."""

    at: str
    what: str
    source: Source
    detail: str = ""
    href: str = ""


def build_timeline(
    said: JobDetail | None,
    events: Iterable[Event],
    items: Iterable[OpenItem],
    commands: Sequence[JobCommand],
    failed: FailedJob | None = None,
) -> list[TimelineEntry]:
    entries = [
        *(_list_service_entries(said) if said is not None else ()),
        *(TimelineEntry(event.timestamp, _describe_event(event.type), "published") for event in events),
        *(entry for item in items for entry in _list_item_entries(item)),
        *((TimelineEntry(failed.seen_at, "Found failed", "beacon"),) if failed is not None else ()),
        *(entry for one in commands for entry in _list_command_entries(one)),
    ]
    return sorted(entries, key=lambda entry: entry.at)


def _list_service_entries(said: JobDetail) -> Iterator[TimelineEntry]:
    queue = f"in queue {said.job.queue}" if said.job.queue else ""
    worker = f"on {said.worker}" if said.worker else ""
    error = str(said.error).partition("\n")[0] if said.error else ""
    for moment, what, detail in (
        (said.enqueued_at, "Queued", queue),
        (said.scheduled_for, "Planned to start", ""),
        (said.started_at, "Started", worker),
        (said.ended_at, f"Ended: {state_label(said.job.state)}", error),
    ):
        if moment is not None:
            yield TimelineEntry(_text(moment), what, "service", detail)


def _list_item_entries(item: OpenItem) -> Iterator[TimelineEntry]:
    last = f"last seen {item.last_state}" + (f" in queue {item.queue}" if item.queue else "")
    yield TimelineEntry(item.since, f"Declared {item.kind}", "beacon", last)
    if item.closed_at is not None:
        by = " by ".join(filter(None, (_CLOSED.get(item.closed_how or "", "Closed"), item.closed_by)))
        yield TimelineEntry(item.closed_at, by, "beacon", item.close_reason or "")


def _list_command_entries(one: JobCommand) -> Iterator[TimelineEntry]:
    command = one.command
    action = ACTIONS.get(command.action)
    label, href = action.label if action else command.action, f"/commands/{command.id}"
    yield TimelineEntry(command.created_at, f"{label} by {command.actor}", "command", "", href)
    if command.ended_at is not None:
        yield TimelineEntry(command.ended_at, f"{label}: {one.state}", "command", one.detail, href)


def _describe_event(name: str) -> str:
    return f"{name.removeprefix('job.').capitalize()} ({name})"


def _text(moment: datetime) -> str:
    return utc_text(moment)
