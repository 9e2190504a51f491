"""Detects a state that changes too often: it is published once, and then only when it is calm again. Pure.

Every change of a service's status is counted, also while none is published. More than `MAX_ARRIVALS` arrivals of the
same bad status within `FLAPPING_WINDOW` are flapping. It ends after `CALM_AFTER` without a change, or with an outage of
`OUTAGE_AFTER`, which is published.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pydantic import TypeAdapter

from app.eventlog.event_types import Status

FLAPPING_WINDOW = timedelta(minutes=5)
CALM_AFTER = timedelta(minutes=5)
OUTAGE_AFTER = timedelta(minutes=1)
MAX_ARRIVALS = 3
# How many different counts of one service are remembered to recognise oscillation.
MAX_REMEMBERED_FIGURES = 16
_BY_SEVERITY: tuple[Status, ...] = ("verified", "stale", "discrepancy")


@dataclass(frozen=True, slots=True)
class StatusTurn:
    """The status became `status`. `figures` is a fingerprint of the counts at that time, `kinds` the kinds found."""

    at: datetime
    status: Status
    figures: str = ""
    kinds: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Flaps:
    """The recent changes of a service's status.

    `status` is the newest one found, whatever is shown. `turns` are those of the last `FLAPPING_WINDOW`; while it
    flaps, only the newest. `since` is the first turn of the flapping, None if it does not flap. `count` is how often a
    bad state came since then; `worst` is the worst of them, `kinds` and `figures` are what was found and which counts
    were seen.
    """

    status: Status | None = None
    turns: tuple[StatusTurn, ...] = ()
    since: datetime | None = None
    count: int = 0
    worst: Status = "verified"
    kinds: frozenset[str] = frozenset()
    figures: tuple[str, ...] = ()


_TEXT = TypeAdapter(Flaps)
NO_FLAPS = Flaps()


def update_flaps(flaps: Flaps, turn: StatusTurn) -> Flaps:
    """The flaps after a verdict; the same object if nothing changed."""
    if flaps.since is not None and _is_over(flaps, turn):
        flaps = Flaps(flaps.status)
    if flaps.status is None or turn.status == flaps.status:
        return flaps if flaps.status is not None else Flaps(turn.status)
    if flaps.since is None:
        return _add_turn(flaps, turn)
    return replace(
        remember(flaps, turn.figures, turn.kinds),
        status=turn.status,
        turns=(turn,),
        count=flaps.count + (turn.status != "verified"),
        worst=pick_worse(flaps.worst, turn.status),
    )


def _is_over(flaps: Flaps, turn: StatusTurn) -> bool:
    stays = OUTAGE_AFTER if turn.status == flaps.status == "stale" else CALM_AFTER
    return turn.at - flaps.turns[-1].at >= stays


def remember(flaps: Flaps, figures: str, kinds: Collection[str] = ()) -> Flaps:
    """While it flaps: add these figures and kinds to those already seen."""
    known = flaps.figures if figures in flaps.figures else (*flaps.figures, figures)[-MAX_REMEMBERED_FIGURES:]
    return replace(flaps, figures=known, kinds=flaps.kinds.union(kinds))


def pick_worse(one: Status, other: Status) -> Status:
    return max(one, other, key=_BY_SEVERITY.index)


def is_worse(one: Status, other: Status) -> bool:
    return _BY_SEVERITY.index(one) > _BY_SEVERITY.index(other)


def dump_flaps(flaps: Flaps) -> str:
    return _TEXT.dump_json(flaps).decode()


def load_flaps(text: str | None) -> Flaps:
    return Flaps() if text is None else _TEXT.validate_json(text)


def _add_turn(flaps: Flaps, turn: StatusTurn) -> Flaps:
    turns = (*(one for one in flaps.turns if turn.at - one.at < FLAPPING_WINDOW), turn)
    if turn.status == "verified" or sum(one.status == turn.status for one in turns) <= MAX_ARRIVALS:
        return Flaps(turn.status, turns)
    begun = Flaps(turn.status, (turn,), turns[0].at, sum(one.status != "verified" for one in turns))
    for one in turns:
        begun = replace(remember(begun, one.figures, one.kinds), worst=pick_worse(begun.worst, one.status))
    return begun
