"""Ends login sessions that their user has not used for a while, together with their streams.

Only what a user does counts as activity: opening a page, sending a form, pressing a button. What a page does on its own
(streams, polls, tokens, reports) does not, or an open browser would stay logged in for ever. A wall screen therefore
needs a larger `BEACON_SESSION_IDLE_HOURS`.
"""

import contextlib
from datetime import timedelta

import sqlalchemy as sa
from flask import g, request
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.accounts import tokens
from app.accounts.models import LoginSession
from app.audit import chain
from app.config import current_settings
from app.db import DatabaseUnavailable, db, read, write
from app.eventlog.append import NewEvent, append
from app.eventlog.event_types import SessionEnded
from app.infra.clock import utc_now, utc_text
from app.web.auth import SAFE_METHODS, actor_or_none

CHECK_INTERVAL_S = 30.0
MAX_ENDED_PER_RUN = 100
# Minimum time between two writes of a session's `last_active_at`.
ACTIVITY_WRITE_INTERVAL_S = 300.0
# A busy database must not delay a page that is only read.
ACTIVITY_WRITE_DEADLINE_S = 0.2
SYSTEM_ACTOR = "beacon"
# Endpoints that pages call on their own.
AUTOMATIC_ENDPOINTS = {"account.stream_token", "audit.report_client_error", "rollout.post_report"}


def record_activity() -> None:
    """Record user activity for the current request, if a user caused it. Called before each request."""
    if not _is_by_person():
        return
    who = actor_or_none()
    if who is None or who.login_id is None or g.last_active_at > utc_text(utc_now() - _write_interval()):
        return
    db.session.remove()  # do not hold a pooled connection while the write waits
    mine = sa.update(LoginSession).where(LoginSession.id == who.login_id, LoginSession.ended_at.is_(None))
    # A database that accepts no writes can still show pages.
    with contextlib.suppress(DatabaseUnavailable, SQLAlchemyError), write(ACTIVITY_WRITE_DEADLINE_S) as session:
        session.execute(mine.values(last_active_at=utc_text()))


def end_idle_logins() -> int:
    """End idle and expired logins; return how many. An event in the log ends their streams on every worker."""
    over = _is_over()
    with read() as session:
        if session.scalar(sa.select(LoginSession.id).where(over).limit(1)) is None:
            return 0
    with write() as session:
        rows = session.scalars(
            sa.select(LoginSession).where(over).limit(MAX_ENDED_PER_RUN).with_for_update(of=LoginSession)
        )
        ended = [_end_session(session, row) for row in rows.all()]
        append(session, ended)
    return len(ended)


def _end_session(session: Session, row: LoginSession) -> NewEvent:
    reason = "expired" if row.expires_at <= utc_text() else "idle"
    row.ended_at = utc_text()
    chain.record(session, chain.Entry(SYSTEM_ACTOR, "logout", row.user.name, after={"reason": reason}))
    return NewEvent("control.session_ended", SessionEnded(session=row.id), "control")


def _is_over() -> sa.ColumnElement[bool]:
    late = sa.or_(LoginSession.last_active_at <= tokens.idle_cutoff(), LoginSession.expires_at <= utc_text())
    return sa.and_(LoginSession.ended_at.is_(None), late)


def _is_by_person() -> bool:
    if request.method not in SAFE_METHODS:
        return request.endpoint not in AUTOMATIC_ENDPOINTS
    mode = request.headers.get("Sec-Fetch-Mode")
    # Over plain HTTP browsers do not send it. Only navigations accept XHTML; our scripts never ask for it.
    return mode == "navigate" if mode else "application/xhtml+xml" in request.headers.get("Accept", "")


def _write_interval() -> timedelta:
    idle_s = current_settings().session_idle_hours * 3_600
    return timedelta(seconds=min(ACTIVITY_WRITE_INTERVAL_S, idle_s / 10))
