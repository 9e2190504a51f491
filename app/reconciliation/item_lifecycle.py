"""The life of open items: what opens one, what closes one. Pure."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from itertools import chain

from app.reconciliation.types import (
    Breathe,
    CloseHow,
    Closing,
    Evidence,
    Heard,
    Item,
    ItemKey,
    ItemKind,
    Known,
    no_pause,
    slices,
)

EXPIRES = timedelta(days=1)
# A source that cannot tell finished from vanished may leave thousands of these an hour: the oldest go first.
MAX_UNACCOUNTED = 1_000


def opened_items(known: Known, rulings: Mapping[str, str], now: datetime, breathe: Breathe = no_pause) -> list[Item]:
    kinds: tuple[ItemKind, ...] = ("missing", "unaccounted")
    items: list[Item] = []
    for kind in kinds:
        ruled: list[str] = []
        for part in slices(rulings.items()):
            ruled += [job_id for job_id, ruling in part if ruling == kind]
            breathe()
        bound = len(ruled) if kind == "missing" else MAX_UNACCOUNTED
        for ids in slices(ruled[:bound]):
            jobs = [known.job(job_id) for job_id in ids if (job_id, kind) not in known.items]
            items += [Item(job.id, kind, now, job.state, job.queue) for job in jobs]
            breathe()
    return items


def closed_items(
    known: Known, heard: Heard, evidence: Evidence, opened: Iterable[Item], now: datetime, breathe: Breathe = no_pause
) -> list[Closing]:
    closed: list[Closing] = []
    for items in slices(known.items.values()):
        ends = ((item, _close_how(known, item, heard, evidence, now)) for item in items)
        closed += [Closing(item, how) for item, how in ends if how is not None]
        breathe()
    left = _of_kind("unaccounted", still_open(known, opened, closed, breathe), breathe)
    left.sort(key=lambda item: item.since)  # few: there is a bound
    overflow = left[: max(0, len(left) - MAX_UNACCOUNTED)]
    return closed + [Closing(item, "expired") for item in overflow if item.key in known.items]


def after(
    known: Known, opened: Iterable[Item], closed: Iterable[Closing], breathe: Breathe = no_pause
) -> Mapping[ItemKey, Item]:
    """The open items once these were opened and closed."""
    if not opened and not closed:
        return known.items
    left: dict[ItemKey, Item] = {}
    for items in slices(still_open(known, opened, closed, breathe)):
        left.update((item.key, item) for item in items)
        breathe()
    return left


def _of_kind(kind: ItemKind, items: Iterable[Item], breathe: Breathe) -> list[Item]:
    found: list[Item] = []
    for part in slices(items):
        found += [item for item in part if item.kind == kind]
        breathe()
    return found


def _close_how(known: Known, item: Item, heard: Heard, evidence: Evidence, now: datetime) -> CloseHow | None:
    if item.kind == "extra":
        return _close_extra(known, item, heard, now)
    second, fate = evidence.second, evidence.fates.get(item.job_id)
    shown = (second.find(item.job_id) if second else None) or heard.find(item.job_id)
    if shown is not None:
        return "finished" if shown[1] else "reappeared"
    if fate is not None and fate.kind == "found":
        return "reappeared"
    if item.job_id in evidence.explained or (fate is not None and fate.kind == "finished"):
        return "finished"
    return "expired" if now - item.since >= EXPIRES else None


def _close_extra(known: Known, item: Item, heard: Heard, now: datetime) -> CloseHow | None:
    """Its service no longer shows it, or took it up again. Nothing follows from a list that was cut."""
    notice, shown = known.notices.get(item.job_id), heard.find(item.job_id)
    if notice is not None and notice.is_alive:
        return "requeued"
    if shown is not None:
        return "finished" if shown[1] else None
    if not heard.hidden(finished=False).has(item.queue):
        return "finished"
    return "expired" if now - item.since >= EXPIRES else None


def still_open(
    known: Known, opened: Iterable[Item], closed: Iterable[Closing], breathe: Breathe = no_pause
) -> list[Item]:
    ended: set[ItemKey] = set()
    for closings in slices(closed):
        ended.update(closing.item.key for closing in closings)
        breathe()
    left: list[Item] = []
    for items in slices(chain(known.items.values(), opened)):
        left += [item for item in items if item.key not in ended]
        breathe()
    return left
