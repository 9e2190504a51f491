"""The guardrail of a real server: what browsers report decides, not a handful of them and not a slow service."""

import json
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests

from app.infra.clock import parse_utc
from tests.live.conftest import MakeBeacon
from tests.support.beacon_server import PEOPLE, Beacon
from tests.support.demo_service import DemoService, start_demo
from tests.support.live_stream import LiveStream
from tests.support.machine import scaled
from tests.support.waiting import wait_for

# The guardrail lets no delivery take longer. A poll asks several times, and each answer is so late.
LAG_MS, LATE_S = 2_000, 0.4
QUICK = {"config": Path(__file__).with_name("quick_reports_conf.py"), "setup": "tests.live.quick_control"}
CSRF = re.compile(r'name="csrf-token" content="([^"]+)"')


def send(beacon: Beacon, user: str, **report: Any) -> None:
    """As a page of this person sends it, from a login of its own: the server takes one a 30 s of each."""
    browser = beacon.log_in(user)
    found = CSRF.search(browser.get(f"{beacon.url}/", timeout=scaled(10)).text)
    assert found
    headers = {"X-CSRFToken": found[1], "Accept": "application/json"}
    body = {"cohort": "streaming", **report}
    answer = browser.post(f"{beacon.url}/api/client-reports", json=body, headers=headers, timeout=scaled(10))
    assert answer.status_code == 204, answer.text


def wait_judged(beacon: Beacon, attempts: int) -> None:
    """So many attempts in all are written, and then a look of the guardrail began, which renews the lease.

    A step back that comes of it a moment later is seen by whatever is asserted next, and has another reason than the
    one that is expected in the end.
    """
    told = "SELECT COALESCE(SUM(attempts), 0) FROM client_report WHERE cohort = 'streaming'"
    wait_for(lambda: beacon.sql(told) == [(attempts,)], f"{attempts} attempts", within_s=20, every_s=0.1)

    def ends() -> object:
        return beacon.sql("SELECT expires_at FROM lease WHERE name = 'rollout'")

    before = ends()
    wait_for(lambda: ends() != before, "a look of the guardrail", within_s=20)


def lags_ms(beacon: Beacon, upstream: DemoService, user: str) -> list[float]:
    """Of two changes of a service that is slow to tell, from each event's own time to a stream; both have one clock."""
    with LiveStream(f"{beacon.url}/api/stream/events", beacon.bearer(user, "stream")) as stream:
        stream.wait_named("hello")
        ahead = time.time() - time.monotonic()

        def slowly_told() -> list[float]:
            upstream.create_job()
            came = [(frame, at + ahead) for frame, at in zip(stream.frames, stream.arrived, strict=False)]
            told = [(frame.json(), at) for frame, at in came if frame.event == "reconciliation.update"]
            slow = [(event, at) for event, at in told if event["data"]["latencyMs"] > LAG_MS]
            return [max(0.0, (at - parse_utc(event["timestamp"]).timestamp()) * 1_000) for event, at in slow]

        wait_for(lambda: len(slowly_told()) >= 2, "two changes of the slow service", within_s=60, every_s=0.5)
        return slowly_told()


def percentage(beacon: Beacon) -> int:
    answer = requests.get(
        f"{beacon.url}/api/rollout/enable_sse_streaming", headers=beacon.bearer("pia", "read"), timeout=scaled(10)
    )
    found: int = answer.json()["percentage"]
    return found


def test_a_fault_steps_back_by_itself_and_neither_a_tiny_sample_nor_a_slow_upstream_does(
    start_beacon: MakeBeacon, tmp_path: Path
) -> None:
    upstream = start_demo(tmp_path)
    upstream.fault("slow", LATE_S)
    try:
        beacon = start_beacon(**QUICK, streaming=10, background=1, GUARDRAIL_MODE="step-back", POLL_INTERVAL_S=0.5)
        beacon.watch("mail", upstream.url)
        beacon.set_rollout(100)
        # What is reported in the minute of a change says nothing of it yet: it was made three minutes ago.
        beacon.sql("UPDATE flag SET level_since = level_since - 180")

        # Half of a tiny sample. The good reports below are written one by one: none of their sums is bad and large.
        send(beacon, "alice", attempts=2, failures=1, fallbacks=1)
        with ThreadPoolExecutor(1) as meanwhile:
            judged = meanwhile.submit(wait_judged, beacon, 2)
            # The best of them: a stall of this machine is no slow service, which would show in each.
            lag = min(lags_ms(beacon, upstream, "bob"))
            judged.result()
        assert percentage(beacon) == 100

        for user in PEOPLE:
            send(beacon, user, attempts=12, helloMs=[20], lagMs=[lag] * 10)
        wait_judged(beacon, 2 + 12 * len(PEOPLE))
        assert percentage(beacon) == 100
    finally:
        upstream.stop(signal.SIGKILL)

    for user in PEOPLE:
        send(beacon, user, attempts=4, failures=4)
    wait_for(lambda: percentage(beacon) == 10, "the step back", within_s=20, every_s=0.1)
    columns = "before_state_json, after_state_json, command_params_json"
    [audited] = beacon.sql(f"SELECT {columns} FROM command_audit WHERE actor = 'guardrail'")
    before, after, params = (json.loads(text) for text in audited)
    assert (before["percentage"], after["percentage"]) == (100, 10)
    assert re.match(r"\d+ of \d+ attempts to connect failed", params["reason"])
    told = beacon.sql("SELECT body FROM notification WHERE topic = 'rollout' ORDER BY id DESC LIMIT 1")
    assert told == [(f"guardrail: {params['reason']}",)]
