"""The state of the flag as the rollout page shows it: what was written and what the workers have loaded. Pure."""

from dataclasses import dataclass
from typing import Self

from app.flags.document import Rollout
from app.flags.provider import FlagView
from app.flags.worker_state import WorkerAgreement
from app.rollout.change_text import describe_in_force, describe_percentage, describe_rollout


@dataclass(frozen=True, slots=True)
class ClaimedState:
    """`figure` and `words` form the sentence; `written` and `in_force` are the two states behind it.

    `is_in_force`: all known workers have loaded what was written. `still_lets_in`: the flag was switched off, but a
    worker still lets people in. `why_nobody`: why nobody is in although the flag is on.
    """

    figure: str
    words: str
    written: str
    in_force: str
    is_in_force: bool
    still_lets_in: bool
    why_nobody: str

    @classmethod
    def of(cls, view: FlagView, override: str | None, holding: WorkerAgreement | None) -> Self:
        now, in_force = view.state, describe_in_force(holding)
        is_in_force = holding is None or holding.is_complete
        lets_in = not now.enabled and holding is not None and holding.lets_anyone_in
        if override is not None:
            words = f"kept{'' if now.enabled else ' and switched off'}; the setting decides"
        elif lets_in:
            words = f"kept; switched off, and not in force yet: {in_force}"
        elif not now.enabled:
            words = "kept; switched off, nobody is in"
        else:
            words = view.outcome.describe_people(now) if is_in_force else f"written; in force: {in_force}"
        written = describe_rollout(Rollout(now.enabled, now.percentage))
        nobody = view.outcome.why_nobody if now.enabled and override is None else None
        return cls(describe_percentage(now.percentage), words, written, in_force, is_in_force, lets_in, nobody or "")
