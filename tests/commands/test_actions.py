"""An action is described in one place: whoever adds one finds no other list of names to keep up."""

import re
from pathlib import Path

from app.commands.actions import ACTIONS
from app.sources.protocol import ACTION_NAMES

APP = Path(__file__).resolve().parents[2] / "app"


def test_every_action_that_a_source_can_be_asked_for_is_described() -> None:
    assert list(ACTIONS) == list(ACTION_NAMES)


def test_only_the_list_and_the_sources_know_an_action_by_its_name() -> None:
    named = re.compile("|".join(f'"{name}"' for name in ACTION_NAMES))
    knowing = {path.relative_to(APP) for path in APP.rglob("*.py") if named.search(path.read_text())}
    assert {path for path in knowing if path.parts[0] != "sources"} == {Path("commands/actions.py")}
