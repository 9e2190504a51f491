"""The writer: what an append makes people notice, in the same commit as its cause.

`derive` is called by `eventlog.append` with what is about to be inserted. So a notification is there if and only if
its cause is, whoever appended it (the poller under its lease, a request, the command line), and no other worker
has to notice anything. Locks: watch rows and notifications come after the caller's state rows and the audit chain,
before the event.
"""

import json
import logging
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from flask import current_app
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session
from werkzeug.exceptions import HTTPException

from app.clock import utc_now, utc_text
from app.eventlog.append import NewEvent, PreparedEvent
from app.eventlog.payloads import NotificationCreated
from app.notifications import rules
from app.notifications.models import Notification, WatchRow
from app.notifications.rules import Notice, Poll, Watch
from app.reconciliation.models import Service, ServiceState

log = logging.getLogger(__name__)

Rule = Callable[[Session, Mapping[str, Any]], list[Notice]]


def derive(session: Session, events: Sequence[PreparedEvent]) -> list[NewEvent]:
    """The `notification.created` events of what is about to be appended; their rows are written already."""
    noticed = [event for event in events if event.type in RULES]
    if not noticed:
        return []
    session.flush()  # what fails here is the caller's own
    try:
        with session.begin_nested():
            return [told for event in noticed for told in _told(session, event)]
    except Exception:  # a rule that fails must not keep the cause itself out of the log
        log.exception("no notification was made of %s", ", ".join(event.type for event in noticed))
        return []


def _told(session: Session, event: PreparedEvent) -> list[NewEvent]:
    notices = RULES[event.type](session, json.loads(event.data_json))
    return [told for notice in notices if (told := create(session, notice)) is not None]


def create(session: Session, notice: Notice) -> NewEvent | None:
    """Write the notification and return its event; None where its cause has made one already."""
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    row = {
        "cause": notice.cause,
        "created_at": utc_text(),
        "audience": notice.audience,
        "severity": notice.severity,
        "topic": notice.topic,
        "service": notice.service,
        "title": notice.title,
        "body": notice.body,
        "link": notice.link,
    }
    insert = dialect.insert(Notification).values(row).on_conflict_do_nothing(index_elements=["cause"])
    made = session.execute(insert.returning(Notification.id)).scalar_one_or_none()
    if made is None:
        return None
    payload = NotificationCreated(
        id=str(made), severity=notice.severity, title=notice.title, body=notice.body, link=notice.link
    )
    return NewEvent("notification.created", payload, notice.audience)


def _update(session: Session, data: Mapping[str, Any]) -> list[Notice]:
    poll = Poll(data["service"], data["status"], data["checkedAt"], data["eventId"])
    return _steps(session, [poll], {data["service"]: data})


def _verified(session: Session, data: Mapping[str, Any]) -> list[Notice]:
    """Polls that changed nothing: what was a discrepancy still is one."""
    watched = sa.select(WatchRow.service).where(WatchRow.told.is_(False))
    counting = set(session.scalars(watched))
    if counting.isdisjoint(data["services"]):
        return []
    states = sa.select(ServiceState).where(ServiceState.service_id.in_(counting.intersection(data["services"])))
    found = [row for row in session.scalars(states) if row.status == "discrepancy"]
    checks = data["services"]
    polls = [Poll(row.service_id, "discrepancy", checks[row.service_id]["checkedAt"]) for row in found]
    return _steps(session, polls, {row.service_id: json.loads(row.payload_json or "{}") for row in found})


def _steps(session: Session, polls: Iterable[Poll], payloads: Mapping[str, Mapping[str, Any]]) -> list[Notice]:
    notices = []
    for poll in sorted(polls, key=lambda poll: poll.service):
        row = session.get(WatchRow, poll.service, with_for_update=True, populate_existing=True)
        before = _watch(row)
        after = rules.step(before, poll)
        _write_watch(session, row, after.watch)
        if after.happened == "lasts" and after.watch is not None:
            notices.append(rules.lasting(after.watch, _name(session, poll.service), payloads[poll.service]))
        elif after.happened == "recovered" and before is not None:
            notices.append(rules.recovery(before, _name(session, poll.service), utc_now()))
    return notices


def _watch(row: WatchRow | None) -> Watch | None:
    if row is None:
        return None
    return Watch(row.service, row.cause, row.since, row.checked_at, row.polls, row.told)


def _write_watch(session: Session, row: WatchRow | None, watch: Watch | None) -> None:
    if watch is None:
        if row is not None:
            session.delete(row)
    elif row is None:
        session.add(
            WatchRow(
                service=watch.service,
                cause=watch.cause,
                since=watch.since,
                checked_at=watch.checked_at,
                polls=watch.polls,
                told=watch.told,
            )
        )
    else:
        row.checked_at, row.polls, row.told = watch.checked_at, watch.polls, watch.told
    session.flush()


def _rollout(_session: Session, data: Mapping[str, Any]) -> list[Notice]:
    return [rules.rollout(data, uuid.uuid4().hex, _page("/rollout"))]


def _command(session: Session, data: Mapping[str, Any]) -> list[Notice]:
    """The end of a command is told to whoever gave it."""
    if data["phase"] not in rules.COMMAND_ENDS or not data.get("actor"):
        return []
    link = _page(f"/commands/{quote(data['commandId'], safe='')}")
    return [rules.command(data, _name(session, data["service"]), link)]


def _page(path: str) -> str | None:
    """A link leads to a page that this Beacon has, or there is none."""
    try:
        current_app.url_map.bind("").match(path)
    except HTTPException:
        return None
    return path


def _name(session: Session, service: str) -> str:
    return session.scalar(sa.select(Service.name).where(Service.id == service)) or service


# An event type is one line here and a rule in rules.py.
RULES: dict[str, Rule] = {
    "reconciliation.update": _update,
    "reconciliation.verified": _verified,
    "flash.message": lambda _session, data: [rules.flash(data)],
    "flag.changed": _rollout,
    "command.status": _command,
}
