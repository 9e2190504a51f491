"""A fall of a service's own numbers that no work can explain: its store was emptied, restored or replaced. Pure.

What single jobs prove is proven elsewhere. This is for those that nobody knew one by one, and so that a great loss has
its cause beside its items: without it, a store that was emptied looks as if all work were done.
"""

from datetime import datetime, timedelta

from app.reconciliation.types import Evidence, Figures, Heard, Known, Loss
from app.sources.protocol import ServiceSnapshot

# Fewer jobs than this are somebody's afternoon, and known one by one.
SOME = 10
# Jobs a second that no set of workers gets done, and for how long they have at least had time.
PACE = 1_000
LEAST = timedelta(seconds=5)
EXPIRES = timedelta(days=1)


def figures_of(look: ServiceSnapshot) -> Figures:
    """What is counted and not listed has ended: every source lists what has not."""
    going = {listing.state for listing in look.listings if not listing.finished}
    unfinished = sum(number for state, number in look.counts.items() if state in going)
    workers = None if look.workers is None else sum(worker.state != "dead" for worker in look.workers)
    return Figures(unfinished, sum(look.counts.values()) - unfinished, workers, look.queues)


def follow(known: Known, heard: Heard, evidence: Evidence, now: datetime) -> Loss | None:
    """The loss that is open after this look: a new one, or the one from before until as many jobs are there again."""
    after, before = figures_of(heard.look), known.loss
    if known.figures is not None and not evidence.purged and has_fallen(known, heard, evidence):
        return Loss(now, known.figures.jobs, after.jobs)
    if before is None or after.jobs >= before.before or now - before.since >= EXPIRES:
        return None
    return before


def has_fallen(known: Known, heard: Heard, evidence: Evidence) -> bool:
    """Whether more is gone since the last look than work can explain; a command may still have removed it."""
    before, after = known.figures, figures_of(heard.look)
    if before is None or before.jobs < SOME or after.jobs >= before.jobs:
        return False
    return (
        _is_emptied(before, after)
        or _is_replaced(known, before, after, heard)
        or _is_too_fast(known, before, after, heard, evidence)
    )


def _is_emptied(before: Figures, after: Figures) -> bool:
    """Jobs, those that had ended too, queues and workers went together: no work takes a queue away."""
    if before.queues is None or after.queues is None:
        return False
    fewer_workers = not before.workers or after.workers is None or after.workers < before.workers
    return after.queues < before.queues and after.jobs * 10 <= before.jobs and fewer_workers


def _is_replaced(known: Known, before: Figures, after: Figures, heard: Heard) -> bool:
    """Another run of the store answers, with half of what waited at most, and with fewer jobs that ended."""
    if known.instance_id is None or heard.look.instance_id in (None, known.instance_id):
        return False
    return before.unfinished >= SOME and after.unfinished * 2 <= before.unfinished and after.ended < before.ended


def _is_too_fast(known: Known, before: Figures, after: Figures, heard: Heard, evidence: Evidence) -> bool:
    """More were gone than could have been done. Not where the service says of each by its id what became of it."""
    if known.heard_at is None or (evidence.finished_visible == "lookup" and not known.cut_since):
        return False
    gone = before.unfinished - after.unfinished - max(0, after.ended - before.ended)
    return gone > PACE * max(LEAST, heard.ended - known.heard_at).total_seconds()
