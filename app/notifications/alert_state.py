"""What people have been told of a service that is not as it should be: repeats are hushed, what is new is not. Pure.

A discrepancy is told once `POLLS` polls have found it, and again when more of it lasts as long: a new kind then, more
jobs of a kind that was told after a pause that doubles each time. An outage is told when the service becomes stale,
which takes three polls already.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from app.infra.clock import parse_utc
from app.reconciliation import finding_text

# A single blip tells nobody anything: so many polls in a row must have found it.
POLLS = 3
FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=1), timedelta(hours=1)
# Of a kind so many jobs are remembered as told; beyond them their number is compared.
MOST_NAMED = 2_000
_NO_DISCREPANCY = frozenset({"unaccounted", "no-worker", "flapping", "rewound"})


@dataclass(frozen=True, slots=True)
class Named:
    """Jobs of one kind: how many, and which of them by name."""

    number: int = 0
    ids: tuple[str, ...] = ()


Kinds = Mapping[str, Named]


@dataclass(frozen=True, slots=True)
class Watch:
    """A discrepancy: since when; how many polls have found what people were not `told` of; the jobs that they were told
    of, by kind; how often they were, and when last."""

    service: str
    cause: str
    since: str
    checked_at: str
    polls: int = 1
    told: bool = False
    named: Kinds = field(default_factory=dict)
    notices: int = 0
    noticed_at: str | None = None


@dataclass(frozen=True, slots=True)
class Poll:
    """What a poll of a service found. `event_id` names the change that it was told with, if it was one. `is_flapping`:
    its state comes and goes, which lasts by itself."""

    service: str
    status: str
    checked_at: str
    event_id: str | None = None
    found: Kinds = field(default_factory=dict)
    is_flapping: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """The watch from now on (None: nothing is watched any more), and what happened: `lasts`, `grew` by what is `new`,
    `recovered` or nothing."""

    watch: Watch | None
    happened: str | None = None
    new: Kinds = field(default_factory=dict)


def step(watch: Watch | None, poll: Poll) -> Step:
    """One more poll. A poll that was counted already, or came late, changes nothing."""
    if poll.status == "discrepancy":
        return _found(watch, poll)
    if watch is None:
        return Step(None)
    if poll.status == "stale":  # nobody knows: what was told stands, what was only counted is no longer in a row
        return Step(replace(watch, told=True, polls=0) if watch.notices else None)
    return Step(None, "recovered" if watch.notices else None)


def _found(watch: Watch | None, poll: Poll) -> Step:
    if watch is None:
        cause = poll.event_id or f"{poll.service}@{poll.checked_at}"
        watch = Watch(poll.service, cause, poll.checked_at, poll.checked_at, polls=0)
    elif parse_utc(poll.checked_at) <= parse_utc(watch.checked_at):
        return Step(watch)
    new = untold(watch.named, poll.found)
    if watch.notices and not new:
        return Step(replace(watch, told=True, polls=0, checked_at=poll.checked_at))
    polls = 1 if watch.told else watch.polls + 1
    counted = replace(watch, polls=polls, told=False, checked_at=poll.checked_at)
    if counted.polls < (1 if poll.is_flapping else POLLS) or _is_paused(counted, new):
        return Step(counted)
    told = replace(
        counted,
        told=True,
        named=_with(watch.named, poll.found),
        notices=watch.notices + 1,
        noticed_at=poll.checked_at,
    )
    return Step(told, "grew" if watch.notices else "lasts", new)


def _is_paused(watch: Watch, new: Kinds) -> bool:
    """Whether more of what was told waits still: it may come job by job."""
    if watch.noticed_at is None or new.keys() - watch.named.keys():
        return False
    pause = min(FIRST_PAUSE * (1 << min(watch.notices - 1, 10)), LONGEST_PAUSE)
    return parse_utc(watch.checked_at) - parse_utc(watch.noticed_at) < pause


def found_in(payload: Mapping[str, Any]) -> Kinds:
    """What a `reconciliation.update` says is wrong, by kind."""
    findings = [one for one in payload.get("findings") or [] if one["kind"] not in _NO_DISCREPANCY]
    return {one["kind"]: Named(finding_text.count_jobs(one), tuple(one["jobIds"])) for one in findings}


def is_flapping(payload: Mapping[str, Any]) -> bool:
    return any(one["kind"] == "flapping" for one in payload.get("findings") or [])


def untold(named: Kinds, found: Kinds) -> Kinds:
    """What of it people were not told of."""
    new: dict[str, Named] = {}
    for kind, now in found.items():
        before = named.get(kind)
        if before is None:
            new[kind] = now
            continue
        known = set(before.ids)
        ids = tuple(job_id for job_id in now.ids if job_id not in known)
        whole = len(before.ids) >= before.number  # otherwise an id may be one that was told without its name
        number = len(ids) if whole and len(now.ids) >= now.number else now.number - before.number
        if number > 0:
            new[kind] = Named(number, ids)
    return new


def _with(named: Kinds, found: Kinds) -> Kinds:
    """Jobs that are gone stay told: seen again, they are no news."""
    after = dict(named)
    for kind, now in found.items():
        before = named.get(kind, Named())
        ids = tuple(dict.fromkeys((*before.ids, *now.ids)))[:MOST_NAMED]
        after[kind] = Named(max(before.number, now.number, len(ids)), ids)
    return after
