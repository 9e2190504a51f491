"""A state that comes and goes too often: it is told once, and then not at every turn until it is calm. Pure.

Every turn of a service's status is followed, also while nobody is told of it. More than `MOST` arrivals of the same bad
status within `WINDOW` are flapping; `CALM` without a turn ends it, and so does an outage of `LASTS`, which is news.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pydantic import TypeAdapter

from app.eventlog.event_types import Status

WINDOW = timedelta(minutes=5)
CALM = timedelta(minutes=5)
LASTS = timedelta(minutes=1)
MOST = 3
# So many different figures of one service are taken for what goes round in a circle.
MAX_FIGURES = 16
_ORDER: tuple[Status, ...] = ("verified", "stale", "discrepancy")


@dataclass(frozen=True, slots=True)
class Turn:
    """The status became `status`. `figures` and `kinds`: the counts that it had then, and what was found."""

    at: datetime
    status: Status
    figures: str = ""
    kinds: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Flaps:
    """`status` is the one found last, whatever is shown. `turns`: of the last `WINDOW`; while it flaps, the newest.

    `since`: the first of the turns that were too many, None while it does not flap. `count`: how often a bad state came
    since then; `worst`, `kinds` and `figures`: the worst of them, what was found and the counts that were seen.
    """

    status: Status | None = None
    turns: tuple[Turn, ...] = ()
    since: datetime | None = None
    count: int = 0
    worst: Status = "verified"
    kinds: frozenset[str] = frozenset()
    figures: tuple[str, ...] = ()


_TEXT = TypeAdapter(Flaps)
NEVER = Flaps()


def follow(flaps: Flaps, turn: Turn) -> Flaps:
    """After a verdict; the same object where nothing happened."""
    if flaps.since is not None and _is_over(flaps, turn):
        flaps = Flaps(flaps.status)
    if flaps.status is None or turn.status == flaps.status:
        return flaps if flaps.status is not None else Flaps(turn.status)
    if flaps.since is None:
        return _turned(flaps, turn)
    return replace(
        note(flaps, turn.figures, turn.kinds),
        status=turn.status,
        turns=(turn,),
        count=flaps.count + (turn.status != "verified"),
        worst=worse(flaps.worst, turn.status),
    )


def _is_over(flaps: Flaps, turn: Turn) -> bool:
    stays = LASTS if turn.status == flaps.status == "stale" else CALM
    return turn.at - flaps.turns[-1].at >= stays


def note(flaps: Flaps, figures: str, kinds: Collection[str] = ()) -> Flaps:
    """While it flaps: these are known now."""
    known = flaps.figures if figures in flaps.figures else (*flaps.figures, figures)[-MAX_FIGURES:]
    return replace(flaps, figures=known, kinds=flaps.kinds.union(kinds))


def worse(one: Status, other: Status) -> Status:
    return max(one, other, key=_ORDER.index)


def is_worse(one: Status, other: Status) -> bool:
    return _ORDER.index(one) > _ORDER.index(other)


def to_text(flaps: Flaps) -> str:
    return _TEXT.dump_json(flaps).decode()


def from_text(text: str | None) -> Flaps:
    return Flaps() if text is None else _TEXT.validate_json(text)


def _turned(flaps: Flaps, turn: Turn) -> Flaps:
    turns = (*(one for one in flaps.turns if turn.at - one.at < WINDOW), turn)
    if turn.status == "verified" or sum(one.status == turn.status for one in turns) <= MOST:
        return Flaps(turn.status, turns)
    begun = Flaps(turn.status, (turn,), turns[0].at, sum(one.status != "verified" for one in turns))
    for one in turns:
        begun = replace(note(begun, one.figures, one.kinds), worst=worse(begun.worst, one.status))
    return begun
