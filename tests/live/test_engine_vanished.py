"""A peer whose network is gone says nothing more: the heartbeats that nobody acknowledges give it away."""

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.live import probe
from tests.live.fleet import Fleet, fleet_of
from tests.support.beacon_server import Beacon
from tests.support.machine import scaled

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(shutil.which("ip") is None, reason="network namespaces need the ip command"),
]
NOTICED_S = 45.0
SERVER, CLIENT = "10.213.7.1", "10.213.7.2"


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=scaled(10))


class Link:
    """Two network namespaces and a cable between them; nothing outside can reach either."""

    def __init__(self) -> None:
        self.server, self.client = f"beacon-s{os.getpid()}", f"beacon-c{os.getpid()}"

    def __enter__(self) -> "Link":
        try:
            for name in (self.server, self.client):
                ip("netns", "add", name)
        except subprocess.CalledProcessError as error:
            self.__exit__()
            pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
        ip("link", "add", "beacon0", "netns", self.server, "type", "veth", "peer", "beacon1", "netns", self.client)
        for name, device, address in ((self.server, "beacon0", SERVER), (self.client, "beacon1", CLIENT)):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", device)
            ip("-n", name, "link", "set", device, "up")
            ip("-n", name, "link", "set", "lo", "up")
        return self

    def __exit__(self, *_: object) -> None:
        for name in (self.server, self.client):
            with suppress(subprocess.CalledProcessError):
                ip("netns", "del", name)

    def unplug(self) -> None:
        ip("-n", self.client, "link", "set", "beacon1", "down")

    def within(self, name: str, call: Callable[[], Any]) -> Any:
        """Call it in a thread that lives in this namespace: its sockets and processes stay there."""
        result: list[Any] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                with Path(f"/run/netns/{name}").open() as namespace:
                    set_namespace(namespace.fileno())
                result.append(call())
            except BaseException as error:  # noqa: BLE001 -- for the caller's thread to raise
                errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join(scaled(60))
        if errors:
            raise errors[0]
        return result[0]


def set_namespace(descriptor: int) -> None:
    """os.setns came with Python 3.12."""
    import ctypes

    network = 0x40000000
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, network) != 0:
        raise OSError(ctypes.get_errno(), "setns")


@pytest.fixture
def link() -> Iterator[Link]:
    with Link() as made:
        yield made


@pytest.fixture
def beacon(link: Link, tmp_path: Path) -> Iterator[Beacon]:
    """With the heartbeat that it has by default, listening at one end of the cable."""
    address = "0.0.0.0"  # noqa: S104 -- of a namespace that nothing else reaches
    settings = {"BIND": address, "HEARTBEAT_S": 15, "MAX_STREAMS_PER_USER": 100}
    running = Beacon(tmp_path, config=probe.CONFIG, background=0, **settings)
    link.within(link.server, running.start)
    yield running
    running.end()


def open_over(link: Link, fleet: Fleet, count: int) -> None:
    link.within(link.client, lambda: fleet.open("alice", count, comes_back=False))
    fleet.all_open()


def worker_report(link: Link, pid: int) -> probe.Report:
    """Asked from within: an abstract socket belongs to its namespace, too."""
    report: probe.Report = link.within(link.server, lambda: probe.ask(pid))
    return report


def test_a_peer_whose_link_goes_down_is_noticed_within_45_seconds(link: Link, beacon: Beacon) -> None:
    (pid,) = link.within(link.server, beacon.worker_pids)
    with fleet_of(beacon, SERVER) as fleet:
        open_over(link, fleet, 20)
        assert worker_report(link, pid).streams == {20}
        link.unplug()
        since = time.monotonic()
        while worker_report(link, pid).streams != {0}:
            assert time.monotonic() - since < scaled(NOTICED_S), f"still there: {worker_report(link, pid)}"
            time.sleep(0.2)
    assert beacon.log_text().count("reason=client-gone") == 20


def test_a_peer_that_vanishes_while_it_is_sent_to_is_noticed_within_45_seconds(link: Link, beacon: Beacon) -> None:
    """What is under way is what nobody acknowledges."""
    (pid,) = link.within(link.server, beacon.worker_pids)
    with fleet_of(beacon, SERVER) as fleet:
        open_over(link, fleet, 5)
        link.unplug()
        since = time.monotonic()
        link.within(link.server, lambda: beacon.publish([{"type": "lost", "data": {"text": "x" * 9_000}}] * 10))
        while worker_report(link, pid).streams != {0}:
            assert time.monotonic() - since < scaled(NOTICED_S)
            time.sleep(0.2)
