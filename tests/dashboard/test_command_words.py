"""How a command ended: no look is claimed that nobody made."""

import json

import pytest

from app.commands.models import CommandRow
from app.web.commands.outcome_text import ended

LOOKED = {"counts": None, "done": 0}


@pytest.mark.parametrize(
    ("verified", "done", "after", "unheard", "sentence"),
    [
        (True, 1, LOOKED, False, "Beacon looked afterwards and saw it"),
        (False, 1, LOOKED, False, "Beacon looked afterwards and did not see all of it"),
        (False, 0, LOOKED, False, "Nothing was done, so there was nothing to look for"),
        (False, 0, LOOKED, True, "No answer was heard, and looking did not tell whether it was done"),
        (False, 0, {}, False, "Nobody looked afterwards"),
        (False, 3, {}, True, "Nobody looked afterwards"),
        (False, 0, None, True, "Nobody looked afterwards"),
    ],
)
def test_the_end_of_a_command_says_what_was_looked_for(
    verified: bool, done: int, after: dict[str, object] | None, unheard: bool, sentence: str
) -> None:
    row = CommandRow(verified=verified, done=done, after_json=None if after is None else json.dumps(after))
    assert ended(row, unheard=unheard).sentence == sentence
