"""API tokens, stored as hashes, and the short-lived signed tokens of pages and of the widget."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
from flask import current_app
from itsdangerous import BadSignature, URLSafeTimedSerializer
from sqlalchemy.orm import Session

from app.accounts.models import ApiToken, LoginSession, User
from app.config import current_settings
from app.db import read_row
from app.infra.clock import utc_now, utc_text

SCOPES = ("stream", "read", "publish", "command", "rollout", "widget", "admin")
STREAM_TOKEN_S = 300
WIDGET_TOKEN_S = 600
PREFIX = "bcn_"
WIDGET_PREFIX = "bcw_"

# Runs on every request of a program, thousands of times a second after a restart. It selects from tables, because
# mapped classes cost four times as much, and is built once.
_token, _user = ApiToken.__table__.c, User.__table__.c
_SELECT_TOKEN = (
    sa.select(
        _token.id.label("token_id"),
        _token.scopes,
        _token.expires_at,
        _token.revoked_at,
        _token.user_id,
        _user.name,
        _user.role,
        _user.disabled_at,
    )
    .join_from(ApiToken.__table__, User.__table__, _user.id == _token.user_id)
    .where(_token.token_hash == sa.bindparam("hash"))
)


def create(session: Session, user: User, scopes: list[str], days: float) -> tuple[ApiToken, str]:
    """Create a token; return its row and its text, which is shown once and not stored."""
    text = PREFIX + secrets.token_urlsafe(32)
    expires = utc_text(utc_now() + timedelta(days=days))
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


def count_active(session: Session, user: User) -> int:
    return session.scalar(sa.select(sa.func.count()).select_from(ApiToken).where(*_is_active(user))) or 0


def revoke_all(session: Session, user: User) -> list[int]:
    """Revoke the user's active tokens and return their ids. The caller's change to the user ends their streams."""
    ended = list(session.scalars(sa.select(ApiToken.id).where(*_is_active(user)).order_by(ApiToken.id)))
    session.execute(sa.update(ApiToken).where(ApiToken.id.in_(ended)).values(revoked_at=utc_text()))
    return ended


def _is_active(user: User) -> tuple[sa.ColumnElement[bool], ...]:
    unexpired = sa.or_(ApiToken.expires_at.is_(None), ApiToken.expires_at > utc_text())
    return ApiToken.user_id == user.id, ApiToken.revoked_at.is_(None), unexpired


@dataclass(frozen=True, slots=True)
class TokenHolder:
    """The owner and the scopes of a token. A widget token has no id, because it is signed and not stored."""

    token_id: int | None
    scopes: frozenset[str]
    user_id: int
    name: str
    role: str


def find(session: Session, text: str) -> TokenHolder | None:
    """The holder of this token, or None if it is unknown, expired or revoked, or its user is disabled."""
    if text.startswith(WIDGET_PREFIX):
        return _find_widget_token(session, text.removeprefix(WIDGET_PREFIX))
    row = read_row(session, _SELECT_TOKEN, {"hash": _hash(text)})
    if row is None or row.revoked_at or row.disabled_at:
        return None
    if row.expires_at and row.expires_at <= utc_text():
        return None
    return TokenHolder(row.token_id, frozenset(row.scopes.split()), row.user_id, row.name, row.role)


def create_widget_token(user: User) -> str:
    """A token that can read this user's notifications and mark them as read, for ten minutes."""
    return WIDGET_PREFIX + serializer("beacon-widget-token").dumps([user.id, user.credential_generation])


def _find_widget_token(session: Session, text: str) -> TokenHolder | None:
    try:
        user_id, generation = serializer("beacon-widget-token").loads(text, max_age=WIDGET_TOKEN_S)
    except (BadSignature, TypeError):  # TypeError: an old token holds a bare number, without a generation
        return None
    user = session.get(User, user_id)
    if user is None or user.disabled_at or user.credential_generation != generation:
        return None
    return TokenHolder(None, frozenset({"widget"}), user.id, user.name, user.role)


def create_page_token(login: LoginSession) -> str:
    """A token that can open streams for five minutes, as long as the login session is active."""
    return serializer().dumps(login.id)


def find_page_token(session: Session, text: str) -> LoginSession | None:
    try:
        login_id = serializer().loads(text, max_age=STREAM_TOKEN_S)
    except BadSignature:
        return None
    return find_active_session(session, login_id)


def find_active_session(session: Session, login_id: str) -> LoginSession | None:
    """The login session, or None if it has ended, expired or been idle too long, or its user is disabled."""
    row = session.get(LoginSession, login_id)
    if row is None or row.ended_at or row.expires_at <= utc_text() or row.user.disabled_at:
        return None
    return row if row.last_active_at > idle_cutoff() else None


def idle_cutoff() -> str:
    """Login sessions without user activity since this time are over."""
    return utc_text(utc_now() - timedelta(hours=current_settings().session_idle_hours))


def public_session_id(login_id: str) -> str:
    """A public name for a login session that does not reveal its id."""
    return hashlib.sha256(f"session:{login_id}".encode()).hexdigest()[:16]


def _hash(text: str) -> str:
    # The text has 256 random bits, so a fast hash cannot be reversed by guessing.
    return hashlib.sha256(text.encode()).hexdigest()


def serializer(salt: str = "beacon-stream-token") -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(current_app.secret_key or "", salt=salt)
