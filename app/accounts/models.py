"""Tables of users, login sessions, API tokens and failed logins."""

import sqlalchemy as sa
from flask_login import UserMixin
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db import Base


class User(UserMixin, Base):  # type: ignore[misc]  # Flask-Login has no types
    """A person or a program. Users are disabled, never deleted, because the audit names them."""

    __tablename__ = "user"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str]
    role: Mapped[str]
    created_at: Mapped[str]
    disabled_at: Mapped[str | None]
    # Part of every signed token. A new password or disabling the user raises it and so invalidates signed tokens,
    # which no table lists.
    credential_generation: Mapped[int] = mapped_column(default=0)


class LoginSession(Base):
    """One login of one browser. The cookie holds its id; setting `ended_at` ends the session at once."""

    __tablename__ = "login_session"

    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("user.id"), index=True)
    created_at: Mapped[str]
    expires_at: Mapped[str]
    ended_at: Mapped[str | None]
    last_active_at: Mapped[str]

    user: Mapped[User] = relationship(lazy="joined")


class ApiToken(Base):
    """A program's credential, stored as a hash. `scopes` are separated by spaces."""

    __tablename__ = "api_token"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("user.id"), index=True)
    token_hash: Mapped[str] = mapped_column(unique=True)
    scopes: Mapped[str]
    created_at: Mapped[str]
    expires_at: Mapped[str | None]
    revoked_at: Mapped[str | None]

    user: Mapped[User] = relationship(lazy="joined")


class LoginThrottle(Base):
    """The number of failed logins for one `kind` of key. `key` is a hash of the name, address or browser."""

    __tablename__ = "login_throttle"

    kind: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    failures: Mapped[float]
    last_at: Mapped[float] = mapped_column(index=True)
