"""What happens around notifications, told as the application itself tells it."""

import itertools
import json
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from app.db import read, write
from app.eventlog.append import NewEvent, append
from app.eventlog.models import EventRow
from app.infra.clock import utc_now, utc_text
from app.notifications import notify
from app.notifications.models import Notification
from app.notifications.notice_text import NewNotification
from app.reconciliation import registry
from app.reconciliation.models import ServiceState
from tests.support.any_service import ANY_KIND, NOWHERE

_seconds = itertools.count(1)


def watch(app: Flask, service: str = "mail", name: str = "Mail") -> None:
    with app.app_context(), write() as session:
        registry.add(session, id=service, name=name, kind=ANY_KIND, url=NOWHERE)


def poll(
    app: Flask, status: str, service: str = "mail", *, changed: bool = True, later_s: float = 0, **more: Any
) -> None:
    """One poll as it is recorded: with an update where something changed, else as one of the gathered checks.

    `later_s`: so much time passes before it; `more`: members of the update."""
    checked_at = utc_text(utc_now() + timedelta(seconds=next(_seconds) + later_s))
    with app.app_context(), write() as session:
        if changed:
            data = _update(service, status, checked_at) | more
            state = ServiceState(service_id=service, status=status, version=1, counts_only=False)
            state.payload_json = json.dumps(data)
            session.merge(state)
            append(session, [NewEvent("reconciliation.update", data)])
        else:
            checks = {service: {"checkedAt": checked_at, "latencyMs": 3}}
            append(session, [NewEvent("reconciliation.verified", {"services": checks})])


def finding(kind: str, *ids: str, count: int | None = None) -> dict[str, Any]:
    found = {"kind": kind, "jobIds": list(ids), "since": "2026-11-21T12:00:00.000Z"}
    return found if count is None else {**found, "count": count}


def _update(service: str, status: str, checked_at: str) -> dict[str, Any]:
    return {
        "eventId": f"e{checked_at}",
        "service": service,
        "status": status,
        "counts": {},
        "checksum": "",
        "latencyMs": 3,
        "checkedAt": checked_at,
    }


def notice(app: Flask, audience: str, cause: str = "test:1", title: str = "Your command ended", **members: Any) -> None:
    """A notification for one audience, as a rule would make it."""
    made = NewNotification(
        cause, members.pop("severity", "info"), "message", title, "All of it.", audience=audience, **members
    )
    with app.app_context(), write() as session:
        event = notify.create_notification(session, made)
        if event is not None:
            append(session, [event])


def titles(app: Flask) -> list[str]:
    with app.app_context(), read() as session:
        return list(session.scalars(sa.select(Notification.title).order_by(Notification.id)))


def bodies(app: Flask) -> list[str]:
    with app.app_context(), read() as session:
        return list(session.scalars(sa.select(Notification.body).order_by(Notification.id)))


def events(app: Flask, type_: str) -> list[tuple[str, str]]:
    """(audience, payload) of each."""
    with app.app_context(), read() as session:
        rows = sa.select(EventRow.audience, EventRow.data_json).where(EventRow.type == type_).order_by(EventRow.id)
        return [tuple(row) for row in session.execute(rows)]


def post(client: FlaskClient, path: str, body: dict[str, Any]) -> Any:
    """As the page's own scripts do."""
    headers = {"X-CSRFToken": csrf(client), "Accept": "application/json"}
    return client.post(path, json=body, headers=headers)


def csrf(client: FlaskClient) -> str:
    """What the page's forms carry."""
    return client.get("/notifications/panel").text.split('data-csrf="')[1].split('"')[0]


def in_minutes(minutes: float) -> str:
    return utc_text(utc_now() + timedelta(minutes=minutes))
