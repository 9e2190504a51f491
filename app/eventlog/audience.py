"""Audiences of events: `everyone`, `role:NAME`, `user:NAME`, and `control` for Beacon's own workers only."""

import re
from dataclasses import dataclass
from functools import lru_cache

EVERYONE = "everyone"
CONTROL = "control"
ROLES = ("viewer", "operator", "product", "admin")

_ROLE = re.compile(rf"role:(?:{'|'.join(ROLES)})")
_USER = re.compile(r"user:[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


@dataclass(frozen=True, slots=True)
class Viewer:
    """The attributes of a user that decide what they may see."""

    name: str
    role: str

    @property
    def audiences(self) -> frozenset[str]:
        """Every audience that includes this viewer. An admin is in the audience of every role."""
        return _audiences(self.name, self.role)


@lru_cache(maxsize=10_000)
def _audiences(name: str, role: str) -> frozenset[str]:
    """Return one shared set for all streams of a user: there are many, and it is used for every event."""
    roles = ROLES if role == "admin" else (role,)
    return frozenset({EVERYONE, f"user:{name}", *(f"role:{role}" for role in roles)})


def is_valid(audience: str) -> bool:
    """True for an audience that an event may carry, `control` included."""
    return audience in (EVERYONE, CONTROL) or bool(_ROLE.fullmatch(audience) or _USER.fullmatch(audience))
