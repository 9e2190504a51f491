"""`python -m bench.reconciling JOBS …`: so many known jobs reconciled with as many heard, in this process.

Prints a line of JSON each: CPU, and the longest stretch between two breaths, with what the garbage collector takes (CPU
as well, because the machine is shared). It runs with a worker's settings of the collector, on the same event loop.
"""

from gevent import monkey

monkey.patch_all()

import gc  # noqa: E402 -- nothing may be imported before the patch
import json  # noqa: E402 -- nothing may be imported before the patch
import sys  # noqa: E402 -- nothing may be imported before the patch
import time  # noqa: E402 -- nothing may be imported before the patch
from datetime import UTC, datetime, timedelta  # noqa: E402 -- nothing may be imported before the patch

from app.infra import concurrency  # noqa: E402 -- see above
from app.reconciliation.known_state import KnownState  # noqa: E402 -- see above
from app.reconciliation.reconcile import reconcile  # noqa: E402 -- see above
from app.reconciliation.types import CheckEvidence, Observation  # noqa: E402 -- see above
from app.sources.protocol import Job, Listing, ServiceSnapshot  # noqa: E402 -- see above

T0 = datetime(2026, 11, 21, tzinfo=UTC)
ROUNDS = 5


class Breaths:
    """Breathes, and knows the longest time without."""

    def __init__(self) -> None:
        self.longest_s, self._since = 0.0, time.thread_time()

    def __call__(self) -> None:
        self.longest_s = max(self.longest_s, time.thread_time() - self._since)
        concurrency.yield_to_loop()
        self._since = time.thread_time()


def heard_of(jobs: int) -> Observation:
    """A tenth of them running. Every id and job is made anew, as a real answer's are."""
    states = {"queued": range(jobs // 10, jobs), "running": range(jobs // 10)}
    listings = tuple(
        Listing(state, False, {f"job-{n:07}": Job(f"job-{n:07}", state, "mail", 1) for n in numbers})
        for state, numbers in states.items()
    )
    counts = {listing.state: len(listing.jobs) for listing in listings}
    return Observation(
        ServiceSnapshot(counts, listings, 10, one_revision=True), T0 + timedelta(seconds=5), T0 + timedelta(seconds=6)
    )


def known_of(jobs: int) -> KnownState:
    known = {job_id: job for listing in heard_of(jobs).look.listings for job_id, job in listing.jobs.items()}
    return KnownState(known, heard_at=T0)


def measure(jobs: int) -> dict[str, float]:
    """The median CPU of some rounds, the longest slice of all of them."""
    known, cpu, longest = known_of(jobs), [], 0.0
    for _ in range(ROUNDS):
        heard = heard_of(jobs)
        breaths, began = Breaths(), time.process_time()
        verdict = reconcile(known, heard, CheckEvidence("lookup"), T0 + timedelta(seconds=6), breaths)
        cpu.append(time.process_time() - began)
        breaths()
        longest = max(longest, breaths.longest_s)
        assert verdict.status == "verified", verdict.status
    return {"jobs": jobs, "cpu_ms": sorted(cpu)[ROUNDS // 2] * 1000, "slice_ms": longest * 1000}


def main() -> None:
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    for jobs in map(int, sys.argv[1:]):
        print(json.dumps(measure(jobs)), flush=True)


if __name__ == "__main__":
    main()
