"""Where a bound cut the lists of a look: whose absence means nothing, and since when. Pure."""

from collections.abc import Mapping
from datetime import datetime

from app.reconciliation.types import ALL_QUEUES, CheckEvidence, HiddenQueues, KnownState, Observation


class ListBounds:
    """Whose absence from a look means nothing, because a bound cut the list that would show them."""

    def __init__(self, heard: Observation, evidence: CheckEvidence) -> None:
        self.unfinished = heard.hidden(finished=False)
        # For finished jobs a look-up by id replaces the list.
        self.finished = HiddenQueues() if evidence.finished_visible == "lookup" else heard.hidden(finished=True)
        self.is_cut = bool(self.unfinished or self.finished)

    def may_hide(self, queue: str | None) -> bool:
        return self.is_cut and (self.unfinished.includes(queue) or self.finished.includes(queue))


def update_cut_since(known: KnownState, heard: Observation) -> Mapping[str, datetime]:
    """Since when which queues are hidden: from the last look on that showed them whole."""
    hidden = heard.hidden(finished=False)
    queues = [*sorted(hidden.queues), *([ALL_QUEUES] if hidden.everything else [])]
    whole = known.heard_at or heard.began
    everything = known.cut_since.get(ALL_QUEUES)
    return {queue: known.cut_since.get(queue) or everything or whole for queue in queues}
