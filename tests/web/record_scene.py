"""Rows of the record and items as `record` leaves them, put down by a test."""

import json
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

from flask import Flask

from app.db import write
from app.infra.clock import utc_text
from app.reconciliation.models import DiscrepancyEvent, OpenItem, Service
from tests.support.any_service import ANY_KIND, NOWHERE

_NUMBERS = count()


def at(minute: int, hour: int = 12) -> str:
    return f"2026-11-21T{hour:02}:{minute:02}:00.000Z"


def watched(app: Flask, *services: str) -> None:
    with app.app_context(), write() as session:
        for name in services:
            session.add(
                Service(
                    id=name,
                    name=name.title(),
                    kind=ANY_KIND,
                    url=NOWHERE,
                    origin="admin",
                    registered_at=utc_text(),
                )
            )


def put(app: Flask, *rows: DiscrepancyEvent | OpenItem) -> None:
    with app.app_context(), write() as session:
        session.add_all(rows)


def happened(
    service: str,
    status: str,
    when: str,
    missing: Sequence[str] = (),
    *,
    reason: str | None = None,
    findings: Sequence[Mapping[str, Any]] = (),
    episode: str | None = None,
    **details: int,
) -> DiscrepancyEvent:
    """A change of state; `expected` and `actual` where both sides differ, `episode` where it goes on with one."""
    said = {"expected": 14, "actual": 14 - len(missing), "missingJobIds": list(missing), **details}
    return DiscrepancyEvent(
        id=f"{next(_NUMBERS):032x}",
        timestamp=when,
        service=service,
        status=status,
        counts_json="{}",
        checksum="c",
        latency_ms=9,
        discrepancy_details_json=json.dumps(said) if status == "discrepancy" else None,
        reason=reason,
        findings_json=json.dumps(findings) if findings else None,
        episode=episode,
    )


def item(service: str, job_id: str, kind: str, since: str, **closed: str) -> OpenItem:
    """`at`, `how`, `by` and `why` where it was closed."""
    row = OpenItem(id=f"i{next(_NUMBERS)}", service_id=service, job_id=job_id, kind=kind, since=since)
    row.last_state, row.queue = "running", "out"
    row.closed_at, row.closed_how = closed.get("at"), closed.get("how")
    row.closed_by, row.close_reason = closed.get("by"), closed.get("why")
    return row
