"""Who is asking, and whether they may: a role for people, a scope for tokens."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from flask import current_app, g, request
from flask_login import current_user

from app.accounts import tokens
from app.accounts.actors import Actor, actor_of
from app.audit import attempt_log
from app.db import db
from app.infra.problems import Problem
from app.web import request_body

P = ParamSpec("P")
R = TypeVar("R")

SAFE = ("GET", "HEAD", "OPTIONS", "TRACE")


def actor() -> Actor:
    """The actor of this request; 401 where there is none. A bearer token wins over a cookie."""
    found = actor_or_none()
    if found is None:
        raise unauthorized()
    return found


def actor_or_none() -> Actor | None:
    """Like `actor`, for pages that answer anyone."""
    if "actor" not in g:
        # A proxy's own Basic credentials, say, are not ours to judge.
        g.actor = _from_bearer() if _is_bearer() else _from_session()
    found: Actor | None = g.actor
    return found


def unauthorized(detail: str = "Log in, or send a valid API token as Authorization: Bearer.") -> Problem:
    return Problem(401, "Not logged in", detail, headers={"WWW-Authenticate": "Bearer"})


def bearer_text() -> str | None:
    """The credential of an `Authorization: Bearer` header, or None."""
    header = request.authorization
    return header.token if header is not None and header.type == "bearer" else None


def require(role: str, scope: str | tuple[str, ...] | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Guard a route: people need `role`, tokens `scope` too, or one of several (None: not for tokens at all)."""

    def decorate(view: Callable[P, R]) -> Callable[P, R]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            check(actor(), role, scope)
            return view(*args, **kwargs)

        return guarded

    return decorate


def check(who: Actor, role: str, scope: str | tuple[str, ...] | None) -> None:
    scopes = (scope,) if isinstance(scope, str) else scope or ()
    if who.scopes is not None and who.scopes.isdisjoint(scopes):
        needed = f"a token with scope {' or '.join(scopes)}" if scopes else "a login session, not a token"
        raise refuse(who, f"This needs {needed}.", "scope")
    if not who.has_role(role):
        raise refuse(who, f"This needs the role {role}; you are {who.role}.", "role")


def refuse(who: Actor, detail: str, reason: str) -> Problem:
    """The 403 to raise. The audit knows who tried to change something and may not; looking is no attempt."""
    if request.method not in SAFE:
        wanted = f"{request.method} {request.url_rule or request.path}"
        origin = attempt_log.network(request.remote_addr or "")
        attempts().note(attempt_log.Attempt("refused", who.name, wanted, origin, who.role))
    return Problem(403, "Not allowed", detail, reason=reason)


def attempts() -> attempt_log.Attempts:
    """What this process refused and only counts between two writes."""
    found: attempt_log.Attempts = current_app.extensions["beacon_attempts"]
    return found


def _is_bearer() -> bool:
    """Whatever calls itself a bearer credential switches the cookie off, a broken one too."""
    return request.headers.get("Authorization", "").split(" ", 1)[0].lower() == "bearer"


def _from_bearer() -> Actor | None:
    text = bearer_text()
    found = tokens.find(db.session(), text) if text else None
    if found is None:
        return None
    request_body.bodies().remember(text or "")
    return Actor(found.user_id, found.name, found.role, token_id=found.token_id, scopes=found.scopes)


def _from_session() -> Actor | None:
    if not current_user.is_authenticated:
        return None
    return actor_of(current_user, login_id=g.login_id)
