"""Turns an event into a row of the list of changes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from app.eventlog.reader import Event
from app.infra.clock import display_text as display_time
from app.infra.clock import parse_utc
from app.reconciliation import finding_text
from app.web import display_text
from app.web.dashboard.view_models import NO_IDS, IdList, service_href

# Pages react to these instead of listing them; the stream sends them as `event: signal`.
SIGNAL_TYPES = frozenset({"notification.created", "notification.changed", "flag.changed"})
# `reconciliation.verified` only updates ages, and `reconciliation.failures` the strip and the tiles.
UNLISTED_TYPES = SIGNAL_TYPES | {"reconciliation.verified", "reconciliation.failures"}

NameOf = Callable[[str], str]

_JOB_STATES = {"job.queued": "queued", "job.started": "running", "job.finished": "success", "job.failed": "error"}


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """One change: its time, its state, its subject, and a text."""

    id: int
    at: str
    state: str
    word: str
    subject: str
    href: str | None
    words: str
    ids: IdList = NO_IDS
    type: str = ""
    service: str = ""

    @classmethod
    def from_event(cls, event: Event, name_of: NameOf = str) -> Self:
        state, words, ids = _PARTS_BY_TYPE.get(event.type, _published_event_parts)(event, name_of)
        service = event.data.get("service")
        if isinstance(service, str):
            subject, href = name_of(service), service_href(service)
        else:
            service, subject, href = "", _subject(event), None
        word = display_text.STATE_WORDS[state]
        return cls(event.id, event.timestamp, state, word, subject, href, words, ids, event.type, service)


def is_routine_check(payload: Mapping[str, Any]) -> bool:
    """True for a `reconciliation.update` that only moved numbers. It moves the graphs and is no row; the log leaves it
    out by the same rule (`build_activity_condition`)."""
    if payload.get("change") == "figures":
        return True
    return payload["status"] == payload.get("previousStatus") == "verified" and not payload.get("findings")


# State, text, job ids.
_RowParts = tuple[str, str, IdList]


def _update_parts(event: Event, name_of: NameOf) -> _RowParts:
    data = event.data
    status = data["status"]
    if status in ("stale", "discrepancy"):
        words = finding_text.describe_problem(name_of(data["service"]), data)
        ids = IdList.truncate((data.get("discrepancyDetails") or {}).get("missingJobIds") or [])
        return status, f"{words}; missing:" if ids.total else words, ids
    parts = [finding_text.describe_unserved(data.get("findings") or []), display_text.format_counts(data["counts"])]
    return "verified", "; ".join(part for part in parts if part), NO_IDS


def _new_causes_parts(event: Event, _name_of: NameOf) -> _RowParts:
    causes, more = event.data["causes"], event.data.get("moreCauses")
    parts = [f"{one['count']:,} {one['title']}" for one in causes] + ([f"{more:,} more causes"] if more else [])
    return "error", f"{'new cause' if len(parts) == 1 else 'new causes'}: {', '.join(parts)}", NO_IDS


def _command_parts(event: Event, _name_of: NameOf) -> _RowParts:
    phase, logs = event.data["phase"], event.data["logs"]
    state = "timeout" if phase == "unknown" else phase
    return state, logs[-1] if logs else f"command {event.data['commandId']}", NO_IDS


def _message_parts(event: Event, _name_of: NameOf) -> _RowParts:
    return event.data["severity"], event.data["text"], NO_IDS


def _mute_parts(event: Event, _name_of: NameOf) -> _RowParts:
    data = event.data
    end = parse_utc(data["until"]) if data.get("until") else None
    words = f"muted until {display_time(end)} by" if end else "unmuted by"
    return "event", f"{data['title']} {words} {data['actor']}", NO_IDS


def _job_parts(event: Event, _name_of: NameOf) -> _RowParts:
    queue = event.data.get("queue")
    return _JOB_STATES[event.type], f"in queue {queue}" if queue else "", IdList.truncate([event.data["jobId"]])


def _published_event_parts(event: Event, _name_of: NameOf) -> _RowParts:
    return "event", display_text.format_event(event.data), NO_IDS


def _subject(event: Event) -> str:
    return str(event.data["actor"]) if event.type == "flash.message" else event.type


_PARTS_BY_TYPE: dict[str, Callable[[Event, NameOf], _RowParts]] = {
    "reconciliation.update": _update_parts,
    "reconciliation.new_causes": _new_causes_parts,
    "command.status": _command_parts,
    "flash.message": _message_parts,
    "reconciliation.cause_muted": _mute_parts,
    **dict.fromkeys(_JOB_STATES, _job_parts),
}
