"""Jobs that their service published as finished and still shows as unfinished. Pure.

The event may be a moment ahead of the lists: the first look that began after it and still shows the job leaves a mark,
the next one declares the job extra. A job that was published as queued or started again since is none.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from app.reconciliation.types import Breathe, Heard, Item, Known, no_pause, slices

# So many are open at a time; further ones keep their marks until there is room.
MAX_EXTRA = 1_000


@dataclass(frozen=True, slots=True)
class Extras:
    """`marks`: jobs that one look contradicted so far, each with the event that said it had finished."""

    marks: dict[str, int]
    opened: list[Item]


def follow(known: Known, heard: Heard, now: datetime, breathe: Breathe = no_pause) -> Extras:
    extras = Extras({}, [])
    room = MAX_EXTRA - _open_now(known, breathe)
    for published in slices(_published(known)):
        for job_id, event_id in published:
            shown = heard.find(job_id)
            if shown is None or shown[1] or (job_id, "extra") in known.items:
                continue
            if job_id in known.ended and len(extras.opened) < room:
                extras.opened.append(Item(job_id, "extra", now, shown[0].state, shown[0].queue))
            else:
                extras.marks[job_id] = event_id
        breathe()
    return extras


def _open_now(known: Known, breathe: Breathe) -> int:
    found = 0
    for items in slices(known.items.values()):
        found += sum(item.kind == "extra" for item in items)
        breathe()
    return found


def _published(known: Known) -> Iterable[tuple[str, int]]:
    """Jobs whose newest word is that they finished."""
    for job_id, event_id in known.ended.items():
        notice = known.notices.get(job_id)
        if notice is None or notice.said == "finished":
            yield job_id, event_id
    for job_id, notice in known.notices.items():
        if notice.said == "finished" and job_id not in known.ended:
            yield job_id, notice.id
