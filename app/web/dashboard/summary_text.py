"""The one sentence above the tiles. `static/js/summary.js` says the same from the tiles on the screen:
`tests/dashboard/summaries.json` holds both to one table."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from app.web.dashboard.view_models import Tile

# Worst first; the first that occurs is the state of the whole.
_WORDS = {"discrepancy": "in discrepancy", "stale": "stale", "unknown": "not checked yet", "verified": "verified"}


@dataclass(frozen=True, slots=True)
class Summary:
    """`oldest_check` only where everything is verified: elsewhere the age belongs to the wrong service."""

    state: str
    words: str
    title: str
    oldest_check: str | None = None

    @classmethod
    def of(cls, tiles: Sequence[Tile]) -> Self:
        counted = Counter(tile.status for tile in tiles)
        oldest = min((tile.check.at for tile in tiles if tile.check), default=None)
        wrong = counted["discrepancy"] + counted["stale"]
        return cls(
            next((state for state in _WORDS if counted[state]), "unknown"),
            _sentence(counted, len(tiles)),
            f"● {wrong} wrong · Beacon" if wrong else "Beacon",
            oldest if tiles and counted["verified"] == len(tiles) else None,
        )


def _sentence(counted: Counter[str], total: int) -> str:
    if total == 0:
        return "No service is watched yet"
    if counted["verified"] == total:
        return "1 service verified" if total == 1 else f"All {total} services verified"
    parts = [f"{counted[state]} {words}" for state, words in _WORDS.items() if counted[state]]
    return f"{total} {'service' if total == 1 else 'services'}: {', '.join(parts)}"
