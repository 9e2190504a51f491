"""The cap on a user's streams over real workers that share a database."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
import requests

from tests.live.conftest import MakeBeacon
from tests.support.beacon_server import Beacon
from tests.support.machine import scaled

CAP = 8


@pytest.fixture
def beacon(start_beacon: MakeBeacon) -> Beacon:
    return start_beacon(WORKERS=2, MAX_STREAMS_PER_USER=CAP)


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    """Whatever is opened in it is cut in the end."""
    with ExitStack() as stack:
        yield stack


def connect(beacon: Beacon, opened: ExitStack, user: str) -> requests.Response:
    """By a connection of its own; the kernel chooses the worker."""
    headers = beacon.bearer(user, "stream")
    return opened.enter_context(
        requests.get(f"{beacon.url}/api/stream/events", headers=headers, stream=True, timeout=scaled(10))
    )


def of_workers(beacon: Beacon, user: str) -> int:
    """How many workers have opened a stream for this user, from the log."""
    lines = [line for line in beacon.log_text().splitlines() if "[SSE] open" in line and f"user={user} " in line]
    return len({line.split("pid=")[1].split()[0] for line in lines})


def test_streams_opened_one_after_the_other_fill_the_cap_exactly(beacon: Beacon, opened: ExitStack) -> None:
    streams = []
    for _ in beacon.each_worker_alone():
        streams += [connect(beacon, opened, "alice") for _ in range(CAP // 2)]
    assert [stream.status_code for stream in streams] == [200] * CAP
    assert of_workers(beacon, "alice") == 2
    with ThreadPoolExecutor(12) as pool:  # a refusal takes half a second, in which a stream may end elsewhere
        more = list(pool.map(lambda _: connect(beacon, opened, "alice"), range(12)))
    assert [stream.status_code for stream in more] == [429] * 12
    streams[0].close()
    assert [connect(beacon, opened, "alice").status_code for _ in range(2)] == [200, 429]


def test_streams_opened_at_once_fill_the_cap_exactly(beacon: Beacon, opened: ExitStack) -> None:
    for user in ("alice", "bob", "charlie"):
        beacon.token(user, "stream")
        with ThreadPoolExecutor(20) as pool:
            streams = list(pool.map(lambda _, user=user: connect(beacon, opened, user), range(20)))
        assert sorted(stream.status_code for stream in streams) == [200] * CAP + [429] * 12
