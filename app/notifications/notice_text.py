"""Builds the text of notifications: what each kind of event says to people. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from app.eventlog.event_types import ChangeKind, Severity
from app.infra.clock import parse_utc
from app.notifications.alert_state import POLLS_BEFORE_ALERT, AffectedJobs, DiscrepancyAlert, JobsByKind
from app.reconciliation import finding_text

MAX_IDS_IN_BODY = 3
MAX_CAUSES_IN_BODY = 3

SERVICE_TOPIC, MESSAGE_TOPIC, ROLLOUT_TOPIC, COMMAND_TOPIC = "service", "message", "rollout", "command"
COMMAND_END_WORDS = {"success": "done", "error": "failed", "timeout": "timed out"}


@dataclass(frozen=True, slots=True)
class NewNotification:
    """A notification to create. The same `cause` never makes two."""

    cause: str
    severity: Severity
    topic: str
    title: str
    body: str
    link: str | None = None
    service: str | None = None
    audience: str = "everyone"


def discrepancy_notice(alert: DiscrepancyAlert, name: str, payload: Mapping[str, Any]) -> NewNotification:
    """A discrepancy that lasts. `payload` is the newest `reconciliation.update` of the service."""
    title = f"{name}: discrepancy for {POLLS_BEFORE_ALERT} polls"
    return _build_discrepancy(alert, alert.cause, title, name, payload)


def growth_notice(
    alert: DiscrepancyAlert, name: str, payload: Mapping[str, Any], new: JobsByKind, before: JobsByKind
) -> NewNotification:
    """More of a reported discrepancy: more jobs, or another kind. `before` is what was reported until now."""
    parts = [_describe_growth(kind, jobs, is_known=kind in before) for kind, jobs in sorted(new.items())]
    missing = new.get("missing", AffectedJobs())
    cause, title = f"{alert.cause}:{alert.notices}", f"{name}: {', '.join(parts)}"
    return _build_discrepancy(alert, cause, title, name, payload, missing.ids, missing.number)


def _build_discrepancy(
    alert: DiscrepancyAlert,
    cause: str,
    title: str,
    name: str,
    payload: Mapping[str, Any],
    missing: Sequence[str] | None = None,
    number: int = 0,
) -> NewNotification:
    """`missing`: the ids to name; None names the missing jobs of `payload`."""
    ids = (payload.get("discrepancyDetails") or {}).get("missingJobIds") or [] if missing is None else missing
    body = f"{finding_text.describe_problem(name, payload)}.{_missing_text(ids, number)}"
    link = f"{_service_href(alert.service)}#open-items"
    return NewNotification(f"discrepancy:{cause}", "critical", SERVICE_TOPIC, title, body, link, alert.service)


def _describe_growth(kind: str, jobs: AffectedJobs, *, is_known: bool) -> str:
    """`12 more missing`; without a number if the kind is not about single jobs."""
    word = finding_text.kind_label(kind)
    return f"{jobs.number:,}{' more' if is_known else ''} {word}" if jobs.number else word


def recovery_notice(alert: DiscrepancyAlert, name: str, at: datetime) -> NewNotification:
    body = f"The discrepancy lasted {_format_duration((at - parse_utc(alert.since)).total_seconds())}."
    title, link = f"{name} is verified again", _service_href(alert.service)
    return NewNotification(f"recovery:{alert.cause}", "info", SERVICE_TOPIC, title, body, link, alert.service)


def outage_notice(cause: str, service: str, name: str, payload: Mapping[str, Any]) -> NewNotification:
    """The state of a service is no longer known. `payload` is its `reconciliation.update`."""
    text = finding_text.describe_problem(name, payload)
    title = f"{name} does not answer" if payload.get("silentSince") else f"{name} is stale"
    if finding_text.is_flapping(payload):
        title = f"{name} is flapping"
    body = f"{text[:1].upper()}{text[1:]}."
    return NewNotification(f"outage:{cause}", "warning", SERVICE_TOPIC, title, body, _service_href(service), service)


def outage_end_notice(cause: str, service: str, name: str, since: str, at: datetime) -> NewNotification:
    body = f"Its state was unknown for {_format_duration((at - parse_utc(since)).total_seconds())}."
    return NewNotification(
        f"heard:{cause}", "info", SERVICE_TOPIC, f"{name} answers again", body, _service_href(service), service
    )


def unserved_queues_notice(
    event_id: str, service: str, name: str, payload: Mapping[str, Any], queues: Sequence[str]
) -> NewNotification:
    """Jobs wait in queues without a worker. `queues`: those that were not reported before."""
    title = f"{name}: no worker serves {finding_text.format_queues(queues)}"
    body = f"{finding_text.describe_unserved_in_full(payload.get('findings') or [])}."
    return NewNotification(
        f"no-worker:{event_id}", "warning", SERVICE_TOPIC, title, body, f"{_service_href(service)}#open-items", service
    )


def new_causes_notice(service: str, name: str, payload: Mapping[str, Any]) -> NewNotification:
    """Jobs fail for new reasons. `payload` is the `reconciliation.new_causes`."""
    causes, more = payload["causes"], payload.get("moreCauses") or 0
    first, number = causes[0], len(causes) + more
    if number == 1:
        title = f"{name}: {first['title']}"
        body = f"{finding_text.format_job_count(first['count'])} failed. No job failed for this reason in the last day."
    else:
        named = [f"{one['count']:,} {one['title']}" for one in causes[:MAX_CAUSES_IN_BODY]]
        others = f" and {number - len(named):,} other reasons" if number > len(named) else ""
        title, body = f"{name}: jobs fail for {number:,} new reasons", f"{', '.join(named)}{others}."
    link = f"/failures/{quote(first['group'], safe='')}" if number == 1 else f"{_service_href(service)}/failures"
    cause = f"new-causes:{service}:{first['group']}@{first['firstAt']}"
    return NewNotification(cause, "warning", SERVICE_TOPIC, title, body, link, service)


def message_notice(data: Mapping[str, Any]) -> NewNotification:
    title = f"Message from {data['actor']}"
    return NewNotification(f"flash:{data['id']}", data["severity"], MESSAGE_TOPIC, title, data["text"])


def rollout_notice(
    data: Mapping[str, Any], change_id: str, link: str | None, override: bool | None = None
) -> NewNotification:
    """A change of a flag. `change_id` is generated by the caller, because the event has no id before it is in the log.
    `override`: the value that a setting forces for everybody, whatever the flag says."""
    severity, title = _describe_automatic_change(data) or _describe_change(data)
    if override is not None:
        title += f"; the setting decides: {'on' if override else 'off'} for everybody"
    body = f"{data['actor']}: {data['reason']}"
    return NewNotification(f"rollout:{change_id}", severity, ROLLOUT_TOPIC, title, body, link)


def _describe_change(data: Mapping[str, Any]) -> tuple[Severity, str]:
    if data["enabled"]:
        outcome = data.get("outcome")
        return (
            "info",
            f"{data['flag']} is on ({outcome})" if outcome else f"{data['flag']} is on for {_describe_share(data)}",
        )
    return "warning", f"{data['flag']} is switched off"


def _describe_automatic_change(data: Mapping[str, Any]) -> tuple[Severity, str] | None:
    """What the guardrail or a plan did, if that is not described like a change by a person."""
    flag, share = data["flag"], _describe_share(data)
    titles: Mapping[ChangeKind, tuple[Severity, str]] = {
        "held": ("warning", f"The guardrail holds {flag} at {share}"),
        "released": ("info", f"The guardrail no longer holds {flag}"),
        "paused": ("warning", f"The plan for {flag} is paused at {share}"),
        "ended": ("info", f"The plan for {flag} has ended"),
        "would-hold": ("info", f"The guardrail would have held {flag} at {share} (dry run)"),
    }
    if data["cause"] == "guardrail" and data["kind"] == "set" and data["enabled"]:
        return "warning", f"The guardrail rolled {flag} back to {share}"
    return titles.get(data["kind"])


def _describe_share(data: Mapping[str, Any]) -> str:
    return "the users that Unleash selects" if data.get("percentage") is None else f"{data['percentage']} %"


def command_notice(data: Mapping[str, Any], name: str, link: str | None) -> NewNotification:
    """The end of a command, for the person who requested it."""
    phase, logs = data["phase"], data["logs"]
    what = data["actionType"] if data["target"] == data["service"] else f"{data['actionType']} of {data['target']}"
    title = f"{name}: {what} {COMMAND_END_WORDS[phase]}"
    severity: Severity = "info" if phase == "success" else "warning"
    body = logs[-1] if logs else ""
    cause, audience = f"command:{data['commandId']}", f"user:{data['actor']}"
    return NewNotification(cause, severity, COMMAND_TOPIC, title, body, link, data["service"], audience)


def _missing_text(ids: Sequence[str], number: int = 0) -> str:
    """` Missing: a, b, c and 9 more.`; `number`: how many are missing, if `ids` holds only a part."""
    if not ids:
        return ""
    left = max(number, len(ids)) - MAX_IDS_IN_BODY
    more = f" and {left:,} more" if left > 0 else ""
    return f" Missing: {', '.join(ids[:MAX_IDS_IN_BODY])}{more}."


def _format_duration(seconds: float) -> str:
    for below, size, unit in ((60, 1, "s"), (3_600, 60, "min"), (86_400, 3_600, "h")):
        if seconds < below:
            return f"{max(0, int(seconds // size))} {unit}"
    return f"{int(seconds // 86_400)} d"


def _service_href(service: str) -> str:
    return f"/services/{quote(service, safe='', errors='replace')}"
