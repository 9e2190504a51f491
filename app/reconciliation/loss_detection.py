"""Detects falls of a service's counts that work cannot explain: a store emptied, restored or replaced. Pure.

Single missing jobs are proven elsewhere. This covers jobs that were not known one by one, and gives a great loss a
cause next to its items: otherwise an emptied store looks as if all work were done.
"""

from datetime import datetime, timedelta

from app.reconciliation.known_state import Figures, KnownState, Loss
from app.reconciliation.types import CheckEvidence, Observation
from app.sources.protocol import ServiceSnapshot

# A fall of fewer jobs is ignored: a person may have removed them, and they are known one by one.
MIN_JOBS = 10
# More jobs a second than any set of workers gets done, and the minimum time they are assumed to have had.
MAX_JOBS_DONE_PER_S = 1_000
MIN_INTERVAL = timedelta(seconds=5)
LOSS_EXPIRES_AFTER = timedelta(days=1)


def count_figures(look: ServiceSnapshot) -> Figures:
    """The figures of a snapshot. Jobs that are counted and not listed have ended: sources list all others."""
    going = {listing.state for listing in look.listings if not listing.finished}
    unfinished = sum(number for state, number in look.counts.items() if state in going)
    workers = None if look.workers is None else sum(worker.state != "dead" for worker in look.workers)
    return Figures(unfinished, sum(look.counts.values()) - unfinished, workers, look.queues)


def update_loss(known: KnownState, observation: Observation, evidence: CheckEvidence, now: datetime) -> Loss | None:
    """The loss that is open after this snapshot: a new one, or the old one until as many jobs are there again."""
    after, before = count_figures(observation.look), known.loss
    if known.figures is not None and not evidence.purged and has_fallen(known, observation, evidence):
        return Loss(now, known.figures.jobs, after.jobs)
    if before is None or after.jobs >= before.before or now - before.since >= LOSS_EXPIRES_AFTER:
        return None
    return before


def has_fallen(known: KnownState, observation: Observation, evidence: CheckEvidence) -> bool:
    """True if more jobs are gone since the last check than work can explain. A command may still have removed them."""
    before, after = known.figures, count_figures(observation.look)
    if before is None or before.jobs < MIN_JOBS or after.jobs >= before.jobs:
        return False
    return (
        _is_emptied(before, after, observation.look)
        or _is_replaced(known, before, after, observation)
        or _is_too_fast(known, before, after, observation, evidence)
    )


def _is_emptied(before: Figures, after: Figures, look: ServiceSnapshot) -> bool:
    """Jobs (also ended ones), queues and workers went together: work does not remove queues.

    Where a queue may be made for one batch and removed after it, only the workers tell. Where nothing but a person
    removes a queue, workers may notice nothing of an emptied store.
    """
    if before.queues is None or after.queues is None:
        return False
    fewer_workers = not before.workers or after.workers is None or after.workers < before.workers
    is_certain = look.queues_outlive_work or fewer_workers
    return after.queues < before.queues and after.jobs * 10 <= before.jobs and is_certain


def _is_replaced(known: KnownState, before: Figures, after: Figures, observation: Observation) -> bool:
    """Another run of the store answers, with at most half of the waiting jobs and with fewer ended ones."""
    if known.instance_id is None or observation.look.instance_id in (None, known.instance_id):
        return False
    return before.unfinished >= MIN_JOBS and after.unfinished * 2 <= before.unfinished and after.ended < before.ended


def _is_too_fast(
    known: KnownState, before: Figures, after: Figures, observation: Observation, evidence: CheckEvidence
) -> bool:
    """More jobs are gone than could have been done.

    Not used if the service can say what became of each job by its id.
    """
    if known.heard_at is None or (evidence.finished_visible == "lookup" and not known.cut_since):
        return False
    gone = before.unfinished - after.unfinished - max(0, after.ended - before.ended)
    return gone > MAX_JOBS_DONE_PER_S * max(MIN_INTERVAL, observation.ended - known.heard_at).total_seconds()
