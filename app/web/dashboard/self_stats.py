"""Beacon's own load for the footer of every page: polls, latency, open streams, delivery lag."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
from flask import Flask, render_template
from sqlalchemy.orm import Session

from app.components import components
from app.db import db
from app.infra.clock import utc_now, utc_text
from app.reconciliation.models import CheckSample
from app.web.auth import require
from app.web.dashboard import bp

CACHE_S = 2.0
POLL_WINDOW = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class SelfStats:
    """None means unknown, never zero."""

    polls: int | None = None
    latency_ms: int | None = None
    viewers: int | None = None
    lag_ms: int | None = None


class SelfStatsCache:
    """Serves the same figures to all pages of a worker for `CACHE_S`."""

    def __init__(self, viewers: Callable[[Session], int], lag_s: Callable[[], float | None]) -> None:
        self._viewers, self._lag_s = viewers, lag_s
        self._lock = threading.Lock()
        self._cached, self._valid_until = SelfStats(), 0.0

    def read(self, session: Session) -> SelfStats:
        with self._lock:
            if time.monotonic() < self._valid_until:
                return self._cached
            self._valid_until = time.monotonic() + CACHE_S  # other requests get the cached figures during the query
        stats = self._query(session)
        self._cached = stats
        return stats

    def _query(self, session: Session) -> SelfStats:
        recent = CheckSample.at >= utc_text(utc_now() - POLL_WINDOW)
        polls = session.scalar(sa.select(sa.func.count()).select_from(CheckSample).where(recent))
        newest = sa.select(CheckSample.latency_ms).where(recent, CheckSample.ok).order_by(CheckSample.at.desc())
        lag_s = self._lag_s()
        lag_ms = None if lag_s is None else round(lag_s * 1_000)
        return SelfStats(polls, session.scalar(newest.limit(1)), self._viewers(session), lag_ms)


def init_app(app: Flask, viewers: Callable[[Session], int], lag_s: Callable[[], float | None]) -> None:
    components(app).self_stats = SelfStatsCache(viewers, lag_s)


@bp.app_context_processor
def add_to_templates() -> dict[str, Callable[[], SelfStats]]:
    """A function, so that only pages with a footer query the figures."""
    return {"read_self_stats": read_self_stats}


def read_self_stats() -> SelfStats:
    cache = components().self_stats
    return cache.read(db.session())


@bp.get("/cost")
@require("viewer")
def show_self_stats() -> str:
    """Only the figures, for pages that are open."""
    return render_template("dashboard/_cost.html")
