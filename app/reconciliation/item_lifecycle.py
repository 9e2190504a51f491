"""Decides which open items are opened and closed. Pure."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from itertools import chain

from app.reconciliation.known_state import CloseHow, ItemClosing, ItemKey, ItemKind, KnownState, TrackedItem
from app.reconciliation.types import CheckEvidence, Observation

ITEM_EXPIRES_AFTER = timedelta(days=1)
# A source that cannot tell finished from vanished may produce thousands an hour: the oldest are closed first.
MAX_UNACCOUNTED = 1_000


def find_items_to_open(known: KnownState, rulings: Mapping[str, str], now: datetime) -> list[TrackedItem]:
    kinds: tuple[ItemKind, ...] = ("missing", "unaccounted")
    items: list[TrackedItem] = []
    for kind in kinds:
        ruled = [job_id for job_id, ruling in rulings.items() if ruling == kind]
        bound = len(ruled) if kind == "missing" else MAX_UNACCOUNTED
        jobs = [known.job(job_id) for job_id in ruled[:bound] if (job_id, kind) not in known.items]
        items += [TrackedItem(job.id, kind, now, job.state, job.queue) for job in jobs]
    return items


def find_items_to_close(
    known: KnownState,
    observation: Observation,
    evidence: CheckEvidence,
    opened: Iterable[TrackedItem],
    now: datetime,
) -> list[ItemClosing]:
    ends = ((item, _closing_cause(known, item, observation, evidence, now)) for item in known.items.values())
    closed = [ItemClosing(item, how) for item, how in ends if how is not None]
    left = [item for item in list_still_open(known, opened, closed) if item.kind == "unaccounted"]
    left.sort(key=lambda item: item.since)  # few: MAX_UNACCOUNTED
    overflow = left[: max(0, len(left) - MAX_UNACCOUNTED)]
    return closed + [ItemClosing(item, "expired") for item in overflow if item.key in known.items]


def apply_changes(
    known: KnownState, opened: Iterable[TrackedItem], closed: Iterable[ItemClosing]
) -> Mapping[ItemKey, TrackedItem]:
    """The open items after these were opened and closed."""
    if not opened and not closed:
        return known.items
    return {item.key: item for item in list_still_open(known, opened, closed)}


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
    known: KnownState, opened: Iterable[TrackedItem], closed: Iterable[ItemClosing]
) -> list[TrackedItem]:
    ended = {closing.item.key for closing in closed}
    return [item for item in chain(known.items.values(), opened) if item.key not in ended]
