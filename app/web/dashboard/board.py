"""The services of the dashboard as they are arranged: which are shown, in which order and groups, as tiles or rows.

Every service is in the page, because the summary and the attention strip count and age all of them. Those that do not
match a filter are hidden.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from app.web import display_text
from app.web.dashboard.board_query import BoardQuery
from app.web.dashboard.sparklines import Trend
from app.web.dashboard.view_models import Tile
from app.web.listing import build_url

MIN_DENSE_SERVICES = 24  # with this many services, verified ones become one-line rows
MIN_ARRANGED_SERVICES = 8  # with fewer, nothing needs to be found
View = Literal["auto", "tiles", "table"]
VIEWS: Mapping[str, View] = {"auto": "auto", "tiles": "tiles", "table": "table"}

# Of each order, with the words of all kinds of services.
_COUNTED_STATES = {"waiting": ("queued",), "running": ("running", "started"), "failed": ("failed",)}
_STATUS_ORDER = ("discrepancy", "stale", "unknown", "verified")


@dataclass(frozen=True, slots=True)
class TileGroup:
    title: str
    tiles: tuple[Tile, ...]


@dataclass(frozen=True, slots=True)
class Board:
    """`groups`: the shown tiles; one group without a title if they are not grouped. `hidden`: those that do not match;
    of these, `nearly` match but for their state, which can change. `kinds`: of all services."""

    groups: tuple[TileGroup, ...]
    trends: Mapping[str, Trend] = field(default_factory=dict)
    hidden: tuple[Tile, ...] = ()
    nearly: frozenset[str] = frozenset()
    kinds: tuple[str, ...] = ()
    query: BoardQuery = field(default_factory=BoardQuery)
    view: View = "auto"

    @property
    def kind_choices(self) -> list[tuple[str, str]]:
        """The kinds to choose from, with that of the address, even if no service has it."""
        return [(kind, kind) for kind in sorted({*self.kinds, *filter(None, [self.query.kind])})]

    def all_url(self, others: Mapping[str, str]) -> str:
        """The address of the dashboard with all services; `others` are the parameters of its list of changes."""
        return build_url("/", others)

    @property
    def shown(self) -> tuple[Tile, ...]:
        return tuple(tile for group in self.groups for tile in group.tiles)

    @property
    def total(self) -> int:
        return len(self.shown) + len(self.hidden)

    @property
    def layout(self) -> Literal["tiles", "mixed", "table"]:
        """`mixed`: wholly verified services are rows below the other tiles, which keeps neither order nor groups."""
        if self.view != "auto" and self.total >= MIN_ARRANGED_SERVICES:
            return self.view
        if len(self.shown) < MIN_DENSE_SERVICES:
            return "tiles"
        return "mixed" if self.query.is_default else "table"

    @property
    def is_dense(self) -> bool:
        return self.layout == "mixed"

    @property
    def has_controls(self) -> bool:
        return not self.query.is_default or self.total >= MIN_DENSE_SERVICES

    @property
    def offers_controls(self) -> bool:
        """True if they are one press away: with some services they would only take room."""
        return not self.has_controls and self.total >= MIN_ARRANGED_SERVICES

    @property
    def verified_count(self) -> int:
        return sum(not tile.shown_in_full for tile in self.shown)

    @classmethod
    def from_tiles(cls, tiles: Sequence[Tile], trends: Mapping[str, Trend]) -> Self:
        return cls.arrange(tiles, trends, BoardQuery(), "auto", ())

    @classmethod
    def arrange(
        cls,
        tiles: Sequence[Tile],
        trends: Mapping[str, Trend],
        query: BoardQuery,
        view: View,
        failing: Collection[str],
    ) -> Self:
        """`tiles` by name; `failing`: the ids of services whose failed jobs need attention. Keeps only the trends of
        tiles that show one."""
        named = [tile for tile in tiles if _matches_name_and_kind(tile, query)]
        shown = [tile for tile in named if matches_state(tile.status, tile.service_id in failing, query.state)]
        ids = {tile.service_id for tile in shown}
        board = cls(
            _group(sorted(shown, key=_sort_key(query.by, failing)), query.group),
            {},
            tuple(tile for tile in tiles if tile.service_id not in ids),
            frozenset(tile.service_id for tile in named if tile.service_id not in ids),
            tuple(sorted({tile.kind for tile in tiles if tile.kind})),
            query,
            view,
        )
        return replace(board, trends=board._keep_shown(trends))

    def _keep_shown(self, trends: Mapping[str, Trend]) -> dict[str, Trend]:
        layout = self.layout
        wanted = {
            tile.service_id for tile in self.shown if layout == "tiles" or (layout == "mixed" and tile.shown_in_full)
        }
        return {service: trend for service, trend in trends.items() if service in wanted}


def matches_state(status: str, is_failing: bool, wanted: str) -> bool:
    """`static/js/pages/board_rules.js` decides the same for services whose state changes."""
    if wanted == "wrong":
        return is_failing or status in ("discrepancy", "stale")
    if wanted == "failing":
        return is_failing
    return not wanted or status == wanted


def _matches_name_and_kind(tile: Tile, query: BoardQuery) -> bool:
    return query.name.casefold() in tile.name.casefold() and query.kind in ("", tile.kind)


def _sort_key(by: str, failing: Collection[str]) -> Callable[[Tile], Any]:
    """Equal ones stay in the order of their names. What is unknown comes last, and is never taken for 0."""
    if by == "name":
        return lambda _tile: 0
    if by == "worst":
        return lambda tile: _badness(tile, tile.service_id in failing)
    states = _COUNTED_STATES[by]
    return lambda tile: -max((tile.counts or {}).get(state, -math.inf) for state in states)


def _badness(tile: Tile, is_failing: bool) -> int:
    """As in the attention strip: discrepancies, failing jobs, stale services; then what is not wholly checked."""
    if tile.status == "discrepancy":
        return 0
    if is_failing:
        return 1
    if tile.status == "stale":
        return 2
    return 3 if tile.is_limited else 3 + _STATUS_ORDER.index(tile.status)


def _group(tiles: Sequence[Tile], by: str) -> tuple[TileGroup, ...]:
    if not by:
        return (TileGroup("", tuple(tiles)),)
    found: dict[str, list[Tile]] = {}
    for tile in tiles:
        found.setdefault(tile.status if by == "state" else tile.kind, []).append(tile)
    if by == "kind":
        return tuple(TileGroup(kind, tuple(found[kind])) for kind in sorted(found))
    return tuple(
        TileGroup(display_text.STATE_WORDS[status], tuple(found[status])) for status in _STATUS_ORDER if status in found
    )
