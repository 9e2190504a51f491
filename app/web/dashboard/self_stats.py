"""What Beacon itself costs, in the footer of every page: from numbers that exist, looked at now and then."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
from flask import Flask, Response, current_app, make_response, render_template
from sqlalchemy.orm import Session

from app.db import db
from app.infra.clock import utc_now, utc_text
from app.reconciliation.models import CheckSample
from app.web.auth import require
from app.web.dashboard import bp

KEPT_S = 2.0
WINDOW = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Cost:
    """None is what is not known: never zero."""

    polls: int | None = None
    latency_ms: int | None = None
    viewers: int | None = None
    lag_ms: int | None = None


class Costs:
    """One look serves every page of a worker for `KEPT_S`."""

    def __init__(self, viewers: Callable[[Session], int], lag_s: Callable[[], float | None]) -> None:
        self._viewers, self._lag_s = viewers, lag_s
        self._lock = threading.Lock()
        self._kept, self._until = Cost(), 0.0

    def now(self, session: Session) -> Cost:
        with self._lock:
            if time.monotonic() < self._until:
                return self._kept
            self._until = time.monotonic() + KEPT_S  # whoever comes meanwhile takes the last one
        found = self._look(session)
        self._kept = found
        return found

    def _look(self, session: Session) -> Cost:
        recent = CheckSample.at >= utc_text(utc_now() - WINDOW)
        polls = session.scalar(sa.select(sa.func.count()).select_from(CheckSample).where(recent))
        newest = sa.select(CheckSample.latency_ms).where(recent, CheckSample.ok).order_by(CheckSample.at.desc())
        lag_s = self._lag_s()
        lag_ms = None if lag_s is None else round(lag_s * 1_000)
        return Cost(polls, session.scalar(newest.limit(1)), self._viewers(session), lag_ms)


def init_app(app: Flask, viewers: Callable[[Session], int], lag_s: Callable[[], float | None]) -> None:
    app.extensions["beacon_costs"] = Costs(viewers, lag_s)


@bp.app_context_processor
def in_pages() -> dict[str, Callable[[], Cost]]:
    """Asked by the footer alone, which not every page has."""
    return {"cost_now": current}


def current() -> Cost:
    costs: Costs = current_app.extensions["beacon_costs"]
    return costs.now(db.session())


@bp.get("/cost")
@require("viewer")
def partial() -> Response:
    """The figures alone, for pages that are open."""
    response = make_response(render_template("dashboard/_cost.html"))
    response.headers["Cache-Control"] = "private, no-store"
    return response
