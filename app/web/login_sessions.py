"""Login sessions: Flask-Login on top of `login_session` rows, so that the server can end a session."""

import secrets
from datetime import timedelta
from urllib.parse import urlencode

from flask import Flask, Response, g, redirect, request, session
from flask_login import LoginManager, login_user

from app.accounts import tokens, users
from app.accounts.models import LoginSession, User
from app.audit import chain
from app.db import db, write
from app.eventlog.append import NewEvent, append
from app.eventlog.event_types import SessionEnded
from app.infra.clock import utc_now, utc_text
from app.web import idle_logins, unsent_form
from app.web.auth import actor_or_none
from app.web.errors import wants_page
from app.web.session_cookie import LoginCookie

SESSION_DAYS = 14
manager = LoginManager()


def init_app(app: Flask) -> None:
    app.config.update(SESSION_COOKIE_HTTPONLY=True, SESSION_COOKIE_SAMESITE="Lax")
    app.session_interface = LoginCookie()
    app.config["PERMANENT_SESSION_LIFETIME"] = timedelta(days=SESSION_DAYS)
    # Without its context processor, because an error page must not query the database for the user.
    manager.init_app(app, add_context_processor=False)
    manager.user_loader(_load_user)
    app.before_request(_redirect_to_login)
    app.before_request(_record_activity)


def begin(user: User) -> bool:
    """Log `user` in with a new row and a new cookie; the content of an old cookie must not survive a login.

    False if the user was disabled or given another password while the old one was checked, which may take seconds.
    """
    row = LoginSession(
        id=secrets.token_urlsafe(32),
        user_id=user.id,
        created_at=utc_text(),
        expires_at=utc_text(utc_now() + timedelta(days=SESSION_DAYS)),
        last_active_at=utc_text(),
    )
    with write() as transaction:
        if not users.can_still_log_in(transaction, user):
            return False
        transaction.add(row)
        chain.record(transaction, chain.Entry(user.name, "login", user.name))
    session.clear()
    session.permanent = True
    session["login"] = row.id
    login_user(user)
    return True


def clear_cookie() -> None:
    """Forget the login, but not whose it was: a form that is still open in another tab is kept for this user only."""
    former = session.get("_user_id")
    session.clear()
    if former:
        session[unsent_form.FORMER_USER] = former


def end(login_id: str) -> None:
    """End one login session. An event in the log ends its streams on every worker."""
    with write() as transaction:
        row = transaction.get(LoginSession, login_id)
        if row is None or row.ended_at:
            return
        row.ended_at = utc_text()
        chain.record(transaction, chain.Entry(row.user.name, "logout", row.user.name))
        append(transaction, [NewEvent("control.session_ended", SessionEnded(session=login_id), "control")])


def _load_user(_user_id: str) -> User | None:
    """Load the user of the session row. Flask-Login passes a user id, but only the row says if the login is valid."""
    login_id = session.get("login")
    row = tokens.find_active_session(db.session(), login_id) if login_id else None
    if row is None or row.user.get_id() != _user_id:
        return None
    g.login_id, g.last_active_at = row.id, row.last_active_at
    return row.user


def _redirect_to_login() -> Response | None:
    """Redirect a browser without a session to the login page, with the path to return to."""
    open_to_all = request.endpoint is None or request.endpoint in PUBLIC_ENDPOINTS
    if open_to_all or request.method not in ("GET", "HEAD") or not wants_page() or actor_or_none() is not None:
        return None
    target = request.full_path.rstrip("?")
    query = f"?{urlencode({'next': target}, safe='/?')}" if target != "/" else ""
    return redirect(f"/login{query}")  # type: ignore[return-value]


def _record_activity() -> None:
    """Record activity, except for public endpoints, which must work without the database."""
    if request.endpoint is not None and request.endpoint not in PUBLIC_ENDPOINTS:
        idle_logins.record_activity()


# Endpoints that do not need a login.
PUBLIC_ENDPOINTS = {
    "account.login",
    "account.try_login",
    "assets.file",
    "health.healthz",
    "health.readyz",
    "static",
    "notifications.show_shell",
}
