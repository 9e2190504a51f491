"""Authenticates clients that open a stream, and checks the feature flag."""

from dataclasses import dataclass

from flask import request
from sqlalchemy.orm import Session

from app.accounts import tokens
from app.accounts.actors import Actor, actor_from_user
from app.db import db
from app.eventlog.cursor import StartPosition, resolve_start_position
from app.flags.evaluation import Flag, is_enabled
from app.infra.problems import Problem
from app.web import auth


@dataclass(frozen=True, slots=True)
class IdentifiedReader:
    """Who opens a stream and where it begins, both read from the database in one session."""

    who: Actor
    start: StartPosition


def identify(cursor_text: str | None, scope: str | tuple[str, ...] = "stream") -> IdentifiedReader:
    """Identify the client of this request. The `Last-Event-ID` header takes precedence over `cursor_text`.

    Raises 401 without a valid credential, 403 for a token without the scope.
    """
    session = db.session()
    # The head is read before the credential: a revocation in between lies above it, so it is applied.
    # The URL of an EventSource keeps its first cursor for ever; the header has the newer one.
    newer = request.headers.get("Last-Event-ID")
    start = resolve_start_position(session, newer or cursor_text, None if newer else request.args.get("generation"))
    who = _find_actor(session)
    if who is None:
        raise auth.unauthorized_problem()
    auth.check_access(who, "viewer", scope)
    return IdentifiedReader(who, start)


def check_flag(who: Actor) -> None:
    if not is_enabled(Flag.SSE_STREAMING, who.name):
        detail = "Streaming is switched off for you. Poll GET /api/events/frames or GET /api/events instead."
        raise Problem(403, "Streaming is off", detail, reason="flag-off")


def _find_actor(session: Session) -> Actor | None:
    text = auth.bearer_token()
    if text is None:
        # Plain EventSource clients send the cookie by themselves. Cross-site requests must not use it.
        return None if request.headers.get("Sec-Fetch-Site") == "cross-site" else auth.actor_or_none()
    if text.startswith(tokens.PREFIX):
        return auth.actor_or_none()
    login = tokens.find_page_token(session, text)
    return actor_from_user(login.user, login_id=login.id) if login else None
