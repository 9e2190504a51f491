"""The writer: what an append makes people notice, in the same commit as its cause.

`derive` is called by `eventlog.append` with what is about to be inserted. So a notification is there if and only if
its cause is, whoever appended it (the poller under its lease, a request, the command line), and no other worker
has to notice anything. Locks: watch rows and notifications come after the caller's state rows and the audit chain,
before the event.
"""

import json
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from flask import current_app
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session
from werkzeug.exceptions import HTTPException

from app.config import current_settings
from app.eventlog.append import NewEvent, PreparedEvent
from app.eventlog.event_types import NotificationCreated
from app.infra.clock import utc_text
from app.notifications import rules, service_alerts
from app.notifications.models import Notification
from app.notifications.rules import Notice

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


def _rollout(_session: Session, data: Mapping[str, Any]) -> list[Notice]:
    override = current_settings().flag_overrides.get(data["flag"])
    return [rules.rollout(data, uuid.uuid4().hex, _page("/rollout"), override)]


def _command(session: Session, data: Mapping[str, Any]) -> list[Notice]:
    """The end of a command is told to whoever gave it."""
    if data["phase"] not in rules.COMMAND_ENDS or not data.get("actor"):
        return []
    link = _page(f"/commands/{quote(data['commandId'], safe='')}")
    return [rules.command(data, service_alerts.name_of(session, data["service"]), link)]


def _page(path: str) -> str | None:
    """A link leads to a page that this Beacon has, or there is none."""
    try:
        current_app.url_map.bind("").match(path)
    except HTTPException:
        return None
    return path


# An event type is one line here and a rule in rules.py.
RULES: dict[str, Rule] = {
    "reconciliation.update": service_alerts.after_update,
    "reconciliation.verified": service_alerts.after_checks,
    "flash.message": lambda _session, data: [rules.flash(data)],
    "flag.changed": _rollout,
    "command.status": _command,
}
