"""Where a test gives commands, and sees what came of them at the service and in Beacon's own tables."""

import json
import uuid
from typing import Any

import sqlalchemy as sa
from flask import Flask
from werkzeug.test import TestResponse

from app.audit.models import AuditRow
from app.db import read
from app.eventlog.models import EventRow
from tests.support.cast import ALICE, BOB, Person, headers_of
from tests.support.demo_service import DemoService
from tests.support.waiting import wait_for

SERVICE = "mail"
ENDED = ("success", "error", "timeout")
SCOPES = {"viewer": ("read",), "operator": ("read", "command"), "admin": ("read", "command")}
NOW = "2026-11-21T12:03:05Z"


def new_id() -> str:
    return str(uuid.uuid4())


class OperatorDesk:
    """`demo`: the service that Beacon watches, where it is a demo service."""

    def __init__(self, app: Flask, demo: DemoService | None = None) -> None:
        self.app, self._demo = app, demo
        self.client = app.test_client()
        self._headers: dict[str, dict[str, str]] = {}

    @property
    def demo(self) -> DemoService:
        assert self._demo is not None
        return self._demo

    def headers(self, person: Person = BOB) -> dict[str, str]:
        if person.name not in self._headers:
            self._headers[person.name] = headers_of(self.app, person, *SCOPES[person.role])
        return self._headers[person.name]

    def send(self, body: dict[str, Any], person: Person = BOB) -> TestResponse:
        return self.client.post("/commands/run", json=body, headers=self.headers(person))

    def body(self, action: str, target: str | None = None, **more: Any) -> dict[str, Any]:
        found = {"commandId": new_id(), "actionType": action, "service": SERVICE, **more}
        return found if target is None else {**found, "target": target}

    def give(self, action: str, target: str | None = None, *, by: Person = BOB, **more: Any) -> str:
        """Take on a command and return its id."""
        answer = self.send(self.body(action, target, **more), by)
        assert answer.status_code == 202, answer.text
        assert answer.get_json()["phase"] == "queued"
        command_id: str = answer.get_json()["commandId"]
        return command_id

    def see(self, command_id: str, by: Person = ALICE) -> dict[str, Any]:
        answer = self.client.get(f"/commands/{command_id}", headers=self.headers(by))
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.get_json()
        return found

    def ended(self, command_id: str, within_s: float = 30.0, by: Person = ALICE) -> dict[str, Any]:
        wait_for(lambda: self.see(command_id, by)["phase"] in ENDED, within_s)
        return self.see(command_id, by)

    def run(self, action: str, target: str | None = None, **more: Any) -> dict[str, Any]:
        """Give a command and wait for its end."""
        return self.ended(self.give(action, target, **more))

    def is_watched(self) -> None:
        """Wait until Beacon has verified the service as it is now."""
        self.believes(self.demo.counts()["counts"])

    def believes(self, counts: dict[str, int]) -> None:
        """Wait until these are among the counts that Beacon has verified."""
        wait_for(lambda: counts.items() <= self.believed().items(), f"{counts} to be believed", 20)

    def believed(self) -> dict[str, int]:
        rows = self.events("reconciliation.update")
        return rows[-1]["counts"] if rows else {}

    def events(self, kind: str = "command.status", command_id: str | None = None) -> list[dict[str, Any]]:
        with self.app.app_context(), read() as session:
            rows = session.scalars(sa.select(EventRow).where(EventRow.type == kind).order_by(EventRow.id)).all()
        found = [json.loads(row.data_json) for row in rows]
        return [data for data in found if command_id is None or data["commandId"] == command_id]

    def audit(self, command_id: str) -> list[AuditRow]:
        with self.app.app_context(), read() as session:
            mine = sa.select(AuditRow).where(AuditRow.command_id == command_id)
            return list(session.scalars(mine.order_by(AuditRow.seq)))
