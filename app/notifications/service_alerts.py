"""Turns poll results into notices: discrepancies and their growth, outages, recoveries, queues without a worker."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.infra.clock import utc_now
from app.notifications import alert_state, notice_text, queue_alerts
from app.notifications.alert_state import AffectedJobs, DiscrepancyAlert, JobsByKind, PollStatus
from app.notifications.models import DiscrepancyAlertRow, OutageRow, QueueAlertRow
from app.notifications.notice_text import NewNotification
from app.reconciliation.models import Service, ServiceState

Payload = Mapping[str, Any]


def notices_after_update(session: Session, data: Payload) -> list[NewNotification]:
    """The notices due after a `reconciliation.update`."""
    poll = _build_poll_result(data["service"], data["status"], data["checkedAt"], data, data["eventId"])
    return [
        *_outage_notices(session, data),
        *_discrepancy_notices(session, [poll], {data["service"]: data}),
        *_queue_notices(session, data),
    ]


def notices_after_checks(session: Session, data: Payload) -> list[NewNotification]:
    """The notices due after polls that changed nothing: an open discrepancy is still open."""
    unreported = sa.select(DiscrepancyAlertRow.service).where(DiscrepancyAlertRow.told.is_(False))
    counting = set(session.scalars(unreported))
    if counting.isdisjoint(data["services"]):
        return []
    states = sa.select(ServiceState).where(ServiceState.service_id.in_(counting.intersection(data["services"])))
    payloads = {
        row.service_id: json.loads(row.payload_json or "{}")
        for row in session.scalars(states)
        if row.status == "discrepancy"
    }
    checks = data["services"]
    polls = [
        _build_poll_result(name, "discrepancy", checks[name]["checkedAt"], payload)
        for name, payload in payloads.items()
    ]
    return _discrepancy_notices(session, polls, payloads)


def notices_after_new_causes(session: Session, data: Payload) -> list[NewNotification]:
    """Jobs fail for reasons that are new: one notice for all of them."""
    return [notice_text.new_causes_notice(data["service"], read_service_name(session, data["service"]), data)]


def read_service_name(session: Session, service: str) -> str:
    return session.scalar(sa.select(Service.name).where(Service.id == service)) or service


def _build_poll_result(
    service: str, status: str, checked_at: str, payload: Payload, event_id: str | None = None
) -> PollStatus:
    affected, is_flapping = alert_state.parse_affected_jobs(payload), alert_state.is_flapping(payload)
    return PollStatus(service, status, checked_at, event_id, affected, is_flapping)


def _outage_notices(session: Session, data: Payload) -> list[NewNotification]:
    """While the state flaps, all its outages are reported once; an outage that lasts ends the flapping, and is
    reported."""
    service, is_stale = data["service"], data["status"] == "stale"
    row = session.get(OutageRow, service, with_for_update=True, populate_existing=True)
    if not is_stale and row is None:
        return []
    name = read_service_name(session, service)
    if not is_stale and row is not None:
        session.delete(row)
        return [notice_text.outage_end_notice(row.cause, service, name, row.since, utc_now())]
    flapping_since = next((one["since"] for one in data.get("findings") or [] if one["kind"] == "flapping"), None)
    cause = f"flapping:{service}@{flapping_since}" if flapping_since else data["eventId"]
    if row is not None and (flapping_since or not row.is_flapping):
        return []
    since = data.get("silentSince") or data["checkedAt"]
    session.merge(OutageRow(service=service, cause=cause, since=since, is_flapping=bool(flapping_since)))
    session.flush()
    return [notice_text.outage_notice(cause, service, name, data)]


def _queue_notices(session: Session, data: Payload) -> list[NewNotification]:
    """A stale service says nothing about its queues: what was reported stays reported."""
    service = data["service"]
    unserved = [queue for one in data.get("findings") or [] for queue in one.get("queues") or []]
    if not unserved and data["status"] == "stale":
        return []
    row = session.get(QueueAlertRow, service, with_for_update=True, populate_existing=True)
    if not unserved and row is None:
        return []
    known = json.loads(row.told_json) if row else {}
    reported, new = queue_alerts.update_queue_alerts(known, unserved, data["checkedAt"])
    session.merge(QueueAlertRow(service=service, told_json=json.dumps(reported, ensure_ascii=False)))
    session.flush()
    if not new:
        return []
    return [
        notice_text.unserved_queues_notice(data["eventId"], service, read_service_name(session, service), data, new)
    ]


def _discrepancy_notices(
    session: Session, polls: Iterable[PollStatus], payloads: Mapping[str, Payload]
) -> list[NewNotification]:
    notices = []
    for poll in sorted(polls, key=lambda poll: poll.service):
        row = session.get(DiscrepancyAlertRow, poll.service, with_for_update=True, populate_existing=True)
        before = _load_alert(row)
        after = alert_state.advance_alert(before, poll)
        _store_alert(session, row, after.alert)
        name, payload = read_service_name(session, poll.service), payloads[poll.service]
        if after.outcome == "opened" and after.alert is not None:
            notices.append(notice_text.discrepancy_notice(after.alert, name, payload))
        elif after.outcome == "grew" and after.alert is not None and before is not None:
            notices.append(notice_text.growth_notice(after.alert, name, payload, after.new, before.reported))
        elif after.outcome == "recovered" and before is not None:
            notices.append(notice_text.recovery_notice(before, name, utc_now()))
    return notices


def _load_alert(row: DiscrepancyAlertRow | None) -> DiscrepancyAlert | None:
    if row is None:
        return None
    notices = row.notices or int(row.told)  # rows written before the column `notices` existed
    counted = (row.service, row.cause, row.since, row.checked_at, row.polls, row.told)
    return DiscrepancyAlert(*counted, _parse_reported(row.named_json), notices, row.noticed_at)


def _store_alert(session: Session, row: DiscrepancyAlertRow | None, alert: DiscrepancyAlert | None) -> None:
    if alert is None:
        if row is not None:
            session.delete(row)
    else:
        reported = {kind: asdict(jobs) for kind, jobs in alert.reported.items()}
        if row is None:
            row = DiscrepancyAlertRow(service=alert.service, cause=alert.cause, since=alert.since)
            session.add(row)
        row.checked_at, row.polls, row.told = alert.checked_at, alert.polls, alert.is_reported
        row.named_json, row.notices = json.dumps(reported) if reported else None, alert.notices
        row.noticed_at = alert.notified_at
    session.flush()


def _parse_reported(text: str | None) -> JobsByKind:
    reported = json.loads(text) if text else {}
    return {kind: AffectedJobs(jobs["number"], tuple(jobs["ids"])) for kind, jobs in reported.items()}
