"""API tokens, kept as hashes, and the five-minute token with which a page opens its stream."""

import hashlib
import secrets
from datetime import timedelta

import sqlalchemy as sa
from flask import current_app
from itsdangerous import BadSignature, URLSafeTimedSerializer
from sqlalchemy.orm import Session

from app.accounts.models import ApiToken, LoginSession, User
from app.clock import utc_now, utc_text

SCOPES = ("stream", "read", "publish", "command", "rollout", "widget", "admin")
STREAM_TOKEN_S = 300
PREFIX = "bcn_"


def create(session: Session, user: User, scopes: list[str], days: float | None = None) -> tuple[ApiToken, str]:
    """A new token's row and its text, which is shown once and never kept."""
    text = PREFIX + secrets.token_urlsafe(32)
    expires = utc_text(utc_now() + timedelta(days=days)) if days else None
    row = ApiToken(
        user_id=user.id,
        token_hash=_hash(text),
        scopes=" ".join(sorted(set(scopes))),
        created_at=utc_text(),
        expires_at=expires,
    )
    session.add(row)
    session.flush()
    return row, text


def find(session: Session, text: str) -> ApiToken | None:
    """The live token with this text, of a user who is not disabled."""
    row = session.scalar(sa.select(ApiToken).where(ApiToken.token_hash == _hash(text)))
    if row is None or row.revoked_at or row.user.disabled_at:
        return None
    return None if row.expires_at and row.expires_at <= utc_text() else row


def page_token(login: LoginSession) -> str:
    """Opens streams for five minutes, and only while the login session lives."""
    return _serializer().dumps(login.id)


def find_page_token(session: Session, text: str) -> LoginSession | None:
    try:
        login_id = _serializer().loads(text, max_age=STREAM_TOKEN_S)
    except BadSignature:
        return None
    return live_session(session, login_id)


def live_session(session: Session, login_id: str) -> LoginSession | None:
    """The login session if it has neither ended nor expired and its user is not disabled."""
    row = session.get(LoginSession, login_id)
    if row is None or row.ended_at or row.expires_at <= utc_text() or row.user.disabled_at:
        return None
    return row


def opaque(login_id: str) -> str:
    """A name for a login session that tells nobody its id."""
    return hashlib.sha256(f"session:{login_id}".encode()).hexdigest()[:16]


def _hash(text: str) -> str:
    # The text has 256 random bits: a plain hash cannot be guessed back, a slow one would only slow us.
    return hashlib.sha256(text.encode()).hexdigest()


def _serializer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(current_app.secret_key or "", salt="beacon-stream-token")
