"""A row of the list of changes, made from an event."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from app.eventlog.reader import Event
from app.reconciliation import finding_text
from app.web import display_text
from app.web.dashboard.view_models import NO_IDS, Ids, service_href

# Pages act on these instead of listing them; they travel as `event: signal`.
SIGNAL_TYPES = frozenset({"notification.created", "notification.changed", "flag.changed"})
# `verified` only moves ages.
UNLISTED_TYPES = SIGNAL_TYPES | {"reconciliation.verified"}

NameOf = Callable[[str], str]

_JOB_STATES = {"job.queued": "queued", "job.started": "running", "job.finished": "success", "job.failed": "error"}


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """When, in which state, what it is about, in words."""

    id: int
    at: str
    state: str
    word: str
    subject: str
    href: str | None
    words: str
    ids: Ids = NO_IDS
    type: str = ""
    service: str = ""

    @classmethod
    def from_event(cls, event: Event, name_of: NameOf = str) -> Self:
        state, words, ids = _READERS.get(event.type, _published)(event, name_of)
        service = event.data.get("service")
        if isinstance(service, str):
            subject, href = name_of(service), service_href(service)
        else:
            service, subject, href = "", _subject(event), None
        word = display_text.STATE_WORDS[state]
        return cls(event.id, event.timestamp, state, word, subject, href, words, ids, event.type, service)


_Read = tuple[str, str, Ids]


def _update(event: Event, name_of: NameOf) -> _Read:
    data = event.data
    status = data["status"]
    if status in ("stale", "discrepancy"):
        words = finding_text.describe_problem(name_of(data["service"]), data)
        ids = Ids.of((data.get("discrepancyDetails") or {}).get("missingJobIds") or [])
        return status, f"{words}; missing:" if ids.total else words, ids
    parts = [finding_text.describe_unserved(data.get("findings") or []), display_text.counts_in_words(data["counts"])]
    return "verified", "; ".join(part for part in parts if part), NO_IDS


def _command(event: Event, _name_of: NameOf) -> _Read:
    phase, logs = event.data["phase"], event.data["logs"]
    state = "timeout" if phase == "unknown" else phase
    return state, logs[-1] if logs else f"command {event.data['commandId']}", NO_IDS


def _flash(event: Event, _name_of: NameOf) -> _Read:
    return event.data["severity"], event.data["text"], NO_IDS


def _job(event: Event, _name_of: NameOf) -> _Read:
    queue = event.data.get("queue")
    return _JOB_STATES[event.type], f"in queue {queue}" if queue else "", Ids.of([event.data["jobId"]])


def _published(event: Event, _name_of: NameOf) -> _Read:
    return "event", display_text.event_in_words(event.data), NO_IDS


def _subject(event: Event) -> str:
    return str(event.data["actor"]) if event.type == "flash.message" else event.type


_READERS: dict[str, Callable[[Event, NameOf], _Read]] = {
    "reconciliation.update": _update,
    "command.status": _command,
    "flash.message": _flash,
    **dict.fromkeys(_JOB_STATES, _job),
}
