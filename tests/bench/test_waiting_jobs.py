"""The jobs that figures about RQ enqueue: they are RQ's own, and Beacon looks at each of them."""

import pytest

from bench.waiting_jobs import enqueue_jobs
from tests.services.rq_scene import Scene

JOBS = 1_001  # more than go out at once


@pytest.mark.services
def test_beacon_lists_every_job_that_waits_and_finds_nothing_wrong() -> None:
    with Scene() as scene:
        enqueue_jobs(scene.valkey.url, ["left", "right"], JOBS)
        source = scene.source()
        look = source.read_snapshot()
        source.close()
        (queued,) = (listing for listing in look.listings if listing.state == "queued")
        assert (len(queued.jobs), queued.complete, look.counts["queued"]) == (2 * JOBS, True, 2 * JOBS)
        assert look.anomalies == ()
        assert [scene.queue(name).count for name in ("left", "right")] == [JOBS, JOBS]
        job = scene.queue("left").jobs[0]
        assert (job.func_name, job.args, job.get_status()) == ("time.sleep", (0,), "queued")
