"""Users, their login sessions and API tokens."""

import sqlalchemy as sa
from flask_login import UserMixin
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db import Base
from app.eventlog.audience import Viewer


class User(UserMixin, Base):  # type: ignore[misc]  # Flask-Login has no types
    """A person or program. Never deleted, because the audit names them: disabled."""

    __tablename__ = "user"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str]
    role: Mapped[str]
    created_at: Mapped[str]
    disabled_at: Mapped[str | None]
    # Signed tokens carry it: a new password and disabling raise it, and so end those that no table knows.
    credential_generation: Mapped[int] = mapped_column(default=0)

    @property
    def viewer(self) -> Viewer:
        return Viewer(self.name, self.role)


class LoginSession(Base):
    """One login of one browser. Its id is in the cookie; ending the row ends the session at once."""

    __tablename__ = "login_session"

    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("user.id"), index=True)
    created_at: Mapped[str]
    expires_at: Mapped[str]
    ended_at: Mapped[str | None]
    last_active_at: Mapped[str]

    user: Mapped[User] = relationship(lazy="joined")


class ApiToken(Base):
    """A program's credential; only its hash is kept. `scopes` are separated by spaces."""

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
    """How many logins failed, counted by `kind`; `key` is a hash of its name or address. Slows guessing on every
    worker at once."""

    __tablename__ = "login_throttle"

    kind: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    failures: Mapped[float]
    last_at: Mapped[float] = mapped_column(index=True)
