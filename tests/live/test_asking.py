"""A service that hangs keeps those waiting who asked it, up to the deadline, and nobody else of the worker."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

from app.sources.on_demand import MAX_CONCURRENT_REQUESTS, REQUEST_TIMEOUT_S
from tests.live.conftest import MakeBeacon
from tests.support.demo_service import start_demo

PATIENCE_S = 15.0


def test_pages_go_on_while_a_service_hangs_and_one_question_too_many_is_refused_at_once(
    start_beacon: MakeBeacon, tmp_path: Path
) -> None:
    service = start_demo(tmp_path)
    try:
        beacon = start_beacon(POLL_INTERVAL_S=60)
        beacon.watch("mail", service.url)
        service.fault("hang")
        headers = beacon.bearer("alice", "read")

        def ask(_: int) -> tuple[int, float]:
            began = time.monotonic()
            answer = requests.get(
                f"{beacon.url}/api/jobs/stuck", headers=headers, timeout=REQUEST_TIMEOUT_S + PATIENCE_S
            )
            return answer.status_code, time.monotonic() - began

        with ThreadPoolExecutor(MAX_CONCURRENT_REQUESTS + 1) as people:
            asked = [people.submit(ask, n) for n in range(MAX_CONCURRENT_REQUESTS + 1)]
            waits = []
            while not all(one.done() for one in asked):
                began = time.monotonic()
                assert requests.get(f"{beacon.url}/healthz", timeout=PATIENCE_S).status_code == 200
                waits.append(time.monotonic() - began)
                time.sleep(0.05)
        answers = sorted(one.result() for one in asked)
    finally:
        service.stop(signal.SIGKILL)
    assert [status for status, _ in answers] == [503] + [504] * MAX_CONCURRENT_REQUESTS
    assert answers[0][1] < REQUEST_TIMEOUT_S
    assert min(took for status, took in answers if status == 504) >= 0.9 * REQUEST_TIMEOUT_S
    # A page that had waited for a question would have waited for most of its deadline.
    assert max(waits) < REQUEST_TIMEOUT_S / 2
