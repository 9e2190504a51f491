"""Decides which open items are opened and closed. Pure."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from itertools import chain

from app.reconciliation.known_state import CloseHow, ItemClosing, ItemKey, ItemKind, KnownState, TrackedItem
from app.reconciliation.types import CheckEvidence, Observation, Pause, iter_slices, no_pause

ITEM_EXPIRES_AFTER = timedelta(days=1)
# A source that cannot tell finished from vanished may produce thousands an hour: the oldest are closed first.
MAX_UNACCOUNTED = 1_000


def find_items_to_open(
    known: KnownState, rulings: Mapping[str, str], now: datetime, pause: Pause = no_pause
) -> list[TrackedItem]:
    kinds: tuple[ItemKind, ...] = ("missing", "unaccounted")
    items: list[TrackedItem] = []
    for kind in kinds:
        ruled: list[str] = []
        for part in iter_slices(rulings.items()):
            ruled += [job_id for job_id, ruling in part if ruling == kind]
            pause()
        bound = len(ruled) if kind == "missing" else MAX_UNACCOUNTED
        for ids in iter_slices(ruled[:bound]):
            jobs = [known.job(job_id) for job_id in ids if (job_id, kind) not in known.items]
            items += [TrackedItem(job.id, kind, now, job.state, job.queue) for job in jobs]
            pause()
    return items


def find_items_to_close(
    known: KnownState,
    observation: Observation,
    evidence: CheckEvidence,
    opened: Iterable[TrackedItem],
    now: datetime,
    pause: Pause = no_pause,
) -> list[ItemClosing]:
    closed: list[ItemClosing] = []
    for items in iter_slices(known.items.values()):
        ends = ((item, _closing_cause(known, item, observation, evidence, now)) for item in items)
        closed += [ItemClosing(item, how) for item, how in ends if how is not None]
        pause()
    left = _filter_by_kind("unaccounted", list_still_open(known, opened, closed, pause), pause)
    left.sort(key=lambda item: item.since)  # few: MAX_UNACCOUNTED
    overflow = left[: max(0, len(left) - MAX_UNACCOUNTED)]
    return closed + [ItemClosing(item, "expired") for item in overflow if item.key in known.items]


def apply_changes(
    known: KnownState, opened: Iterable[TrackedItem], closed: Iterable[ItemClosing], pause: Pause = no_pause
) -> Mapping[ItemKey, TrackedItem]:
    """The open items after these were opened and closed."""
    if not opened and not closed:
        return known.items
    left: dict[ItemKey, TrackedItem] = {}
    for items in iter_slices(list_still_open(known, opened, closed, pause)):
        left.update((item.key, item) for item in items)
        pause()
    return left


def _filter_by_kind(kind: ItemKind, items: Iterable[TrackedItem], pause: Pause) -> list[TrackedItem]:
    found: list[TrackedItem] = []
    for part in iter_slices(items):
        found += [item for item in part if item.kind == kind]
        pause()
    return found


def _closing_cause(
    known: KnownState, item: TrackedItem, observation: Observation, evidence: CheckEvidence, now: datetime
) -> CloseHow | None:
    if item.kind == "extra":
        return _closing_cause_of_extra(known, item, observation, now)
    second, fate = evidence.second, evidence.lookups.get(item.job_id)
    shown = (second.find(item.job_id) if second else None) or observation.find(item.job_id)
    if shown is not None:
        return "finished" if shown[1] else "reappeared"
    if fate is not None and fate.kind == "found":
        return "reappeared"
    if item.job_id in evidence.explained or (fate is not None and fate.kind == "finished"):
        return "finished"
    return "expired" if now - item.since >= ITEM_EXPIRES_AFTER else None


def _closing_cause_of_extra(
    known: KnownState, item: TrackedItem, observation: Observation, now: datetime
) -> CloseHow | None:
    """Its service no longer shows it, or queued it again. Nothing follows from a list that was cut."""
    notice, shown = known.notices.get(item.job_id), observation.find(item.job_id)
    if notice is not None and notice.is_alive:
        return "requeued"
    if shown is not None:
        return "finished" if shown[1] else None
    if not observation.hidden(finished=False).includes(item.queue):
        return "finished"
    return "expired" if now - item.since >= ITEM_EXPIRES_AFTER else None


def list_still_open(
    known: KnownState, opened: Iterable[TrackedItem], closed: Iterable[ItemClosing], pause: Pause = no_pause
) -> list[TrackedItem]:
    ended: set[ItemKey] = set()
    for closings in iter_slices(closed):
        ended.update(closing.item.key for closing in closings)
        pause()
    left: list[TrackedItem] = []
    for items in iter_slices(chain(known.items.values(), opened)):
        left += [item for item in items if item.key not in ended]
        pause()
    return left
