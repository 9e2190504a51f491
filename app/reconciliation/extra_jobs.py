"""Finds jobs that their service published as finished and still shows as unfinished. Pure.

The event may be a moment ahead of the lists: the first snapshot that began after it and still shows the job sets a
mark, the next one declares the job extra. A job that was published as queued or started again since is not extra.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from app.reconciliation.known_state import KnownState, TrackedItem
from app.reconciliation.types import Observation

# How many may be open at a time; further ones keep their marks until there is room.
MAX_OPEN_EXTRA = 1_000


@dataclass(frozen=True, slots=True)
class ExtraJobs:
    """`marks` are jobs that one snapshot has contradicted so far, each with the id of its finish event."""

    marks: dict[str, int]
    opened: list[TrackedItem]


def update_extra_jobs(known: KnownState, observation: Observation, now: datetime) -> ExtraJobs:
    extras = ExtraJobs({}, [])
    room = MAX_OPEN_EXTRA - sum(item.kind == "extra" for item in known.items.values())
    for job_id, event_id in _iter_published_as_finished(known):
        shown = observation.find(job_id)
        if shown is None or shown[1] or (job_id, "extra") in known.items:
            continue
        if job_id in known.ended and len(extras.opened) < room:
            extras.opened.append(TrackedItem(job_id, "extra", now, shown[0].state, shown[0].queue))
        else:
            extras.marks[job_id] = event_id
    return extras


def _iter_published_as_finished(known: KnownState) -> Iterable[tuple[str, int]]:
    """Jobs whose newest event says that they finished."""
    for job_id, event_id in known.ended.items():
        notice = known.notices.get(job_id)
        if notice is None or notice.state == "finished":
            yield job_id, event_id
    for job_id, notice in known.notices.items():
        if notice.state == "finished" and job_id not in known.ended:
            yield job_id, notice.id
