"""Who acts: a person with a login session, or with a token; what their role and the token's scopes let them do."""

from dataclasses import dataclass
from typing import Any

from app.accounts import tokens
from app.accounts.models import User
from app.eventlog.audience import Viewer

# What each role may do beyond seeing; admin may do everything.
_IMPLIED_ROLES = {"viewer": {"viewer"}, "operator": {"viewer", "operator"}, "product": {"viewer", "product"}}
# The scopes with which a token of this role can do something; every scope for an admin.
_COMMON_SCOPES = {"stream", "read", "widget"}
_USABLE_SCOPES = {
    "viewer": _COMMON_SCOPES,
    "operator": _COMMON_SCOPES | {"publish", "command"},
    "product": _COMMON_SCOPES | {"rollout"},
}


@dataclass(frozen=True, slots=True)
class Actor:
    """Who this request is from. `scopes` is None for a login session, which may do all that its role may."""

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
        """Whether this request may touch what is other people's."""
        return self.role == "admin" and (self.scopes is None or "admin" in self.scopes)

    def has_role(self, role: str) -> bool:
        return self.role == "admin" or role in _IMPLIED_ROLES.get(self.role, set())


def actor_from_user(user: User, **members: Any) -> Actor:
    return Actor(user.id, user.name, user.role, **members)


def usable_scopes(role: str) -> frozenset[str]:
    """What a person of this role may give a token of their own."""
    return frozenset(tokens.SCOPES if role == "admin" else _USABLE_SCOPES.get(role, set()))
