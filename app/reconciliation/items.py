"""The life of open items: what opens one, what closes one. Pure."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from app.reconciliation.state import CloseHow, Closing, Evidence, Heard, Item, ItemKind, Known

EXPIRES = timedelta(days=1)
# A source that cannot tell finished from vanished may leave thousands of these an hour: the oldest go first.
MAX_UNACCOUNTED = 1_000


def opened_items(known: Known, rulings: Mapping[str, str], now: datetime) -> list[Item]:
    kinds: tuple[ItemKind, ...] = ("missing", "unaccounted")
    items: list[Item] = []
    for kind in kinds:
        ruled = [known.jobs[job_id] for job_id, ruling in rulings.items() if ruling == kind]
        bound = len(ruled) if kind == "missing" else MAX_UNACCOUNTED
        items += [Item(job.id, kind, now, job.state, job.queue) for job in ruled[:bound]]
    return [item for item in items if item.key not in known.items]


def closed_items(
    known: Known, heard: Heard, evidence: Evidence, opened: Iterable[Item], now: datetime
) -> list[Closing]:
    ends = ((item, _close_how(item, heard, evidence, now)) for item in known.items.values())
    closed = [Closing(item, how) for item, how in ends if how is not None]
    left = [item for item in still_open(known, opened, closed) if item.kind == "unaccounted"]
    left.sort(key=lambda item: item.since)
    overflow = left[: max(0, len(left) - MAX_UNACCOUNTED)]
    return closed + [Closing(item, "expired") for item in overflow if item.key in known.items]


def _close_how(item: Item, heard: Heard, evidence: Evidence, now: datetime) -> CloseHow | None:
    second, fate = evidence.second, evidence.fates.get(item.job_id)
    shown = (second.find(item.job_id) if second else None) or heard.find(item.job_id)
    if shown is not None:
        return "finished" if shown[1] else "reappeared"
    if fate is not None and fate.kind == "found":
        return "reappeared"
    if item.job_id in evidence.explained or (fate is not None and fate.kind == "finished"):
        return "finished"
    return "expired" if now - item.since >= EXPIRES else None


def still_open(known: Known, opened: Iterable[Item], closed: Iterable[Closing]) -> list[Item]:
    ended = {closing.item.key for closing in closed}
    return [item for item in (*known.items.values(), *opened) if item.key not in ended]
