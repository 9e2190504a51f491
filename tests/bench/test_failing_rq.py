"""The failed jobs of a figure are RQ's own: Beacon reads the cause of each."""

from collections import Counter

import pytest

from bench.failing_rq import fail_jobs, hide_failed, show_failed
from tests.services.rq_scene import Scene, ids

JOBS, CAUSES = 501, 3  # more than go out at once


@pytest.mark.services
def test_beacon_reads_the_cause_of_every_failed_job_that_is_shown() -> None:
    with Scene() as scene:
        fail_jobs(scene.valkey.url, "mail", JOBS, CAUSES)
        hide_failed(scene.valkey.url, "mail")
        source = scene.source()
        assert ids(source.read_snapshot(), "failed") == []
        show_failed(scene.valkey.url, "mail")
        look = source.read_snapshot()
        facts = source.read_facts(ids(look, "failed"))
        source.close()
        assert (len(facts), look.anomalies) == (JOBS, ())
        assert Counter(one.function for one in facts.values()) == {f"shop.part{n}.send": JOBS // 3 for n in range(3)}
        assert {one.error.type for one in facts.values() if one.error} == {"ConnectionError"}
        assert scene.queue().failed_job_registry.get_job_count(cleanup=False) == JOBS
