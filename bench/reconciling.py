"""`python -m bench.reconciling JOBS …`: so many known jobs reconciled with as many heard, in this process.

Prints a line of JSON each: the CPU, because the machine is shared.
"""

import json
import sys
import time
from datetime import UTC, datetime, timedelta

from app.reconciliation.known_state import KnownState
from app.reconciliation.reconcile import reconcile
from app.reconciliation.types import CheckEvidence, Observation
from app.sources.protocol import Job, Listing, ServiceSnapshot

T0 = datetime(2026, 11, 21, tzinfo=UTC)
ROUNDS = 5


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
    """The median of some rounds."""
    known, cpu = known_of(jobs), []
    for _ in range(ROUNDS):
        heard, began = heard_of(jobs), time.process_time()
        verdict = reconcile(known, heard, CheckEvidence("lookup"), T0 + timedelta(seconds=6))
        cpu.append(time.process_time() - began)
        assert verdict.status == "verified", verdict.status
    return {"jobs": jobs, "cpu_ms": sorted(cpu)[ROUNDS // 2] * 1000}


def main() -> None:
    for jobs in map(int, sys.argv[1:]):
        print(json.dumps(measure(jobs)), flush=True)


if __name__ == "__main__":
    main()
