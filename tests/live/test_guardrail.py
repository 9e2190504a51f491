"""The guardrail of a real server: what browsers report decides, not a handful of them and not a slow service."""

import json
import re
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests

from app.clock import parse_utc, utc_text
from tests.beacon_process import PEOPLE, Beacon, wait_for
from tests.demo_process import start_demo
from tests.live.conftest import MakeBeacon
from tests.live_stream import LiveStream

CSRF = re.compile(r'name="csrf-token" content="([^"]+)"')


def send(beacon: Beacon, user: str, **report: Any) -> None:
    """As a page of this person sends it, from a login of its own: the server takes one a 30 s of each."""
    browser = beacon.log_in(user)
    found = CSRF.search(browser.get(f"{beacon.url}/", timeout=10).text)
    assert found
    headers = {"X-CSRFToken": found[1], "Accept": "application/json"}
    body = {"cohort": "streaming", **report}
    answer = browser.post(f"{beacon.url}/api/client-reports", json=body, headers=headers, timeout=10)
    assert answer.status_code == 204, answer.text


def wait_two_looks(beacon: Beacon) -> None:
    """The second of them began after this: each renews the lease."""

    def ends() -> object:
        return beacon.sql("SELECT expires_at FROM lease WHERE name = 'rollout'")

    for _ in range(2):
        before = ends()
        wait_for(lambda: ends() != before, "a look of the guardrail", within_s=20)  # noqa: B023 -- called at once


def lags_ms(beacon: Beacon, user: str) -> list[float]:
    """Of ten events on a stream of this person, from each one's own time; one machine has one clock."""
    lags: list[float] = []
    with LiveStream(f"{beacon.url}/api/stream/events", beacon.bearer(user, "stream")) as stream:
        stream.wait_named("hello")
        for _ in range(10):
            [event_id] = beacon.publish([{"type": "on.its.way", "data": {}}])
            stream.wait_id(event_id)
            sent = parse_utc(stream.named("on.its.way")[-1].json()["timestamp"]).timestamp()
            lags.append(max(0.0, (time.time() - sent) * 1_000))
    return lags


def percentage(beacon: Beacon) -> int:
    answer = requests.get(
        f"{beacon.url}/api/rollout/enable_sse_streaming", headers=beacon.bearer("pia", "read"), timeout=10
    )
    found: int = answer.json()["percentage"]
    return found


def test_a_fault_steps_back_by_itself_and_neither_a_tiny_sample_nor_a_slow_upstream_does(
    start_beacon: MakeBeacon, tmp_path: Path
) -> None:
    upstream = start_demo(tmp_path)
    upstream.fault("hang")
    try:
        beacon = start_beacon(streaming=10, GUARDRAIL_MODE="step-back", POLL_INTERVAL_S=0.5)
        beacon.watch("mail", upstream.url)
        beacon.set_rollout(100)
        # What is reported in the minute of a change says nothing of it yet: it was made three minutes ago.
        beacon.sql("UPDATE flag SET changed_at = ?", utc_text(datetime.now(UTC) - timedelta(minutes=3)))

        send(beacon, "alice", attempts=2, failures=2, fallbacks=1)
        wait_two_looks(beacon)
        assert percentage(beacon) == 100

        stale = "SELECT 1 FROM service_state WHERE status = 'stale'"
        wait_for(lambda: beacon.sql(stale), "the service to be called stale", within_s=30, every_s=0.1)
        lags = lags_ms(beacon, "bob")
        for user in PEOPLE:
            send(beacon, user, attempts=12, helloMs=[20], lagMs=lags)
        wait_two_looks(beacon)
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
