"""Marks for the graphs of the last hour: rollout changes and deploys, read from the event log.

Only events with the audience everyone are used: a graph is the same for every viewer.
"""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from app.eventlog import reader as log
from app.eventlog.audience import EVERYONE
from app.eventlog.reader import Event
from app.infra.clock import utc_text

# The log has no index by time or type: a worker reads the events since its last read, and at most this many.
MAX_EVENTS_READ = 2_000
RETENTION = timedelta(hours=1)
DEPLOY_PREFIX = "deploy."
MAX_LABEL_CHARS = 40


@dataclass(frozen=True, slots=True)
class Annotation:
    """A change with a short label; `service` is empty if it may affect every service."""

    at: str
    label: str
    service: str = ""

    @classmethod
    def from_event(cls, event: Event) -> "Annotation":
        service = event.data.get("service")
        return cls(event.timestamp, _label(event)[:MAX_LABEL_CHARS], service if isinstance(service, str) else "")


def _label(event: Event) -> str:
    if event.type != "flag.changed":
        return event.type.replace(".", " ")
    if not event.data["enabled"]:
        return "rollout off"
    if _lets_nobody_in(event.data):
        return "rollout: nobody in"
    percentage = event.data.get("percentage")
    return "rollout changed" if percentage is None else f"rollout {percentage} %"


def _lets_nobody_in(change: Mapping[str, Any]) -> bool:
    """Events stored before there was `nobodyIn` have no `kind` either, and say it only in words."""
    if "kind" in change:
        return bool(change.get("nobodyIn"))
    return str(change.get("outcome") or "").endswith("nobody is in")


class AnnotationReader:
    """Reads the annotations of the last hour, and remembers what this worker has read."""

    def __init__(self) -> None:
        self._cursor = 0
        self._annotations: tuple[Annotation, ...] = ()
        # The newest label of each flag.
        self._flag_labels: Mapping[str, str] = {}
        self._lock = threading.Lock()

    def load(self, session: Session, now: datetime) -> tuple[Annotation, ...]:
        with self._lock:
            cursor, known, before = self._cursor, self._annotations, self._flag_labels
        rows = log.fetch_rows(session, max(cursor, log.head(session) - MAX_EVENTS_READ), {EVERYONE}, MAX_EVENTS_READ)
        oldest = utc_text(now - RETENTION)
        changed, flag_labels = _drop_repeated_labels(_select_events(rows), before)
        loaded = (*known, *map(Annotation.from_event, changed))
        annotations = tuple(annotation for annotation in loaded if annotation.at > oldest)
        with self._lock:
            if self._cursor == cursor:  # otherwise another request was faster and has stored the same
                self._cursor, self._annotations, self._flag_labels = rows.cursor, annotations, flag_labels
        return annotations


def _select_events(rows: log.EventRows) -> Iterable[Event]:
    return log.decode_rows(row for row in rows.rows if row.type == "flag.changed" or row.type.startswith(DEPLOY_PREFIX))


def _drop_repeated_labels(
    events: Iterable[Event], flag_labels: Mapping[str, str]
) -> tuple[list[Event], Mapping[str, str]]:
    """The events without those that repeat a flag's label, as when the guardrail holds it or a plan is paused; and the
    newest label of each flag. The first event of a flag always counts."""
    changed, newest = [], dict(flag_labels)
    for event in events:
        if event.type == "flag.changed":
            flag, label = str(event.data["flag"]), _label(event)
            if newest.get(flag) == label:
                continue
            newest[flag] = label
        changed.append(event)
    return changed, newest
