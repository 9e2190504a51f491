"""Services that answer rubbish: each is stale with its reason, the others do not notice, and memory stays flat."""

import gzip
import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler

import pytest
import requests

from tests.live import probe
from tests.live.conftest import MakeBeacon
from tests.sources.palantir.answers import serve_palantir
from tests.sources.upstream import Answer, Upstream, send, upstream
from tests.support.beacon_server import Beacon
from tests.support.machine import scaled
from tests.support.ports import free_port
from tests.support.waiting import wait_for

MIB = 1024 * 1024
# What a poll may hold: 8 MiB of an answer, and once more while they become bytes. 100 MiB must not fit.
ROOM = 48 * MIB
INTERVAL_S = 0.5
WITHIN_S = 60.0


def half(request: BaseHTTPRequestHandler) -> None:
    send(request, b'{"status": "o', Content_Length="100")
    request.close_connection = True


def large(request: BaseHTTPRequestHandler) -> None:
    """100 MiB that do not say so."""
    request.send_response(200)
    request.send_header("Connection", "close")
    request.end_headers()
    for _ in range(1_600):
        request.wfile.write(b" " * 65_536)
    request.close_connection = True


def bomb(request: BaseHTTPRequestHandler) -> None:
    """100 KiB that become 100 MiB for whoever unpacks them."""
    send(request, _BOMB, Content_Encoding="gzip")


def drip(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    ends = time.monotonic() + WITHIN_S
    while time.monotonic() < ends:
        request.wfile.write(b" ")
        time.sleep(0.05)


_BOMB = gzip.compress(b"[" + b" " * (100 * MIB) + b"]")
NOT_JSON = "answered something that is not JSON"
LATE = "did not answer within 5 s"
REASONS = {
    "garbage": NOT_JSON,
    "half": "closed the connection before its answer was complete",
    "large": "answered with more than 8 MiB",
    "declared": "answered with more than 8 MiB",
    "bomb": NOT_JSON,
    "drip": LATE,
    "nothing": LATE,
    "error": "answered 500",
    "redirect": "answered 302, a redirect, which Beacon does not follow",
    "refused": "refused the connection",
}


def late(answer: Answer) -> Answer:
    """From the second poll on. A service is stale after two that failed, and a late one takes five seconds to fail."""
    polls = itertools.count()
    return lambda request: answer(request) if next(polls) else send(request, b"{}", 500)


def bad_answers(bad: Upstream, secret: Upstream) -> Mapping[str, Answer]:
    return {
        "garbage": lambda request: send(request, b"\x00<html>\xff"),
        "half": half,
        "large": large,
        "declared": lambda request: send(request, b"[]", Content_Length=str(100 * MIB)),
        "bomb": bomb,
        "drip": late(drip),
        "nothing": late(lambda _: bad.hold()),
        "error": lambda request: send(request, b"{}", 500),
        "redirect": lambda request: send(request, b"", 302, Location=f"{secret.url}/latest/meta-data/"),
    }


class Watched:
    """A Beacon that polls two good services, and what it says of all."""

    def __init__(self, beacon: Beacon) -> None:
        self.beacon = beacon
        self.worker = beacon.background_pids()[0]
        self.most = 0

    def told(self) -> dict[str, tuple[str | None, str | None]]:
        """Status and reason of each service, as the newest event gives them. Looks at the memory as well."""
        self.most = max(self.most, probe.pss_bytes(self.worker))
        rows = self.beacon.sql("SELECT service_id, payload_json FROM service_state")
        return {name: self._said(text) for name, text in rows}

    def checks(self, service_id: str) -> int:
        [(count,)] = self.beacon.sql("SELECT count(*) FROM check_sample WHERE ok AND service_id = ?", service_id)
        return int(count)

    def _said(self, text: str | None) -> tuple[str | None, str | None]:
        payload = json.loads(text) if text else {}
        return payload.get("status"), payload.get("reason")


@pytest.fixture
def upstreams() -> Iterator[tuple[Upstream, Upstream, Upstream]]:
    with upstream() as good, upstream() as bad, upstream() as secret:
        serve_palantir(good, {"queued": ["a", "b"], "running": ["c"]})
        yield good, bad, secret


def holds(watched: Watched, expected: Mapping[str, tuple[str, str | None]]) -> Callable[[], bool]:
    return lambda: watched.told() == expected


def test_services_that_answer_rubbish_are_stale_with_their_reason_and_harm_nobody(
    start_beacon: MakeBeacon, upstreams: tuple[Upstream, Upstream, Upstream]
) -> None:
    good, bad, secret = upstreams
    fine: dict[str, tuple[str, str | None]] = {"fine-1": ("verified", None), "fine-2": ("verified", None)}
    beacon = start_beacon(setup="tests.live.quick_poller", background=1, POLL_INTERVAL_S=INTERVAL_S)
    for name in fine:
        beacon.watch(name, good.url)
    watched = Watched(beacon)
    wait_for(holds(watched, fine), "two services that are fine", WITHIN_S)
    before, checks, began = probe.pss_bytes(watched.worker), watched.checks("fine-1"), time.monotonic()
    watched.most = before
    for name, answer in bad_answers(bad, secret).items():
        bad.answers[f"/{name}/api/v1/health"] = answer
        beacon.watch(name, f"{bad.url}/{name}")
    beacon.watch("refused", f"http://127.0.0.1:{free_port()}")
    expected = fine | {name: ("stale", reason) for name, reason in REASONS.items()}
    wait_for(holds(watched, expected), f"{expected}, not {watched.told()}", WITHIN_S)
    wait_for(lambda: bad.asked.count("/large/api/v1/health") >= 3, "some more of it", WITHIN_S)
    took, more = time.monotonic() - began, watched.checks("fine-1") - checks
    assert requests.get(f"{beacon.url}/healthz", timeout=scaled(5)).status_code == 200
    assert holds(watched, expected)()
    assert more >= took / 4, f"{more} checks of a service that is fine within {took:.0f} s"
    assert watched.most - before < ROOM, f"{(watched.most - before) / MIB:.0f} MiB more"
    assert secret.asked == [], "a redirect was followed"
