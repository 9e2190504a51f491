import json
from dataclasses import replace
from pathlib import Path

import pytest

from app.web.dashboard.summary_text import Summary
from app.web.dashboard.view_models import Tile
from tests.web.payloads import update

# tests/js/ui/summary_text.test.js reads the same table: first render and scripts may not disagree.
CASES = json.loads((Path(__file__).parent / "summaries.json").read_text())


def tile(state: str) -> Tile:
    return replace(Tile.from_payload("mail", "Mail", update()), state=state)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["words"])
def test_the_sentence_and_the_state_of_the_whole(case: dict[str, object]) -> None:
    summary = Summary.from_tiles([tile(state) for state in case["states"]])  # type: ignore[attr-defined]
    assert (summary.words, summary.state) == (case["words"], case["state"])
    assert summary.title == (f"● {case['wrong']} wrong · Beacon" if case["wrong"] else "Beacon")


def test_an_aged_tile_counts_as_stale() -> None:
    assert Summary.from_tiles([replace(tile("verified"), is_aged=True)]).words == "1 service: 1 stale"


def test_the_oldest_check_is_named_only_where_all_is_verified() -> None:
    assert Summary.from_tiles([tile("verified")]).oldest_check == "2026-11-21T12:03:05.000Z"
    assert Summary.from_tiles([tile("verified"), tile("stale")]).oldest_check is None
