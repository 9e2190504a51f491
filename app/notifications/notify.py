"""Creates notifications from events, in the commit that appends the events.

`eventlog.append` calls `derive_notifications` with the events it is about to insert. A notification therefore exists
if and only if its event does. It does not matter which process appended the event (the poller, a request, the command
line), and no other worker has to react. Lock order: alert rows and notifications come after the caller's state rows and
the audit chain, and before the event.
"""

import json
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from flask import current_app
from sqlalchemy.orm import Session
from werkzeug.exceptions import HTTPException

from app.config import current_settings
from app.db import insert_into
from app.eventlog.append import NewEvent, PreparedEvent
from app.eventlog.event_types import NotificationCreated
from app.infra.clock import utc_text
from app.notifications import notice_text, service_alerts
from app.notifications.models import Notification
from app.notifications.notice_text import NewNotification

log = logging.getLogger(__name__)

Rule = Callable[[Session, Mapping[str, Any]], list[NewNotification]]


def derive_notifications(session: Session, events: Sequence[PreparedEvent]) -> list[NewEvent]:
    """Write the notifications of `events` and return their `notification.created` events."""
    relevant = [event for event in events if event.type in RULES]
    if not relevant:
        return []
    session.flush()  # an error in the caller's own rows must surface as the caller's error
    try:
        with session.begin_nested():
            return [created for event in relevant for created in _create_for_event(session, event)]
    except Exception:  # a failing rule must not keep the event itself out of the log
        log.exception("creating notifications failed; event types: %s", ", ".join(event.type for event in relevant))
        return []


def _create_for_event(session: Session, event: PreparedEvent) -> list[NewEvent]:
    notices = RULES[event.type](session, json.loads(event.data_json))
    return [created for notice in notices if (created := create_notification(session, notice)) is not None]


def create_notification(session: Session, notice: NewNotification) -> NewEvent | None:
    """Write the notification and return its event, or None if its cause has one already."""
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
    insert = insert_into(Notification).values(row).on_conflict_do_nothing(index_elements=["cause"])
    notification_id = session.execute(insert.returning(Notification.id)).scalar_one_or_none()
    if notification_id is None:
        return None
    payload = NotificationCreated(
        id=str(notification_id), severity=notice.severity, title=notice.title, body=notice.body, link=notice.link
    )
    return NewEvent("notification.created", payload, notice.audience)


def _rollout_notices(_session: Session, data: Mapping[str, Any]) -> list[NewNotification]:
    """One for the end of a plan, none for each of its steps: they were announced when somebody started it."""
    if data["cause"] == "plan" and data["kind"] == "set":
        return []
    override = current_settings().flag_overrides.get(data["flag"])
    return [notice_text.rollout_notice(data, uuid.uuid4().hex, _existing_path("/rollout"), override)]


def _command_notices(session: Session, data: Mapping[str, Any]) -> list[NewNotification]:
    """The end of a command is reported to the person who requested it."""
    if data["phase"] not in notice_text.COMMAND_END_WORDS or not data.get("actor"):
        return []
    link = _existing_path(f"/commands/{quote(data['commandId'], safe='')}")
    return [notice_text.command_notice(data, service_alerts.read_service_name(session, data["service"]), link)]


def _existing_path(path: str) -> str | None:
    """The path if this Beacon serves a page there, otherwise None."""
    try:
        current_app.url_map.bind("").match(path)
    except HTTPException:
        return None
    return path


# To notify about another event type, add a line here and a function in notice_text.py.
RULES: dict[str, Rule] = {
    "reconciliation.update": service_alerts.notices_after_update,
    "reconciliation.verified": service_alerts.notices_after_checks,
    "reconciliation.new_causes": service_alerts.notices_after_new_causes,
    "flash.message": lambda _session, data: [notice_text.message_notice(data)],
    "flag.changed": _rollout_notices,
    "command.status": _command_notices,
}
