"""Finds queues with waiting jobs and no living worker, and reports those that stay so. Pure.

Every deploy leaves queues without a worker for a while, so a queue is reported only after `CheckEvidence.unserved_for`.
If a source cannot tell (a worker has not answered), nothing is reported and earlier results stay.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from app.eventlog.event_types import ReconciliationUpdate
from app.infra.clock import display_text
from app.reconciliation.findings import IdsByKind, truncate_ids
from app.reconciliation.known_state import KnownState
from app.reconciliation.types import NO_CONTEXT, CheckEvidence, FindingContext, FindingContexts, Observation
from app.sources.protocol import UnservedQueue

MAX_QUEUES = 1_000
MAX_QUEUE_NAME_CHARS = 200
# Size limit in an event; a name is about ten bytes. The newest queues come first, so that they are not cut off.
MAX_NAMES_BYTES = 2_000
_MAX_DESCRIBED_QUEUES = 3


@dataclass(frozen=True, slots=True)
class UnservedQueues:
    """`since` is when each queue was first seen so; `lasting` are the reported ones, the newest first."""

    since: Mapping[str, datetime]
    lasting: Sequence[UnservedQueue] = ()

    @property
    def found(self) -> IdsByKind:
        return {"no-worker": []} if self.lasting else {}

    @property
    def contexts(self) -> FindingContexts:
        if not self.lasting:
            return NO_CONTEXT
        names = tuple(truncate_ids((queue.name for queue in self.lasting), MAX_NAMES_BYTES))
        first = min(self.since[queue.name] for queue in self.lasting)
        return {"no-worker": FindingContext(sum(queue.waiting for queue in self.lasting), self._note(), names, first)}

    def _note(self) -> str:
        said = [
            f"{queue.name} since {display_text(self.since[queue.name])}{f', {queue.why}' if queue.why else ''}"
            for queue in self.lasting[:_MAX_DESCRIBED_QUEUES]
        ]
        left = len(self.lasting) - _MAX_DESCRIBED_QUEUES
        return "; ".join([*said, f"and {left:,} more"] if left > 0 else said)


def update_unserved_queues(known: KnownState, observation: Observation, evidence: CheckEvidence) -> UnservedQueues:
    """The unserved queues after this snapshot."""
    unserved = observation.look.unserved
    if unserved is None:
        return UnservedQueues(known.unserved_since)
    shown = [queue._replace(name=_printable(queue.name)) for queue in unserved[:MAX_QUEUES] if queue.waiting > 0]
    queues = {queue.name: queue for queue in shown}
    before = _seen_before(known, observation, evidence)
    since = {name: before.get(name, observation.began) for name in sorted(queues)}
    late = [name for name in since if observation.began - since[name] >= evidence.unserved_for]
    late.sort(key=since.__getitem__, reverse=True)  # stable: equal times stay sorted by name
    return UnservedQueues(since, [queues[name] for name in late])


def read_published_queues(last_published: ReconciliationUpdate | None) -> frozenset[str]:
    """The queues of the newest event."""
    findings = (last_published.findings if last_published else None) or []
    return frozenset(queue for one in findings for queue in one.queues or ())


def _seen_before(known: KnownState, observation: Observation, evidence: CheckEvidence) -> Mapping[str, datetime]:
    """After a long time without a snapshot workers may have come and gone: only published queues are kept."""
    if known.heard_at is not None and observation.began - known.heard_at <= evidence.unserved_for:
        return known.unserved_since
    published = read_published_queues(known.last_published)
    return {name: at for name, at in known.unserved_since.items() if name in published}


def _printable(name: str) -> str:
    """Queue names are untrusted: anyone with access to the service's store can choose them."""
    return "".join(sign if sign.isprintable() else " " for sign in name[:MAX_QUEUE_NAME_CHARS])
