"""Who may see an event: `everyone`, `role:NAME`, `user:NAME`; `control` is for Beacon's own workers only."""

import re
from dataclasses import dataclass

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
        roles = ROLES if self.role == "admin" else (self.role,)
        return frozenset({EVERYONE, f"user:{self.name}", *(f"role:{role}" for role in roles)})


def is_valid(audience: str) -> bool:
    """True for an audience that an event may carry, `control` included."""
    return audience in (EVERYONE, CONTROL) or bool(_ROLE.fullmatch(audience) or _USER.fullmatch(audience))
