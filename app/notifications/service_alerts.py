"""What polls make people notice of a service: discrepancies, what is new of them, outages, and the end of each; queues
that no worker serves."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.infra.clock import utc_now
from app.notifications import alert_state, queue_alerts, rules
from app.notifications.alert_state import Kinds, Named, Poll, Watch
from app.notifications.models import OutageRow, QueueWatchRow, WatchRow
from app.notifications.rules import Notice
from app.reconciliation.models import Service, ServiceState

Payload = Mapping[str, Any]
_FLAPPING = "flapping:"


def after_update(session: Session, data: Payload) -> list[Notice]:
    poll = _poll(data["service"], data["status"], data["checkedAt"], data, data["eventId"])
    return [*_outages(session, data), *_steps(session, [poll], {data["service"]: data}), *_queues(session, data)]


def after_checks(session: Session, data: Payload) -> list[Notice]:
    """Polls that changed nothing: what was a discrepancy still is one."""
    watched = sa.select(WatchRow.service).where(WatchRow.told.is_(False))
    counting = set(session.scalars(watched))
    if counting.isdisjoint(data["services"]):
        return []
    states = sa.select(ServiceState).where(ServiceState.service_id.in_(counting.intersection(data["services"])))
    payloads = {
        row.service_id: json.loads(row.payload_json or "{}") for row in session.scalars(states) if _is_wrong(row)
    }
    checks = data["services"]
    polls = [_poll(name, "discrepancy", checks[name]["checkedAt"], payload) for name, payload in payloads.items()]
    return _steps(session, polls, payloads)


def name_of(session: Session, service: str) -> str:
    return session.scalar(sa.select(Service.name).where(Service.id == service)) or service


def _is_wrong(row: ServiceState) -> bool:
    return row.status == "discrepancy"


def _poll(service: str, status: str, checked_at: str, payload: Payload, event_id: str | None = None) -> Poll:
    found, flaps = alert_state.found_in(payload), alert_state.is_flapping(payload)
    return Poll(service, status, checked_at, event_id, found, flaps)


def _outages(session: Session, data: Payload) -> list[Notice]:
    """While the state flaps it is told once for all of its outages; one that lasts ends the flapping, and is told."""
    service, is_stale = data["service"], data["status"] == "stale"
    row = session.get(OutageRow, service, with_for_update=True, populate_existing=True)
    if not is_stale and row is None:
        return []
    name = name_of(session, service)
    if not is_stale and row is not None:
        session.delete(row)
        return [rules.outage_over(row.cause, service, name, row.since, utc_now())]
    flaps = next((one["since"] for one in data.get("findings") or [] if one["kind"] == "flapping"), None)
    cause = f"{_FLAPPING}{service}@{flaps}" if flaps else data["eventId"]
    if row is not None and (flaps or not row.cause.startswith(_FLAPPING)):
        return []
    since = data.get("silentSince") or data["checkedAt"]
    session.merge(OutageRow(service=service, cause=cause, since=since))
    session.flush()
    return [rules.outage(cause, service, name, data)]


def _queues(session: Session, data: Payload) -> list[Notice]:
    """Of a service that is silent nobody knows: what was told stands."""
    service = data["service"]
    unserved = [queue for one in data.get("findings") or [] for queue in one.get("queues") or []]
    if not unserved and data["status"] == "stale":
        return []
    row = session.get(QueueWatchRow, service, with_for_update=True, populate_existing=True)
    if not unserved and row is None:
        return []
    told, new = queue_alerts.step(json.loads(row.told_json) if row else {}, unserved, data["checkedAt"])
    session.merge(QueueWatchRow(service=service, told_json=json.dumps(told, ensure_ascii=False)))
    session.flush()
    return [rules.no_worker(data["eventId"], service, name_of(session, service), data, new)] if new else []


def _steps(session: Session, polls: Iterable[Poll], payloads: Mapping[str, Payload]) -> list[Notice]:
    notices = []
    for poll in sorted(polls, key=lambda poll: poll.service):
        row = session.get(WatchRow, poll.service, with_for_update=True, populate_existing=True)
        before = _watch(row)
        after = alert_state.step(before, poll)
        _write_watch(session, row, after.watch)
        name, payload = name_of(session, poll.service), payloads[poll.service]
        if after.happened == "lasts" and after.watch is not None:
            notices.append(rules.lasting(after.watch, name, payload))
        elif after.happened == "grew" and after.watch is not None and before is not None:
            notices.append(rules.growing(after.watch, name, payload, after.new, before.named))
        elif after.happened == "recovered" and before is not None:
            notices.append(rules.recovery(before, name, utc_now()))
    return notices


def _watch(row: WatchRow | None) -> Watch | None:
    if row is None:
        return None
    notices = row.notices or int(row.told)  # told before there was a count of it
    counted = (row.service, row.cause, row.since, row.checked_at, row.polls, row.told)
    return Watch(*counted, _named(row.named_json), notices, row.noticed_at)


def _write_watch(session: Session, row: WatchRow | None, watch: Watch | None) -> None:
    if watch is None:
        if row is not None:
            session.delete(row)
    else:
        named = json.dumps({kind: asdict(named) for kind, named in watch.named.items()}) if watch.named else None
        if row is None:
            row = WatchRow(service=watch.service, cause=watch.cause, since=watch.since)
            session.add(row)
        row.checked_at, row.polls, row.told = watch.checked_at, watch.polls, watch.told
        row.named_json, row.notices, row.noticed_at = named, watch.notices, watch.noticed_at
    session.flush()


def _named(text: str | None) -> Kinds:
    found = json.loads(text) if text else {}
    return {kind: Named(named["number"], tuple(named["ids"])) for kind, named in found.items()}
