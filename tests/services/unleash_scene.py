"""Workers of Beacon beside a real Unleash, and whoever runs the rollout at one of them."""

import json
from typing import Any

import sqlalchemy as sa
from flask import Flask
from werkzeug.test import TestResponse

from app import create_app
from app.audit.models import AuditRow
from app.cli import doctor
from app.config import Settings
from app.db import db, read
from app.eventlog import reader as log
from app.flags.document import Flag
from app.flags.evaluation import Flags
from app.flags.unleash import pending_changes
from tests.support.unleash_server import ADMIN_TOKEN, CLIENT_TOKEN, Unleash
from tests.support.waiting import wait_for

FLAG = Flag.SSE_STREAMING
URL = f"/api/rollout/{FLAG}"
USERS = [f"user{number}" for number in range(2_000)]
# A change shows after up to two seconds; the machine may be busy.
FOLLOW_S = 20.0


def beside(server: Unleash) -> dict[str, str]:
    """The settings that make a Beacon ask this Unleash."""
    return {"unleash_url": server.url, "unleash_api_token": CLIENT_TOKEN, "unleash_admin_token": ADMIN_TOKEN}


def close_database(app: Flask) -> None:
    with app.app_context():
        db.engine.dispose()


class Workers:
    """Several of one deployment, in this process."""

    def __init__(self, settings: Settings, headers: dict[str, str]) -> None:
        self._settings, self._headers = settings, headers
        self._made: list[Flask] = []

    def __call__(self, server: Unleash | None = None, **more: Any) -> "Desk":
        """One more, running; keywords are further settings."""
        known = {} if server is None else beside(server)
        self._made.append(create_app(Settings(**{**self._settings.model_dump(), **known, **more})))
        self._made[-1].extensions["beacon"].background.start()
        return Desk(self._made[-1], self._headers)

    def end(self) -> None:
        while self._made:
            each = self._made.pop()
            each.extensions["beacon"].background.stop()
            close_database(each)


class Desk:
    """Whoever runs the rollout, at one worker."""

    def __init__(self, app: Flask, headers: dict[str, str]) -> None:
        self.app, self._headers, self._client = app, headers, app.test_client()
        self.flags: Flags = app.extensions["beacon"].flags

    def get(self) -> dict[str, Any]:
        response = self._client.get(URL, headers=self._headers)
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.get_json()
        return body

    def put(self, **body: Any) -> TestResponse:
        return self._client.put(URL, json={"reason": "because", **body}, headers=self._headers)

    def ready(self) -> dict[str, Any]:
        response = self._client.get("/readyz")
        return {"status": response.status_code, **response.get_json()["parts"]}

    def doctor(self) -> doctor.Finding:
        """What `beacon doctor` finds of the flags."""
        found = doctor.run_checks(self.app, self.app.extensions["beacon"].settings)
        return next(finding for finding in found if finding.subject == "flags")

    def share(self) -> float:
        return sum(self.flags.is_enabled(FLAG, user) for user in USERS[:500]) / 500

    def stands_at(self, percentage: int, *, enabled: bool = True) -> None:
        """Until the API says so, and every worker holds it."""

        def holds() -> bool:
            now = self.get()
            workers = now["workers"]
            figures = (now["percentage"], now["enabled"]) == (percentage, enabled)
            return figures and workers is not None and workers["holding"] == workers["total"] > 0

        wait_for(holds, FOLLOW_S)

    def changes(self) -> list[dict[str, Any]]:
        with self.app.app_context(), read() as session:
            return [dict(event.data) for event in log.read_after(session, 0).events if event.type == "flag.changed"]

    def is_ahead(self) -> bool:
        """Whether something that Beacon has made has not come back from Unleash yet."""
        with self.app.app_context(), read() as session:
            return pending_changes.find_pending(session, FLAG) is not None

    def audit(self) -> list[tuple[str, str, str, dict[str, Any]]]:
        query = sa.select(AuditRow).where(AuditRow.target == FLAG).order_by(AuditRow.seq)
        with self.app.app_context(), read() as session:
            rows = session.scalars(query).all()
            return [(row.actor, row.action_type, row.outcome, json.loads(row.after_state_json or "{}")) for row in rows]
