"""Parses how the services of the dashboard are chosen: `?name=mail&state=wrong&kind=…&by=worst&group=state`."""

from collections.abc import Mapping
from dataclasses import dataclass

MAX_NAME_CHARS = 100
# `static/js/pages/board_rules.js` has the same states.
STATE_CHOICES = {
    "wrong": "Needs attention",
    "discrepancy": "Discrepancy",
    "failing": "Failing jobs",
    "stale": "Stale",
    "unknown": "Not checked yet",
    "verified": "Verified",
}
SORT_CHOICES = {
    "name": "Name",
    "worst": "Worst first",
    "failed": "Most failed",
    "waiting": "Most waiting",
    "running": "Most running",
}
GROUP_CHOICES = {"state": "State", "kind": "Kind"}


@dataclass(frozen=True, slots=True)
class BoardQuery:
    """The filters, the order and the groups; empty text for a filter or for groups that are not wanted."""

    name: str = ""
    state: str = ""
    kind: str = ""
    by: str = "name"
    group: str = ""

    @property
    def has_filter(self) -> bool:
        return bool(self.name or self.state or self.kind)

    @property
    def is_default(self) -> bool:
        return self == BoardQuery()

    @property
    def params(self) -> Mapping[str, str]:
        """What the address says of it, for links and for the other form of the page."""
        by = "" if self.by == "name" else self.by
        all_params = {"name": self.name, "state": self.state, "kind": self.kind, "by": by, "group": self.group}
        return {name: value for name, value in all_params.items() if value}


def parse_board_query(args: Mapping[str, str]) -> BoardQuery:
    """Invalid values are ignored: an old link still shows the services."""

    def choose(name: str, choices: Mapping[str, str], default: str = "") -> str:
        given = args.get(name, "")
        return given if given in choices else default

    return BoardQuery(
        " ".join(args.get("name", "").split())[:MAX_NAME_CHARS],
        choose("state", STATE_CHOICES),
        args.get("kind", "")[:MAX_NAME_CHARS],
        choose("by", SORT_CHOICES, "name"),
        choose("group", GROUP_CHOICES),
    )
