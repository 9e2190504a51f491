"""Clients that stop in the middle of a request: they hold nothing that others need, on any route, and are let go."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress

import pytest
import requests
from flask import Flask

from tests.live import probe
from tests.live.raw import Raw
from tests.support.beacon_server import Beacon
from tests.support.machine import scaled
from tests.test_permissions import VALUES

# More than a worker's database connections, fewer than one sender may have under way.
AT_ONCE = 24


@pytest.fixture(scope="module")
def beacon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beacon]:
    """One worker that tells how many database connections are in use."""
    running = Beacon(tmp_path_factory.mktemp("beacon"), config=probe.CONFIG, background=0)
    running.start()
    yield running
    running.end()


def routes(app: Flask) -> Sequence[str]:
    """`METHOD path` of every route."""
    found = set()
    with app.test_request_context():
        for rule in app.url_map.iter_rules():
            built = rule.build({name: VALUES.get(name, "nothing") for name in rule.arguments})
            assert built
            found |= {f"{method} {built[1]}" for method in rule.methods or ()}
    return sorted(found)


def begin(beacon: Beacon, route: str, credential: str) -> Raw:
    """A client that announces a body, sends the beginning of it and nothing more."""
    raw = Raw(beacon)
    head = f"{route} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {credential}\r\nContent-Type: application/json\r\n"
    raw.send(f"{head}Content-Length: 5000\r\n\r\n{{".encode())
    return raw


@pytest.fixture(scope="module", autouse=True)
def stalled(beacon: Beacon) -> Iterator[Raw]:
    """A client whose body does not come. Begun before all tests of this module, so that its ten seconds pass while
    they run."""
    with begin(beacon, "POST /audit/client-error", "x") as raw:
        yield raw


@pytest.mark.parametrize("credential", ["x", "good"])
def test_a_client_that_stalls_on_any_route_holds_up_nobody(beacon: Beacon, credential: str) -> None:
    token = beacon.token("ada", "admin", "publish", "command", "read") if credential == "good" else credential
    (pid,) = beacon.worker_pids()
    beacon.publish([{"type": "stall.check", "data": {}}])  # its token is known from here on
    every = routes(beacon.app)
    for start in range(0, len(every), AT_ONCE):
        some = every[start : start + AT_ONCE]
        with ExitStack() as stack:
            for route in some:
                stack.enter_context(begin(beacon, route, token))
            probe.settled(pid, lambda report: report.checked_out == 0, f"no connection held by {some}")
            assert requests.get(f"{beacon.url}/readyz", timeout=scaled(10)).status_code == 200, some
            beacon.publish([{"type": "stall.check", "data": {}}])


def test_one_address_waits_with_few_bodies_and_is_told_to_come_back(beacon: Beacon) -> None:
    with ExitStack() as stack:
        for _ in range(40):
            last = stack.enter_context(begin(beacon, "POST /audit/client-error", "x"))
        last.until(b"\r\n\r\n")
        assert last.head.startswith(b"HTTP/1.1 429 ")
        assert b"\r\nRetry-After: " in last.head
        (pid,) = beacon.worker_pids()
        probe.settled(pid, lambda report: report.checked_out == 0, "no connection held")
        beacon.publish([{"type": "stall.check", "data": {}}])  # a program that is known has places of its own


def test_a_head_that_comes_byte_by_byte_is_not_waited_for(beacon: Beacon) -> None:
    with Raw(beacon) as raw:
        raw.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        for _ in range(int(scaled(40) * 4)):
            if raw.is_over:
                break
            with suppress(OSError):
                raw.send(b"a")
            raw.for_a_while(0.25)
        assert raw.is_over
        assert raw.received == b""


def test_a_body_that_does_not_come_is_answered_and_its_connection_closed(stalled: Raw) -> None:
    stalled.to_the_end(within_s=40)
    assert stalled.head.startswith(b"HTTP/1.1 408 ")
