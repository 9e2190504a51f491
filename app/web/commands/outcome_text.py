"""How a command ended, in words: what was looked for afterwards, and what was seen of it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.commands.models import CommandRow


@dataclass(frozen=True, slots=True)
class Ended:
    """A state with its icon, its word, and the sentence behind it."""

    state: str
    word: str
    sentence: str


VERIFIED = Ended("verified", "Verified", "Beacon looked afterwards and saw it")
NOT_SEEN = Ended("warning", "Not verified", "Beacon looked afterwards and did not see all of it")
NO_LOOK = Ended("warning", "Not verified", "Nobody looked afterwards")
NOTHING_DONE = Ended("warning", "Nothing done", "Nothing was done, so there was nothing to look for")
NOT_KNOWN = Ended("warning", "Not verified", "No answer was heard, and looking did not tell whether it was done")


def ended(row: CommandRow, *, unheard: bool) -> Ended:
    """`unheard`: whether it touched anything of which nobody knows what became."""
    if row.verified:
        return VERIFIED
    if not _was_looked_for(row):
        return NO_LOOK
    if row.done > 0:
        return NOT_SEEN
    return NOT_KNOWN if unheard else NOTHING_DONE


def _was_looked_for(row: CommandRow) -> bool:
    """A command that was given up has no counts of afterwards, not even unknown ones."""
    after: Mapping[str, Any] = json.loads(row.after_json or "{}")
    return "counts" in after
