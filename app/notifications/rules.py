"""What becomes a notification, and what does not. Pure: values in, values out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import quote

from app.clock import parse_utc
from app.eventlog.payloads import Severity
from app.reconciliation import sentences

# A single blip tells nobody anything: so many polls in a row must have found the discrepancy.
POLLS = 3
MAX_IDS = 3

SERVICE, MESSAGE, ROLLOUT, COMMAND = "service", "message", "rollout", "command"
# The rollout's actors that are nobody.
GUARDRAIL, PLAN = "guardrail", "plan"
COMMAND_ENDS = {"success": "done", "error": "failed", "timeout": "timed out"}


@dataclass(frozen=True, slots=True)
class Notice:
    """A notification to be. The same `cause` never makes two."""

    cause: str
    severity: Severity
    topic: str
    title: str
    body: str
    link: str | None = None
    service: str | None = None
    audience: str = "everyone"


@dataclass(frozen=True, slots=True)
class Watch:
    """A discrepancy that lasts: since when, how many polls have found it, whether people were told."""

    service: str
    cause: str
    since: str
    checked_at: str
    polls: int = 1
    told: bool = False


@dataclass(frozen=True, slots=True)
class Poll:
    """What a poll of a service found. `event_id` names the change that it was told with, if it was one."""

    service: str
    status: str
    checked_at: str
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """The watch from now on (None: nothing is watched any more), and what happened: `lasts`, `recovered` or nothing."""

    watch: Watch | None
    happened: str | None = None


def step(watch: Watch | None, poll: Poll) -> Step:
    """One more poll. A poll that was counted already, or came late, changes nothing."""
    if poll.status == "discrepancy":
        return _found(watch, poll)
    if watch is None:
        return Step(None)
    if poll.status == "stale":  # nobody knows: what was told stands, what was only counted is no longer in a row
        return Step(watch if watch.told else None)
    return Step(None, "recovered" if watch.told else None)


def _found(watch: Watch | None, poll: Poll) -> Step:
    if watch is None:
        cause = poll.event_id or f"{poll.service}@{poll.checked_at}"
        return Step(Watch(poll.service, cause, poll.checked_at, poll.checked_at))
    if watch.told or parse_utc(poll.checked_at) <= parse_utc(watch.checked_at):
        return Step(watch)
    counted = replace(watch, polls=watch.polls + 1, checked_at=poll.checked_at)
    if counted.polls < POLLS:
        return Step(counted)
    return Step(replace(counted, told=True), "lasts")


def lasting(watch: Watch, name: str, payload: Mapping[str, Any]) -> Notice:
    """A discrepancy that has lasted; `payload` is the service's newest `reconciliation.update`."""
    title = f"{name}: discrepancy for {POLLS} polls"
    details = payload.get("discrepancyDetails") or {}
    body = f"{sentences.wrong(name, payload)}.{_missing(details.get('missingJobIds') or [])}"
    link = f"{_href(watch.service)}#open-items"
    return Notice(f"discrepancy:{watch.cause}", "critical", SERVICE, title, body, link, watch.service)


def recovery(watch: Watch, name: str, at: datetime) -> Notice:
    body = f"The discrepancy lasted {_duration((at - parse_utc(watch.since)).total_seconds())}."
    title, link = f"{name} is verified again", _href(watch.service)
    return Notice(f"recovery:{watch.cause}", "info", SERVICE, title, body, link, watch.service)


def flash(data: Mapping[str, Any]) -> Notice:
    title = f"Message from {data['actor']}"
    return Notice(f"flash:{data['id']}", data["severity"], MESSAGE, title, data["text"])


def rollout(data: Mapping[str, Any], change_id: str, link: str | None) -> Notice:
    """A change of a flag has no id of its own before it is in the log: `change_id` is made for it."""
    severity, title = _of_the_watch(data) or _of_a_change(data)
    body = f"{data['actor']}: {data['reason']}"
    return Notice(f"rollout:{change_id}", severity, ROLLOUT, title, body, link)


def _of_a_change(data: Mapping[str, Any]) -> tuple[Severity, str]:
    if data["enabled"]:
        return "info", f"{data['flag']} is on for {_share(data)}"
    return "warning", f"{data['flag']} is switched off"


def _of_the_watch(data: Mapping[str, Any]) -> tuple[Severity, str] | None:
    """Guardrail and plan say what they do where people give their reason; None for what looks like a change by hand."""
    flag, does = data["flag"], (data["actor"], data["reason"].partition(":")[0])
    said: Mapping[tuple[str, str], tuple[Severity, str]] = {
        (GUARDRAIL, "holds"): ("warning", f"The guardrail holds {flag} at {_share(data)}"),
        (GUARDRAIL, "holds no longer"): ("info", f"The guardrail holds {flag} no longer"),
        (PLAN, "paused"): ("warning", f"The plan of {flag} is paused at {_share(data)}"),
        (PLAN, "ended"): ("info", f"The plan of {flag} has ended"),
    }
    if does in said:
        return said[does]
    if data["actor"] == GUARDRAIL and data["enabled"]:
        return "warning", f"The guardrail took {flag} back to {_share(data)}"
    return None


def _share(data: Mapping[str, Any]) -> str:
    return "those whom Unleash lets in" if data.get("percentage") is None else f"{data['percentage']} %"


def command(data: Mapping[str, Any], name: str, link: str | None) -> Notice:
    """The end of a command, for whoever gave it."""
    phase, logs = data["phase"], data["logs"]
    what = data["actionType"] if data["target"] == data["service"] else f"{data['actionType']} of {data['target']}"
    title = f"{name}: {what} {COMMAND_ENDS[phase]}"
    severity: Severity = "info" if phase == "success" else "warning"
    body = logs[-1] if logs else ""
    cause, audience = f"command:{data['commandId']}", f"user:{data['actor']}"
    return Notice(cause, severity, COMMAND, title, body, link, data["service"], audience)


def _missing(ids: Sequence[str]) -> str:
    if not ids:
        return ""
    more = f" and {len(ids) - MAX_IDS:,} more" if len(ids) > MAX_IDS else ""
    return f" Missing: {', '.join(ids[:MAX_IDS])}{more}."


def _duration(seconds: float) -> str:
    for below, size, unit in ((60, 1, "s"), (3_600, 60, "min"), (86_400, 3_600, "h")):
        if seconds < below:
            return f"{max(0, int(seconds // size))} {unit}"
    return f"{int(seconds // 86_400)} d"


def _href(service: str) -> str:
    return f"/services/{quote(service, safe='', errors='replace')}"
