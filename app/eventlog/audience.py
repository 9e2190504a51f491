"""Who may see an event: `everyone`, `role:NAME`, `user:NAME`; `control` is for Beacon's own workers only."""

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
    """The part of a user that decides what they may see."""

    name: str
    role: str

    @property
    def audiences(self) -> frozenset[str]:
        """Every audience that includes this viewer. An admin sees what any role is told."""
        return _audiences(self.name, self.role)


@lru_cache(maxsize=10_000)
def _audiences(name: str, role: str) -> frozenset[str]:
    """One set for all streams of a user: they are many, and compared for every event."""
    roles = ROLES if role == "admin" else (role,)
    return frozenset({EVERYONE, f"user:{name}", *(f"role:{role}" for role in roles)})


def is_valid(audience: str) -> bool:
    """True for an audience that an event may carry, `control` included."""
    return audience in (EVERYONE, CONTROL) or bool(_ROLE.fullmatch(audience) or _USER.fullmatch(audience))
