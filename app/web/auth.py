"""Authenticates requests and checks access: a role for users, and a scope for tokens."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from flask import g, request
from flask_login import current_user

from app.accounts import tokens
from app.accounts.actors import Actor, actor_from_user
from app.audit import attempt_log
from app.components import components
from app.db import db
from app.infra.problems import Problem
from app.web import request_body

P = ParamSpec("P")
R = TypeVar("R")

SAFE_METHODS = ("GET", "HEAD", "OPTIONS", "TRACE")


def actor() -> Actor:
    """The actor of this request; raises a 401 problem if there is none. A bearer token wins over a cookie."""
    found = actor_or_none()
    if found is None:
        raise unauthorized_problem()
    return found


def actor_or_none() -> Actor | None:
    """Like `actor`, but None for anonymous requests."""
    if "actor" not in g:
        # Other schemes, such as Basic credentials for a proxy, are ignored.
        g.actor = _actor_from_bearer() if _claims_bearer() else _actor_from_session()
    found: Actor | None = g.actor
    return found


def unauthorized_problem(detail: str = "Log in, or send a valid API token as Authorization: Bearer.") -> Problem:
    return Problem(401, "Not logged in", detail, headers={"WWW-Authenticate": "Bearer"})


def bearer_token() -> str | None:
    """The credential of an `Authorization: Bearer` header, or None."""
    header = request.authorization
    return header.token if header is not None and header.type == "bearer" else None


def require(role: str, scope: str | tuple[str, ...] | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a view: users need `role`; tokens also need `scope` or one of several (None: no tokens allowed)."""

    def decorate(view: Callable[P, R]) -> Callable[P, R]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            check_access(actor(), role, scope)
            return view(*args, **kwargs)

        return guarded

    return decorate


def check_access(who: Actor, role: str, scope: str | tuple[str, ...] | None) -> None:
    scopes = (scope,) if isinstance(scope, str) else scope or ()
    if who.scopes is not None and who.scopes.isdisjoint(scopes):
        needed = f"a token with scope {' or '.join(scopes)}" if scopes else "a login session, not a token"
        raise forbidden_problem(who, f"This needs {needed}.", "scope")
    if not who.has_role(role):
        raise forbidden_problem(who, f"This needs the role {role}; you are {who.role}.", "role")


def forbidden_problem(who: Actor, detail: str, reason: str) -> Problem:
    """The 403 problem to raise. Refused changes are recorded in the audit, refused reads are not."""
    if request.method not in SAFE_METHODS:
        wanted = f"{request.method} {request.url_rule or request.path}"
        origin = attempt_log.network_of(request.remote_addr or "")
        attempt_recorder().record(attempt_log.Attempt("refused", who.name, wanted, origin, who.role))
    return Problem(403, "Not allowed", detail, reason=reason)


def attempt_recorder() -> attempt_log.AttemptRecorder:
    return components().attempt_recorder


def _claims_bearer() -> bool:
    """True for any `Authorization: Bearer` header. Even a broken one disables the cookie."""
    return request.headers.get("Authorization", "").split(" ", 1)[0].lower() == "bearer"


def _actor_from_bearer() -> Actor | None:
    text = bearer_token()
    found = tokens.find(db.session(), text) if text else None
    if found is None:
        return None
    request_body.body_slots().remember_token(text or "")
    return Actor(found.user_id, found.name, found.role, token_id=found.token_id, scopes=found.scopes)


def _actor_from_session() -> Actor | None:
    if not current_user.is_authenticated:
        return None
    return actor_from_user(current_user, login_id=g.login_id)
