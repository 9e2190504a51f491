"""The actor behind a request: a user with a login session or an API token, and what they may do."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from app.accounts import tokens
from app.accounts.models import ApiToken, User
from app.eventlog.audience import Viewer

# The roles that each role includes. An admin has all of them.
_IMPLIED_ROLES = {"viewer": {"viewer"}, "operator": {"viewer", "operator"}, "product": {"viewer", "product"}}
# The scopes that are of use to each role. An admin can use all of them.
_COMMON_SCOPES = {"stream", "read", "widget"}
_USABLE_SCOPES = {
    "viewer": _COMMON_SCOPES,
    "operator": _COMMON_SCOPES | {"publish", "command"},
    "product": _COMMON_SCOPES | {"rollout"},
}


@dataclass(frozen=True, slots=True)
class Actor:
    """The user behind this request. `scopes` is None for a login session, which is limited only by the role."""

    user_id: int
    name: str
    role: str
    login_id: str | None = None
    token_id: int | None = None
    scopes: frozenset[str] | None = None

    @property
    def viewer(self) -> Viewer:
        return Viewer(self.name, self.role)

    @property
    def is_administrator(self) -> bool:
        """True if this request may read and change what belongs to other users."""
        return self.role == "admin" and (self.scopes is None or "admin" in self.scopes)

    def has_role(self, role: str) -> bool:
        return self.role == "admin" or role in _IMPLIED_ROLES.get(self.role, set())


def actor_from_user(user: User, **members: Any) -> Actor:
    return Actor(user.id, user.name, user.role, **members)


def has_active_credential(session: Session, who: Actor) -> bool:
    """True if the login session or the token of this request is still good, which may have ended since it began."""
    if who.login_id is not None:
        return tokens.find_active_session(session, who.login_id) is not None
    row = session.get(ApiToken, who.token_id) if who.token_id is not None else None
    return row is not None and row.revoked_at is None


def usable_scopes(role: str) -> frozenset[str]:
    """The scopes that a user of this role may give to a token of their own."""
    return frozenset(tokens.SCOPES if role == "admin" else _USABLE_SCOPES.get(role, set()))
