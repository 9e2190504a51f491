"""Builds the summary sentence above the tiles.

`static/js/ui/summary_text.js` builds the same sentence from the tiles on the screen; `tests/web/summaries.json`
is the table that both are tested against.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from app.web.dashboard.view_models import Tile

# Worst first: the first state that occurs is the overall state.
_STATE_TEXTS = {"discrepancy": "in discrepancy", "stale": "stale", "unknown": "not checked yet", "verified": "verified"}


@dataclass(frozen=True, slots=True)
class Summary:
    """`oldest_check` is set only if every service is verified; otherwise the age would belong to the wrong service."""

    state: str
    words: str
    title: str
    oldest_check: str | None = None

    @classmethod
    def from_tiles(cls, tiles: Sequence[Tile]) -> Self:
        counted = Counter(tile.status for tile in tiles)
        oldest = min((tile.check.at for tile in tiles if tile.check), default=None)
        wrong = counted["discrepancy"] + counted["stale"]
        return cls(
            next((state for state in _STATE_TEXTS if counted[state]), "unknown"),
            _build_sentence(counted, len(tiles)),
            f"● {wrong} wrong · Beacon" if wrong else "Beacon",
            oldest if tiles and counted["verified"] == len(tiles) else None,
        )


def _build_sentence(counted: Counter[str], total: int) -> str:
    if total == 0:
        return "No service is watched yet"
    if counted["verified"] == total:
        return "1 service verified" if total == 1 else f"All {total} services verified"
    parts = [f"{counted[state]} {words}" for state, words in _STATE_TEXTS.items() if counted[state]]
    return f"{total} {'service' if total == 1 else 'services'}: {', '.join(parts)}"
