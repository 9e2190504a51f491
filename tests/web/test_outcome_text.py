"""How a command ended: no check is claimed that nobody made."""

import json

import pytest

from app.commands.models import CommandRow
from app.web.commands.outcome_text import describe_outcome

LOOKED = {"counts": None, "done": 0}


@pytest.mark.parametrize(
    ("verified", "done", "after", "has_unanswered", "sentence"),
    [
        (True, 1, LOOKED, False, "Beacon checked the service and observed the effect"),
        (False, 1, LOOKED, False, "Beacon checked the service and did not observe the full effect"),
        (False, 0, LOOKED, False, "Nothing was done, so there was no effect to check"),
        (
            *(False, 0, LOOKED, True),
            "The service did not respond, and checking it did not show whether the command was done",
        ),
        (False, 0, {}, False, "The effect was not checked"),
        (False, 3, {}, True, "The effect was not checked"),
        (False, 0, None, True, "The effect was not checked"),
    ],
)
def test_the_end_of_a_command_says_what_was_looked_for(
    verified: bool, done: int, after: dict[str, object] | None, has_unanswered: bool, sentence: str
) -> None:
    row = CommandRow(verified=verified, done=done, after_json=None if after is None else json.dumps(after))
    assert describe_outcome(row, has_unanswered=has_unanswered).sentence == sentence
