"""What the polling process keeps of each belief between two polls, so that it is not read again at every one of them.

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
from app.infra.lease import LeaseClaim
from app.reconciliation.job_events import News
from app.reconciliation.loader import Jobs, known_jobs, known_of
from app.reconciliation.models import ServiceState
from app.reconciliation.types import Heard, Item, ItemKey, Known, Verdict


@dataclass(frozen=True, slots=True)
class Base:
    """The belief that a verdict is made from. `jobs` are those of `known`: the polling loop's own, to be changed."""

    known: Known
    version: int
    jobs: Jobs


@dataclass(frozen=True, slots=True)
class _Kept:
    """`known` and `claim` where the row need not be looked at."""

    jobs: Jobs
    items: Mapping[ItemKey, Item]
    version: int
    known: Known | None = None
    claim: LeaseClaim | None = None


class KeptBeliefs:
    """Each service's belongs to its loop, which is the only one that asks for it."""

    def __init__(self, breathe: Callable[[], None]) -> None:
        self._breathe = breathe
        self._kept: dict[str, _Kept] = {}

    def size(self, service_id: str) -> int | None:
        """How many jobs are known, where that is kept."""
        kept = self._kept.get(service_id)
        return None if kept is None else len(kept.jobs.jobs)

    def base(self, claim: LeaseClaim, service_id: str, news: News) -> Base | None:
        """What is kept and needs no look at the database."""
        kept = self._kept.get(service_id)
        if kept is None or kept.known is None or kept.claim != claim:
            return None
        return Base(news.onto(kept.known), kept.version, kept.jobs)

    def read(self, service_id: str, news: News) -> Base:
        with read() as session:
            row = session.get(ServiceState, service_id)
            version = row.version if row else 0
            kept = self._kept.get(service_id)
            if kept is not None and kept.version == version:
                jobs = kept.jobs
                known = known_of(session, service_id, row, jobs, kept.items)
            else:
                jobs = known_jobs(session, service_id, self._breathe)
                known = known_of(session, service_id, row, jobs, breathe=self._breathe)
            return Base(news.onto(known), version, jobs)

    def keep(self, service_id: str, jobs: Jobs, items: Mapping[ItemKey, Item], version: int) -> None:
        self._kept[service_id] = _Kept(jobs, items, version)

    def keep_unchanged(self, claim: LeaseClaim, service_id: str, base: Base, verdict: Verdict, heard: Heard) -> None:
        """After a check that changed nothing but times: what its row says, or will once it is told."""
        known, look = base.known, heard.look
        if known.items or verdict.loss is not None or known.flaps.since is not None:
            self.keep(service_id, base.jobs, known.items, base.version)
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
        self._kept[service_id] = _Kept(base.jobs, known.items, base.version, moved, claim)

    def doubt(self, service_id: str) -> None:
        """The row is to be looked at before the next verdict."""
        kept = self._kept.get(service_id)
        if kept is not None:
            self._kept[service_id] = replace(kept, known=None, claim=None)

    def forget(self, service_id: str) -> None:
        self._kept.pop(service_id, None)
