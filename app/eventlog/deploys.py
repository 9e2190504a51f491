"""Reads deploys from the log: events of a type `deploy.…`, as publishers announce them.

Only those with the audience everyone are used: what they explain is the same for every viewer.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.eventlog.audience import EVERYONE
from app.eventlog.models import IS_DEPLOY, EventRow
from app.eventlog.reader import Event, decode_rows
from app.infra.clock import parse_utc, utc_text

# A failure that began later after a deploy is not said to be new since it.
MAX_AGE = timedelta(hours=24)
MAX_DEPLOYS = 500
# The payload of a longer event is not read: it is a deploy that names neither service nor version.
MAX_PAYLOAD_CHARS = 8_192
MAX_VERSION_CHARS = 40


@dataclass(frozen=True, slots=True)
class Deploy:
    """`service` is empty if it may concern every service, `version` if none is told."""

    id: int
    type: str
    at: str
    service: str = ""
    version: str = ""

    @classmethod
    def from_event(cls, event: Event) -> Self:
        service, version = event.data.get("service"), event.data.get("version")
        number = str(version)[:MAX_VERSION_CHARS] if isinstance(version, str | int | float) else ""
        return cls(event.id, event.type, event.timestamp, service if isinstance(service, str) else "", number)

    @property
    def name(self) -> str:
        """`deploy.done 4.12.0`"""
        return f"{self.type} {self.version}".strip()

    def concerns(self, service_id: str) -> bool:
        return self.service in ("", service_id)


def read_deploys(session: Session, since: datetime, until: datetime) -> Sequence[Deploy]:
    """The newest deploys of this time, oldest first."""
    begin, end = utc_text(since), utc_text(until)
    payload = sa.case((sa.func.length(EventRow.data_json) <= MAX_PAYLOAD_CHARS, EventRow.data_json), else_="{}")
    columns = (EventRow.id, EventRow.type, EventRow.audience, payload.label("data_json"), EventRow.created_at)
    # Other programs write times in other forms, which sort right by the day only.
    of_days = (EventRow.created_at >= begin[:10], EventRow.created_at <= end)
    query = sa.select(*columns).where(IS_DEPLOY, EventRow.audience == EVERYONE, *of_days)
    rows = session.execute(query.order_by(EventRow.created_at.desc(), EventRow.id.desc()).limit(MAX_DEPLOYS)).all()
    deploys = [Deploy.from_event(event) for event in decode_rows(reversed(rows))]
    return sorted((one for one in deploys if begin <= one.at <= end), key=lambda one: (one.at, one.id))


def find_cause(deploys: Sequence[Deploy], service_id: str, first_at: str) -> Deploy | None:
    """The newest of these deploys that may have caused what began then. Pure."""
    earliest = utc_text(parse_utc(first_at) - MAX_AGE)
    for deploy in reversed(deploys[: bisect_right(deploys, first_at, key=lambda one: one.at)]):
        if deploy.at < earliest:
            return None
        if deploy.concerns(service_id):
            return deploy
    return None
