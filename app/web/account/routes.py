"""Login, logout, and the token that a page opens its stream with."""

import math

import sqlalchemy as sa
from flask import Response, jsonify, redirect, render_template, request
from flask.typing import ResponseReturnValue

from app.accounts import login_throttle, tokens, users
from app.accounts.models import LoginSession, User
from app.db import db
from app.infra.problems import Problem
from app.web import known_browser, login_sessions
from app.web.account import bp
from app.web.auth import actor, actor_or_none, attempt_recorder, require
from app.web.page_address import local_path
from app.web.request_body import limit_body

# The login form, which anyone may send: a name, a password and a path to return to.
MAX_FORM_BYTES = 64 * 1024


@bp.get("/login")
def login() -> ResponseReturnValue:
    if actor_or_none() is not None:
        return redirect(local_path(request.values.get("next", "")))
    return render_template("accounts/login.html", next=request.args.get("next", ""), username="", error=None)


@bp.post("/login")
@limit_body(MAX_FORM_BYTES)
def try_login() -> ResponseReturnValue:
    name, password = request.form.get("username", "").strip(), request.form.get("password", "")
    address = request.remote_addr or ""
    try:
        return _check_login(name, password, address)
    except login_throttle.Throttled as throttled:
        login_throttle.record_throttled(attempt_recorder(), name, address)
        return _throttled_page(name, throttled.wait_s)


def _check_login(name: str, password: str, address: str) -> ResponseReturnValue:
    attempt = login_throttle.start_attempt(name, address, known_browser.find_throttle_key(name))
    user = db.session.scalar(sa.select(User).where(User.name == name)) if users.NAME_PATTERN.fullmatch(name) else None
    db.session.remove()  # do not hold a pooled connection while the password is checked
    try:
        is_right = users.verify_password(user, password)
    except users.TooBusy:
        return _login_page_with_error(name, "Too many people are logging in. Try again in a moment.", 503)
    if user is None or not is_right:
        return _refuse_login(attempt, name, is_known=user is not None)
    login_throttle.record_success(attempt)
    if not login_sessions.begin(user):
        return _refuse_login(attempt, name, is_known=True)
    known_browser.remember_user(user.name)
    return redirect(local_path(request.values.get("next", "")), 303)


def _refuse_login(attempt: login_throttle.LoginAttempt, name: str, *, is_known: bool) -> ResponseReturnValue:
    login_throttle.record_failure(attempt, name, is_known=is_known)
    return _login_page_with_error(name, "Wrong name or password.", 401)


@bp.post("/logout")
def logout() -> ResponseReturnValue:
    who = actor_or_none()
    if who is not None and who.login_id is not None:
        login_sessions.end(who.login_id)
    login_sessions.clear_cookie()
    return redirect("/login", 303)


@bp.post("/api/stream/token")
@require("viewer")
def stream_token() -> Response:
    """Return `{token, expiresInS, session}` for a page of this login session."""
    who = actor()
    row = db.session.get(LoginSession, who.login_id)
    if row is None:
        raise Problem(401, "Not logged in", "Log in again.")
    response = jsonify(
        token=tokens.create_page_token(row), expiresInS=tokens.STREAM_TOKEN_S, session=tokens.public_session_id(row.id)
    )
    response.headers["Cache-Control"] = "no-store"
    return response


def _login_page_with_error(name: str, error: str, status: int) -> tuple[str, int]:
    page = render_template("accounts/login.html", next=request.form.get("next", ""), username=name, error=error)
    return page, status


def _throttled_page(name: str, wait_s: int) -> ResponseReturnValue:
    wait = "a second" if wait_s == 1 else f"{wait_s} seconds" if wait_s < 100 else f"{math.ceil(wait_s / 60)} minutes"
    page, status = _login_page_with_error(
        name, f"Too many failed logins. The password was not checked. Try again in {wait}.", 429
    )
    return page, status, {"Retry-After": str(wait_s)}
