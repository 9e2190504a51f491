"""What the polling process keeps of each job_diff between two polls, so that it is not read again at every one of them.

The rows stay the truth. What is kept serves only while it cannot be wrong:

* The jobs and open items: while the row's version is theirs. Whoever changes one of them raises it.
* All that is known, without a look at the row: under the claim it was kept under, because nobody else polls while that
  holds; after a check that changed nothing, because then this process knows what it wrote; and while no item and no
  loss is open, because an operator has nothing to accept then. Who changed the row all the same (the service was
  removed) is noticed before anything is written: every write is made under the lease's fence, and at the version that
  was judged.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from app.db import read
from app.infra.lease import Claim
from app.reconciliation.job_events import PublishedEvents
from app.reconciliation.loader import KnownJobs, load_known_jobs, load_known_state
from app.reconciliation.models import ServiceState
from app.reconciliation.types import ItemKey, KnownState, Observation, ServiceVerdict, TrackedItem


@dataclass(frozen=True, slots=True)
class Baseline:
    """The job_diff that a verdict is made from. `jobs` are those of `known`: the polling loop's own, to be changed."""

    known: KnownState
    version: int
    jobs: KnownJobs


@dataclass(frozen=True, slots=True)
class _CachedState:
    """`known` and `claim` where the row need not be looked at."""

    jobs: KnownJobs
    items: Mapping[ItemKey, TrackedItem]
    version: int
    known: KnownState | None = None
    claim: Claim | None = None


class KnownStateCache:
    """Each service's belongs to its loop, which is the only one that asks for it."""

    def __init__(self, breathe: Callable[[], None]) -> None:
        self._breathe = breathe
        self._states: dict[str, _CachedState] = {}

    def job_count(self, service_id: str) -> int | None:
        """How many jobs are known, where that is kept."""
        cached = self._states.get(service_id)
        return None if cached is None else len(cached.jobs.jobs)

    def get(self, claim: Claim, service_id: str, published: PublishedEvents) -> Baseline | None:
        """What is kept and needs no look at the database."""
        cached = self._states.get(service_id)
        if cached is None or cached.known is None or cached.claim != claim:
            return None
        return Baseline(published.apply_to(cached.known), cached.version, cached.jobs)

    def read(self, service_id: str, published: PublishedEvents) -> Baseline:
        with read() as session:
            row = session.get(ServiceState, service_id)
            version = row.version if row else 0
            cached = self._states.get(service_id)
            if cached is not None and cached.version == version:
                jobs = cached.jobs
                known = load_known_state(session, service_id, row, jobs, cached.items)
            else:
                jobs = load_known_jobs(session, service_id, self._breathe)
                known = load_known_state(session, service_id, row, jobs, breathe=self._breathe)
            return Baseline(published.apply_to(known), version, jobs)

    def store(self, service_id: str, jobs: KnownJobs, items: Mapping[ItemKey, TrackedItem], version: int) -> None:
        self._states[service_id] = _CachedState(jobs, items, version)

    def store_unchanged(
        self, claim: Claim, service_id: str, base: Baseline, verdict: ServiceVerdict, heard: Observation
    ) -> None:
        """After a check that changed nothing but times: what its row says, or will once it is told."""
        known, look = base.known, heard.look
        if known.items or verdict.loss is not None or known.flaps.since is not None:
            self.store(service_id, base.jobs, known.items, base.version)
            return
        moved = replace(
            known,
            notices={},
            heard_at=heard.began,
            instance_id=look.instance_id,
            as_of=look.as_of,
            last_verified_at=verdict.last_verified_at or known.last_verified_at,
            figures=verdict.figures,
        )
        self._states[service_id] = _CachedState(base.jobs, known.items, base.version, moved, claim)

    def invalidate(self, service_id: str) -> None:
        """The row is to be looked at before the next verdict."""
        cached = self._states.get(service_id)
        if cached is not None:
            self._states[service_id] = replace(cached, known=None, claim=None)

    def evict(self, service_id: str) -> None:
        self._states.pop(service_id, None)
