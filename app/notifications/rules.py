"""What becomes a notification, and what does not. Pure: values in, values out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from app.eventlog.event_types import Severity
from app.infra.clock import parse_utc
from app.notifications.alert_state import POLLS, Kinds, Named, Watch
from app.reconciliation import finding_text

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


def lasting(watch: Watch, name: str, payload: Mapping[str, Any]) -> Notice:
    """A discrepancy that has lasted; `payload` is the service's newest `reconciliation.update`."""
    return _discrepancy(watch, watch.cause, f"{name}: discrepancy for {POLLS} polls", name, payload)


def growing(watch: Watch, name: str, payload: Mapping[str, Any], new: Kinds, before: Kinds) -> Notice:
    """More of a discrepancy that people were told of: jobs, or a kind that is `new`."""
    parts = [_more(kind, found, is_known=kind in before) for kind, found in sorted(new.items())]
    missing = new.get("missing", Named())
    cause, title = f"{watch.cause}:{watch.notices}", f"{name}: {', '.join(parts)}"
    return _discrepancy(watch, cause, title, name, payload, missing.ids, missing.number)


def _discrepancy(
    watch: Watch,
    cause: str,
    title: str,
    name: str,
    payload: Mapping[str, Any],
    missing: Sequence[str] | None = None,
    number: int = 0,
) -> Notice:
    """`missing`: the ids to name where they are not all of those that are missing."""
    ids = (payload.get("discrepancyDetails") or {}).get("missingJobIds") or [] if missing is None else missing
    body = f"{finding_text.describe_problem(name, payload)}.{_missing(ids, number)}"
    link = f"{_href(watch.service)}#open-items"
    return Notice(f"discrepancy:{cause}", "critical", SERVICE, title, body, link, watch.service)


def _more(kind: str, found: Named, *, is_known: bool) -> str:
    """`12 more missing`; a kind about no job in particular goes without a number."""
    word = finding_text.kind_label(kind)
    return f"{found.number:,}{' more' if is_known else ''} {word}" if found.number else word


def recovery(watch: Watch, name: str, at: datetime) -> Notice:
    body = f"The discrepancy lasted {_duration((at - parse_utc(watch.since)).total_seconds())}."
    title, link = f"{name} is verified again", _href(watch.service)
    return Notice(f"recovery:{watch.cause}", "info", SERVICE, title, body, link, watch.service)


def outage(cause: str, service: str, name: str, payload: Mapping[str, Any]) -> Notice:
    """Nothing is known of a service any more; `payload` is its `reconciliation.update`."""
    said = finding_text.describe_problem(name, payload)
    title = f"{name} does not answer" if payload.get("silentSince") else f"{name} is stale"
    flaps = next((one for one in payload.get("findings") or [] if one["kind"] == "flapping"), None)
    if flaps:
        title = f"{name}: answers and falls silent by turns"
        said = f"{finding_text.list_findings([flaps])}; {said}"
    body = f"{said[:1].upper()}{said[1:]}."
    return Notice(f"outage:{cause}", "warning", SERVICE, title, body, _href(service), service)


def outage_over(cause: str, service: str, name: str, since: str, at: datetime) -> Notice:
    body = f"Nothing was known of it for {_duration((at - parse_utc(since)).total_seconds())}."
    return Notice(f"heard:{cause}", "info", SERVICE, f"{name} answers again", body, _href(service), service)


def no_worker(event_id: str, service: str, name: str, payload: Mapping[str, Any], queues: Sequence[str]) -> Notice:
    """Jobs wait where nobody takes them; `queues`: those that people have not been told of."""
    title = f"{name}: no worker serves {finding_text.format_queues(queues)}"
    body = f"{finding_text.describe_unserved_in_full(payload.get('findings') or [])}."
    return Notice(f"no-worker:{event_id}", "warning", SERVICE, title, body, f"{_href(service)}#open-items", service)


def flash(data: Mapping[str, Any]) -> Notice:
    title = f"Message from {data['actor']}"
    return Notice(f"flash:{data['id']}", data["severity"], MESSAGE, title, data["text"])


def rollout(data: Mapping[str, Any], change_id: str, link: str | None, override: bool | None = None) -> Notice:
    """A change of a flag has no id of its own before it is in the log: `change_id` is made for it. `override`: what a
    setting decides for everybody, whatever is changed."""
    severity, title = _of_the_watch(data) or _of_a_change(data)
    if override is not None:
        title += f"; the setting decides: {'on' if override else 'off'} for everybody"
    body = f"{data['actor']}: {data['reason']}"
    return Notice(f"rollout:{change_id}", severity, ROLLOUT, title, body, link)


def _of_a_change(data: Mapping[str, Any]) -> tuple[Severity, str]:
    if data["enabled"]:
        outcome = data.get("outcome")
        return "info", f"{data['flag']} is on ({outcome})" if outcome else f"{data['flag']} is on for {_share(data)}"
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


def _missing(ids: Sequence[str], number: int = 0) -> str:
    """`number` where there are more of them than `ids` names."""
    if not ids:
        return ""
    left = max(number, len(ids)) - MAX_IDS
    more = f" and {left:,} more" if left > 0 else ""
    return f" Missing: {', '.join(ids[:MAX_IDS])}{more}."


def _duration(seconds: float) -> str:
    for below, size, unit in ((60, 1, "s"), (3_600, 60, "min"), (86_400, 3_600, "h")):
        if seconds < below:
            return f"{max(0, int(seconds // size))} {unit}"
    return f"{int(seconds // 86_400)} d"


def _href(service: str) -> str:
    return f"/services/{quote(service, safe='', errors='replace')}"
