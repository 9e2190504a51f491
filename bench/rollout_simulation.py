"""Rollouts of made-up people, decided by the product's functions: how often a healthy one is held, and a fault passes.

Everybody who is in connects when a step begins and then about twice an hour, as pages are opened and streams end. Most
connects of a healthy rollout work; a few people have a bad network, on which polls fail too.
"""

import json
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from app.rollout import guardrail, plan
from app.rollout.evidence import CohortEvidence, StepEvidence
from app.rollout.guardrail import GuardrailLimits
from app.rollout.plan import Plan, PlanStep
from app.rollout.plan_options import PlanOptions, PlanState
from app.rollout.plan_waits import find_status
from app.rollout.witnesses import MAX_OF_PERIOD, MAX_OF_STAGE, add_bounded

PEOPLE = (20, 200, 2_000)
STEPS = (PlanStep(10, 3_600), PlanStep(50, 3_600), PlanStep(100, 3_600))
LIMITS = GuardrailLimits("hold", max_failures=0.05, max_lag_s=2, min_attempts=30)
WINDOW_S, LOOK_EVERY_S = 300, 60
CONNECTS_PER_HOUR = 2.0
# A plan that has not gone on after this long waits for a person.
GIVES_UP_S = 48 * 3_600
USUAL_FAILURES, BAD_FAILURES, BAD_SHARE = 0.005, 0.05, 0.02

Fault = Callable[[random.Random, int], list[float]]
"""For each of so many people of a step: the share of their connects that fails because of it."""


def no_fault(_chance: random.Random, people: int) -> list[float]:
    return [0.0] * people


def fault_of_connects(share: float) -> Fault:
    return lambda _chance, people: [share] * people


def fault_of_people(share: float) -> Fault:
    """Nothing works for at least this share of the people of a step."""

    def hit(chance: random.Random, people: int) -> list[float]:
        number = -(-int(share * people * 1_000) // 1_000)
        hit_people = set(chance.sample(range(people), max(1, number)))
        return [float(one in hit_people) for one in range(people)]

    return hit


FAULTS: dict[str, Fault] = {
    "none": no_fault,
    "10 % of the connects": fault_of_connects(0.1),
    "20 % of the connects": fault_of_connects(0.2),
    "10 % of the people": fault_of_people(0.1),
    "everybody": fault_of_connects(1.0),
}


@dataclass(slots=True)
class Cohort:
    """Counters of each person, as the product bounds them."""

    most: int
    people: dict[int, tuple[int, int]] = field(default_factory=dict)
    connects: int = 0
    failures: int = 0

    def add(self, person: int, failed: bool) -> None:
        before = self.people.get(person, (0, 0))
        after = add_bounded(before, (1, int(failed)), self.most)
        self.people[person] = after
        self.connects += after[0] - before[0]
        self.failures += after[1] - before[1]

    def summarize(self) -> CohortEvidence:
        worst = max(self.people.values(), key=lambda one: (one[1], -one[0]), default=(0, 0))
        most = max((connects for connects, _ in self.people.values()), default=0)
        failing = sum(failures > 0 for _, failures in self.people.values()) if self.failures else 0
        return CohortEvidence(len(self.people), self.connects, self.failures, 0, 0, failing, 0, *worst, most)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many steps were passed, and whether the guardrail held it."""

    passed: int
    held: bool


def simulate(people: int, fault: Fault, seed: int) -> Outcome:
    """One rollout; it ends when it is over, held, or has waited for long."""
    chance = random.Random(seed)
    network = [BAD_FAILURES if chance.random() < BAD_SHARE else USUAL_FAILURES for _ in range(people)]
    before, now = CohortEvidence(), Plan(STEPS, 0, 0)
    for number, step in enumerate(STEPS):
        inside = max(1, round(people * step.percentage / 100))
        shares = [1 - (1 - usual) * (1 - more) for usual, more in zip(network, fault(chance, inside), strict=False)]
        polls = _poll(chance, network[inside:])
        for at, streams, recent in _run_step(chance, shares):
            found = StepEvidence(streams, polls, before, inside * at / 60, inside)
            if guardrail.find_trouble(LIMITS, found, recent):
                return Outcome(number, held=True)
            now = Plan(STEPS, number, 0)
            waits = find_status(now, PlanOptions(), PlanState(), found, at).waits
            decision = plan.decide_next(now, at, step.percentage, blocked=False, waits=waits)
            if decision.percentage is not None or decision.ended is not None:
                before += streams
                break
        else:
            return Outcome(number, held=False)
    return Outcome(len(STEPS), held=False)


def _run_step(chance: random.Random, shares: list[float]) -> Iterator[tuple[float, CohortEvidence, CohortEvidence]]:
    """The time and the evidence at each look at which something is new, and at the end of the hold."""
    stage, periods = Cohort(MAX_OF_STAGE[0]), dict[int, Cohort]()
    rate = len(shares) * CONNECTS_PER_HOUR / 3_600
    arrivals = sorted((chance.uniform(0, LOOK_EVERY_S), one) for one in range(len(shares)))
    at, following = 0.0, chance.expovariate(rate)
    while at < GIVES_UP_S:
        at += LOOK_EVERY_S
        while following < at:
            arrivals.append((following, chance.randrange(len(shares))))
            following += chance.expovariate(rate)
        if not arrivals and at != STEPS[0].hold_s:
            continue
        for when, person in arrivals:
            failed = chance.random() < shares[person]
            stage.add(person, failed)
            periods.setdefault(int(when // WINDOW_S), Cohort(MAX_OF_PERIOD[0])).add(person, failed)
        arrivals = []
        newest = int(at // WINDOW_S)
        periods = {period: one for period, one in periods.items() if period >= newest - 1}
        yield at, stage.summarize(), _join(list(periods.values()))


def _join(periods: list[Cohort]) -> CohortEvidence:
    if len(periods) == 1:
        return periods[0].summarize()
    joined = Cohort(2 * MAX_OF_PERIOD[0])
    for period in periods:
        for person, (connects, failures) in period.people.items():
            there = joined.people.get(person, (0, 0))
            joined.people[person] = (there[0] + connects, there[1] + failures)
            joined.connects += connects
            joined.failures += failures
    return joined.summarize()


def _poll(chance: random.Random, network: list[float]) -> CohortEvidence:
    """Polls are so many that each person reaches the limit soon; a part of them is enough here."""
    found = Cohort(MAX_OF_STAGE[0])
    for person, share in enumerate(network[:200]):
        for _ in range(40):
            found.add(person, chance.random() < share)
    return found.summarize()


def count_outcomes(people: int, fault: str, rollouts: int) -> dict[str, float]:
    found = [simulate(people, FAULTS[fault], seed) for seed in range(rollouts)]
    return {
        "held": sum(one.held for one in found) / rollouts,
        "passed": sum(one.passed > 0 for one in found) / rollouts,
        "finished": sum(one.passed == len(STEPS) for one in found) / rollouts,
    }


if __name__ == "__main__":
    for size in PEOPLE:
        for name in FAULTS:
            print(
                json.dumps({"people": size, "fault": name, **count_outcomes(size, name, int(sys.argv[1]))}), flush=True
            )
