"""Caches each service's known state in the polling process, so that it is not read again at every poll.

The rows stay the truth. A cached state is used only while it cannot be wrong:

* The jobs and open items: while the row still has their version. Every change of one of them raises it.
* The whole known state, without reading the row: only under the claim it was stored under, because nobody else polls
  while that holds; only after a check that changed nothing, because then this process knows what it wrote; and only
  while no item and no loss is open, because then an operator has nothing to accept. If the row changed anyway (the
  service was removed), this is noticed before anything is written: every write checks the lease's fence and the version
  that was judged.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace

from app.db import read
from app.infra.lease import LeaseClaim
from app.reconciliation.job_events import PublishedEvents
from app.reconciliation.known_state import ItemKey, KnownState, TrackedItem
from app.reconciliation.loader import KnownJobs, load_known_jobs, load_known_state
from app.reconciliation.models import ServiceState
from app.reconciliation.types import Observation, ServiceVerdict


@dataclass(frozen=True, slots=True)
class Baseline:
    """The known state that a verdict starts from. `jobs` are those of `known`; the polling loop updates them."""

    known: KnownState
    version: int
    jobs: KnownJobs


@dataclass(frozen=True, slots=True)
class _CachedState:
    """`known` and `claim` are set if the row need not be read."""

    jobs: KnownJobs
    items: Mapping[ItemKey, TrackedItem]
    version: int
    known: KnownState | None = None
    claim: LeaseClaim | None = None


class KnownStateCache:
    """One entry for each service. Only the service's own loop uses it, but for `invalidate`."""

    def __init__(self) -> None:
        self._states: dict[str, _CachedState] = {}
        self._changing = threading.Lock()

    def get(self, claim: LeaseClaim, service_id: str, published: PublishedEvents) -> Baseline | None:
        """The cached state, if the database need not be read; otherwise None."""
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
                jobs = load_known_jobs(session, service_id)
                known = load_known_state(session, service_id, row, jobs)
            return Baseline(published.apply_to(known), version, jobs)

    def store(self, service_id: str, jobs: KnownJobs, items: Mapping[ItemKey, TrackedItem], version: int) -> None:
        self._put(service_id, _CachedState(jobs, items, version))

    def store_unchanged(
        self, claim: LeaseClaim, service_id: str, base: Baseline, verdict: ServiceVerdict, observation: Observation
    ) -> None:
        """Store the state after a check that only changed times: what the row says, or will say once flushed."""
        known, look = base.known, observation.look
        if known.items or verdict.loss is not None or known.flaps.since is not None:
            self.store(service_id, base.jobs, known.items, base.version)
            return
        moved = replace(
            known,
            notices={},
            heard_at=observation.began,
            instance_id=look.instance_id,
            as_of=look.as_of,
            last_verified_at=verdict.last_verified_at or known.last_verified_at,
            figures=verdict.figures,
        )
        self._put(service_id, _CachedState(base.jobs, known.items, base.version, moved, claim))

    def invalidate(self, service_id: str) -> None:
        """Read the row again before the next verdict."""
        with self._changing:
            cached = self._states.get(service_id)
            if cached is not None:
                self._states[service_id] = replace(cached, known=None, claim=None)

    def evict(self, service_id: str) -> None:
        with self._changing:
            self._states.pop(service_id, None)

    def _put(self, service_id: str, state: _CachedState) -> None:
        with self._changing:
            self._states[service_id] = state
