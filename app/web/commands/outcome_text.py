"""Texts for the outcome of a command: whether its effect was checked and observed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.commands.models import CommandRow


@dataclass(frozen=True, slots=True)
class OutcomeText:
    """A state, its label, and the sentence that explains it."""

    state: str
    label: str
    sentence: str


VERIFIED = OutcomeText("verified", "Verified", "Beacon checked the service and observed the effect")
NOT_OBSERVED = OutcomeText("warning", "Not verified", "Beacon checked the service and did not observe the full effect")
NOT_CHECKED = OutcomeText("warning", "Not verified", "The effect was not checked")
NOTHING_DONE = OutcomeText("warning", "Nothing done", "Nothing was done, so there was no effect to check")
OUTCOME_UNKNOWN = OutcomeText(
    "warning", "Not verified", "The service did not respond, and checking it did not show whether the command was done"
)


def describe_outcome(row: CommandRow, *, has_unanswered: bool) -> OutcomeText:
    """`has_unanswered`: whether the outcome of any item is unknown."""
    if row.verified:
        return VERIFIED
    if not _was_checked(row):
        return NOT_CHECKED
    if row.done > 0:
        return NOT_OBSERVED
    return OUTCOME_UNKNOWN if has_unanswered else NOTHING_DONE


def _was_checked(row: CommandRow) -> bool:
    """An aborted command has no `counts` afterwards; a checked one has them, even if they are unknown."""
    after: Mapping[str, Any] = json.loads(row.after_json or "{}")
    return "counts" in after
