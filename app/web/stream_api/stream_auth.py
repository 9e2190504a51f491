"""Who may open a stream: a credential first, then the flag."""

from dataclasses import dataclass

from flask import request
from sqlalchemy.orm import Session

from app.accounts import tokens
from app.accounts.actors import Actor, actor_of
from app.db import db
from app.eventlog.cursor import StartPosition
from app.eventlog.start_position import resolve_start_position
from app.flags.evaluation import Flag, is_enabled
from app.infra.problems import Problem
from app.web import auth


@dataclass(frozen=True, slots=True)
class IdentifiedReader:
    """Who opens a stream, and where it begins; both from one look at the database."""

    who: Actor
    start: StartPosition


def identify(cursor_text: str | None, scope: str | tuple[str, ...] = "stream") -> IdentifiedReader:
    """The reader behind this request; the `Last-Event-ID` header beats `cursor_text`.

    Raises 401 without a good credential, 403 for a token without the scope.
    """
    session = db.session()
    # The head is read before the credential: a revocation in between lies above it, and is applied.
    # The address of an EventSource names for ever what it was opened with: its header has the newer cursor.
    newer = request.headers.get("Last-Event-ID")
    start = resolve_start_position(session, newer or cursor_text, None if newer else request.args.get("generation"))
    who = _credential(session)
    if who is None:
        raise auth.unauthorized()
    auth.check(who, "viewer", scope)
    return IdentifiedReader(who, start)


def check_flag(who: Actor) -> None:
    if not is_enabled(Flag.SSE_STREAMING, who.name):
        detail = "Streaming is switched off for you. Poll GET /api/events/frames or GET /api/events instead."
        raise Problem(403, "Streaming is off", detail, reason="flag-off")


def _credential(session: Session) -> Actor | None:
    text = auth.bearer_text()
    if text is None:
        # Plain EventSource clients send the cookie by themselves: not from another site.
        return None if request.headers.get("Sec-Fetch-Site") == "cross-site" else auth.actor_or_none()
    if text.startswith(tokens.PREFIX):
        return auth.actor_or_none()
    login = tokens.find_page_token(session, text)
    return actor_of(login.user, login_id=login.id) if login else None
