"""What a service's failed jobs say on the overview: how many there are, and why those of the last hour failed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote

from sqlalchemy.orm import Session

from app.failures.summaries import summarize
from app.web.dashboard.view_models import Tile, dom_key, service_href

MAX_STRIP_ROWS = 5


@dataclass(frozen=True, slots=True)
class CauseLine:
    """`since`: the first failure with this cause."""

    count: int
    title: str
    href: str
    since: str


@dataclass(frozen=True, slots=True)
class Failing:
    """The failed jobs of a service. With a cause in the last hour it needs attention. `others`: failed jobs with other
    or older causes, and those that are not read yet. `last_at`: the newest failure of the named causes."""

    service_id: str
    key: str
    name: str
    failed: int
    causes: tuple[CauseLine, ...]
    others: int
    last_at: str | None

    @property
    def needs_attention(self) -> bool:
        return bool(self.causes)

    @property
    def href(self) -> str:
        """The page of the cause if there is one, otherwise of all."""
        return self.causes[0].href if len(self.causes) == 1 else f"{service_href(self.service_id)}/failures"

    @property
    def sort_key(self) -> str:
        """Behind the row that tells the state of the same service; no name contains a tab."""
        return f"{self.name.casefold()}\tfailing"

    @property
    def words(self) -> str:
        """`31 failed: 28 SMTPServerDisconnected in mail.send, 3 KeyError in invoice.render`"""
        parts = [f"{cause.count:,} {cause.title}" for cause in self.causes]
        if self.others:
            parts.append(f"{self.others:,} others")
        return f"{self.failed:,} failed: {', '.join(parts)}"

    @classmethod
    def from_payload(cls, name: str, payload: Mapping[str, Any]) -> Self:
        """From a `reconciliation.failures`."""
        found = payload["causes"]
        causes = [
            CauseLine(one["count"], one["title"], f"/failures/{quote(one['group'], safe='')}", one["firstAt"])
            for one in found
        ]
        named = sum(cause.count for cause in causes)
        return cls(
            payload["service"],
            dom_key(payload["service"]),
            name,
            payload["failed"],
            tuple(causes),
            max(0, payload["failed"] - named),
            max((one["lastAt"] for one in found), default=None),
        )


def load_failing(session: Session, tiles: Sequence[Tile]) -> dict[str, Failing]:
    """Those of these services that have failed jobs which need attention, by id."""
    found = summarize(session, [tile.service_id for tile in tiles])
    views = (Failing.from_payload(tile.name, found[tile.service_id].to_wire()) for tile in tiles)
    return {view.service_id: view for view in views if view.needs_attention}


def find_hidden_rows(tiles: Sequence[Tile], failing: Sequence[Failing]) -> frozenset[str]:
    """The ids of the rows of which the attention strip shows only state and name: it shows the worst few in full."""
    by_status = {
        status: [f"strip-{tile.key}" for tile in tiles if tile.status == status] for status in ("discrepancy", "stale")
    }
    rows = [*by_status["discrepancy"], *(f"failing-{one.key}" for one in failing), *by_status["stale"]]
    return frozenset(rows[MAX_STRIP_ROWS:])
