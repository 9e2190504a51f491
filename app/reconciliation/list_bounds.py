"""Tells which jobs a list bound hides from a snapshot, and since when. Pure."""

from collections.abc import Mapping
from datetime import datetime

from app.reconciliation.known_state import ALL_QUEUES, KnownState
from app.reconciliation.types import CheckEvidence, HiddenQueues, Observation


class ListBounds:
    """The jobs whose absence proves nothing, because a bound cut the list that would show them."""

    def __init__(self, observation: Observation, evidence: CheckEvidence) -> None:
        self.unfinished = observation.hidden(finished=False)
        # For finished jobs a lookup by id replaces the list.
        self.finished = HiddenQueues() if evidence.finished_visible == "lookup" else observation.hidden(finished=True)
        self.is_cut = bool(self.unfinished or self.finished)

    def may_hide(self, queue: str | None) -> bool:
        return self.is_cut and (self.unfinished.includes(queue) or self.finished.includes(queue))


def update_cut_since(known: KnownState, observation: Observation) -> Mapping[str, datetime]:
    """Since when each queue is hidden: since the last snapshot that showed it completely."""
    hidden = observation.hidden(finished=False)
    queues = [*sorted(hidden.queues), *([ALL_QUEUES] if hidden.everything else [])]
    whole = known.heard_at or observation.began
    everything = known.cut_since.get(ALL_QUEUES)
    return {queue: known.cut_since.get(queue) or everything or whole for queue in queues}
