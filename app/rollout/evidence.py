"""What was seen of a rollout since its current step began, and how much of it a plan waits for. Pure.

Nobody connected is never health: a step needs people, connects, time and deliveries, or a person who says that it goes
on without them. The default minimums grow with the number of people who could be in.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from app.rollout import sequential_test

# A fault that hits this share of the people must show among those who were seen, this surely.
SEEN_FAULT, SEEN_SURELY = 0.05, 0.95
# A step goes on once the share of failed connects is surely below this; wrong at most once in 1 / GO_ALPHA steps.
BEARABLE_FAILURES, GO_ALPHA = 0.10, 0.01
# One person alone shows nothing about others.
MIN_PEOPLE = 2
MINUTES_PER_PERSON, MIN_STREAM_MINUTES = 12, 60
MAX_MINIMUM = 1_000_000


@dataclass(frozen=True, slots=True)
class CohortEvidence:
    """What the pages of one cohort reported. `failures` are connects that failed, or streams that were cut soon after.

    `failing_people`: people with at least one failure. `worst_connects` and `worst_failures` are those of the person
    with the most failures; judged without them, no viewer decides alone. `most_connects`: those of the person with the
    most. `slow`: deliveries later than the limit.
    """

    people: int = 0
    connects: int = 0
    failures: int = 0
    delivered: int = 0
    slow: int = 0
    failing_people: int = 0
    slow_people: int = 0
    worst_connects: int = 0
    worst_failures: int = 0
    most_connects: int = 0

    @property
    def counted_connects(self) -> int:
        """One person counts for at most half: nobody's connects alone show that streams work."""
        others = self.connects - self.most_connects
        return others + min(others, self.most_connects)

    @property
    def without_worst(self) -> Self:
        return replace(
            self,
            people=max(0, self.people - 1),
            connects=self.connects - self.worst_connects,
            failures=self.failures - self.worst_failures,
            failing_people=max(0, self.failing_people - 1),
            worst_connects=0,
            worst_failures=0,
        )

    def __add__(self, other: "CohortEvidence") -> "CohortEvidence":
        """Of two times. People are not told apart across them, so the larger number is taken."""
        people = max(self.people, other.people)
        sums = (self.connects + other.connects, self.failures + other.failures)
        return CohortEvidence(people, *sums, self.delivered + other.delivered, self.slow + other.slow)


@dataclass(frozen=True, slots=True)
class StepEvidence:
    """The evidence since a step began. `reachable`: the most people at a time whom the step would let in, of those who
    were online. `before`: what was seen of streams in the steps before."""

    streaming: CohortEvidence = field(default_factory=CohortEvidence)
    polling: CohortEvidence = field(default_factory=CohortEvidence)
    before: CohortEvidence = field(default_factory=CohortEvidence)
    stream_minutes: float = 0.0
    reachable: int = 0


_MINIMUM_NAMES = {"people": "people", "connects": "connects", "stream_minutes": "streamMinutes", "events": "events"}


@dataclass(frozen=True, slots=True)
class Minimums:
    """What a step needs; None is the default, which depends on the evidence itself. A part of the plan."""

    people: int | None = None
    connects: int | None = None
    stream_minutes: int | None = None
    events: int | None = None

    @classmethod
    def of(cls, members: Mapping[str, Any]) -> Self:
        return cls(**{name: members.get(key) for name, key in _MINIMUM_NAMES.items()})

    def as_json(self) -> dict[str, int]:
        """Only what is not the default."""
        return {_MINIMUM_NAMES[name]: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class Measure:
    """One kind of evidence: how much there is, and how much a step needs."""

    name: str
    one: str
    many: str
    there: int
    needed: int

    @property
    def missing(self) -> int:
        return max(0, self.needed - self.there)


def measure_evidence(found: StepEvidence, minimums: Minimums, percentage: float) -> tuple[Measure, ...]:
    """What there is and what is needed at `percentage`. At 0 % nobody can be in, so nothing is needed."""
    needed = compute_needed(found, minimums) if percentage > 0 else Minimums(0, 0, 0, 0)
    seen = found.streaming
    return (
        Measure("connects", "connect", "connects", seen.counted_connects, needed.connects or 0),
        Measure("people", "person", "people", seen.people, needed.people or 0),
        Measure(
            "streamMinutes", "stream-minute", "stream-minutes", int(found.stream_minutes), needed.stream_minutes or 0
        ),
        Measure("events", "event delivered", "events delivered", seen.delivered, needed.events or 0),
    )


def compute_needed(found: StepEvidence, minimums: Minimums) -> Minimums:
    """The minimums in numbers. No minimum of events by default: at night nothing may happen."""
    people = count_people_needed(found.reachable) if minimums.people is None else minimums.people
    connects, minutes = minimums.connects, minimums.stream_minutes
    if connects is None:
        seen = found.streaming
        counted, failures = seen.counted_connects, min(seen.failures, seen.counted_connects)
        connects = sequential_test.count_trials_needed(failures, counted, BEARABLE_FAILURES, GO_ALPHA)
        connects = max(connects, people)
    if minutes is None:
        minutes = max(min(MIN_STREAM_MINUTES, MINUTES_PER_PERSON * people), people)
    return Minimums(people, connects, minutes, minimums.events or 0)


def count_people_needed(reachable: int) -> int:
    """How many of the people who could be in must be seen: 8 of 8, 19 of 20, 45 of 100, 59 of 8,000.

    The sample in which a fault of one in twenty shows with 95 % probability, by R. M. Cannon and R. T. Roe, "Livestock
    Disease Surveys: A Field Manual for Veterinarians" (1982), which corrects for small populations.
    """
    hit: int = max(1, math.ceil(SEEN_FAULT * reachable))
    sample: float = (1 - (1 - SEEN_SURELY) ** (1 / hit)) * (reachable - (hit - 1) / 2)
    return max(MIN_PEOPLE, min(reachable, math.ceil(sample)))


def describe_missing(measures: Sequence[Measure]) -> str:
    """`13 connects and 1 person`; empty if there is enough."""
    parts = [f"{one.missing:,} {one.one if one.missing == 1 else one.many}" for one in measures if one.missing]
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def describe_evidence(measures: Sequence[Measure]) -> str:
    """`17 of 30 connects, 4 of 5 people, 212 of 60 stream-minutes: waits for 13 connects and 1 person`"""
    said = ", ".join(_describe_measure(one) for one in measures)
    missing = describe_missing(measures)
    return f"{said}: {f'waits for {missing}' if missing else 'enough'}"


def _describe_measure(one: Measure) -> str:
    if not one.needed:
        return f"{one.there:,} {one.one if one.there == 1 else one.many}"
    return f"{one.there:,} of {one.needed:,} {one.one if one.needed == 1 else one.many}"
