"""A model of a job fleet that goes on moving while its lists are read, one state after the other."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from app.reconciliation import reconcile as rules
from app.reconciliation.known_state import KnownState
from app.reconciliation.types import CheckEvidence, Observation, ServiceVerdict
from app.sources.protocol import FinishedVisible, Job, JobLookup, ServiceSnapshot
from tests.reconciliation.values import FINISHED, FLOW, at, listing

Move = tuple[Literal["arrive", "start", "succeed", "fail", "requeue", "retry", "wait"], int]
BACKWARD = ("requeue", "retry")
STEPS = {
    "start": ("queued", "running"),
    "succeed": ("running", "succeeded"),
    "fail": ("running", "failed"),
    "requeue": ("running", "queued"),
    "retry": ("failed", "queued"),
}


@dataclass
class Fleet:
    """Time passes with every read and every `wait`. A finished job is listed for `listed_s`, then only its end
    is remembered; a lost one is forgotten."""

    listed_s: float
    now: float = 0.0
    states: dict[str, str] = field(default_factory=dict)
    finished_at: dict[str, float] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)

    def move(self, move: Move) -> None:
        kind, n = move
        if kind == "arrive":
            self.states[f"job{len(self.states)}"] = "queued"
        elif kind == "wait":
            self.now += n / 4
        else:
            before, after = STEPS[kind]
            able = [job_id for job_id, state in self.states.items() if state == before and job_id not in self.lost]
            if able:
                self._put(able[n % len(able)], after)

    def lose(self, job_id: str) -> None:
        self.lost.add(job_id)

    def look(self, moves: Iterator[Move], *, forward_only: bool) -> Observation:
        """Read state by state; before each list up to two moves happen."""
        began, listings = self.now, []
        for state in FLOW:
            for _ in range(2):
                move = next(moves, ("wait", 0))
                if not (forward_only and move[0] in BACKWARD):
                    self.move(move)
            self.now += 0.01
            listings.append(listing(state, [job_id for job_id in self.states if self._is_listed(job_id, state)]))
        look = ServiceSnapshot({}, tuple(listings), 1, instance_id="one")
        return Observation(look, at(began), at(self.now))

    def look_up(self, job_id: str) -> JobLookup:
        if job_id in self.lost:
            return JobLookup("unknown")
        state = self.states[job_id]
        if state in FINISHED:
            return JobLookup("finished", end_state=state)
        return JobLookup("found", Job(job_id, state))

    def unfinished(self) -> list[str]:
        return [job_id for job_id, state in self.states.items() if state not in FINISHED and job_id not in self.lost]

    def _put(self, job_id: str, state: str) -> None:
        self.states[job_id] = state
        self.finished_at[job_id] = self.now

    def _is_listed(self, job_id: str, state: str) -> bool:
        if self.states[job_id] != state or job_id in self.lost:
            return False
        return state not in FINISHED or self.now < self.finished_at[job_id] + self.listed_s


def observe(
    fleet: Fleet, known: KnownState, visible: FinishedVisible, moves: Iterator[Move]
) -> tuple[KnownState, ServiceVerdict]:
    """One observation as `observe.py` makes it, and what is known after it.

    Jobs that move backwards while they are read can hide from one look; from two in a row they are asked for.
    """
    heard = fleet.look(moves, forward_only=False)
    evidence = CheckEvidence(visible)
    absent = rules.find_absent_jobs(known, heard, evidence)
    if absent:
        second = fleet.look(moves, forward_only=visible != "lookup")
        evidence = CheckEvidence(visible, second)
        asked = [job_id for job_id in absent if rules.needs_lookup(evidence, job_id)]
        evidence = CheckEvidence(visible, second, {job_id: fleet.look_up(job_id) for job_id in asked})
    verdict = rules.reconcile(known, heard, evidence, at(fleet.now))
    assert verdict.job_diff is not None
    open_now = dict(known.items) | {item.key: item for item in verdict.opened}
    for done in verdict.closed:
        del open_now[done.item.key]
    after = KnownState(
        verdict.job_diff.jobs, verdict.job_diff.unseen, heard_at=heard.began, instance_id="one", items=open_now
    )
    return after, verdict
