"""Clients that others wrote, judged by when they have an event: they read by buffer, and a quiet stream fills none.

`requests`, urllib3 and the clients on them hand out what has come of a body that ends with its connection only when a
buffer of theirs is full. So each waits for one event after the other on a stream that says nothing else; a reader
beside it, who sees every byte at once, counts the heartbeats meanwhile.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from threading import Thread
from typing import Any

import pytest

from tests.contract import own
from tests.contract.conftest import Publisher, World
from tests.contract.holding import holds
from tests.contract.patience import scaled
from tests.contract.people import Admin
from tests.contract.streams import EVENTS, MAIN, SSE, Stream
from tests.contract.wire import Target

AT_ONCE = "A client that reads by buffer has `hello`, each event and `bye` at once, however quiet the stream is."

HEARTBEAT_S = 60  # of a server of our own: few cases see one
WITHIN_S = 10.0
COUNT = 3
OURS = ("hello", "heartbeat", "bye")

Seen = tuple[str, str]  # an event's name and its data
Client = Callable[[str, dict[str, str]], Iterator[Seen]]


def by_iter_lines(url: str, headers: dict[str, str]) -> Iterator[Seen]:
    """As scripts do it, with `requests` alone."""
    requests: Any = pytest.importorskip("requests")
    name = "message"
    with closing(requests.get(url, headers=headers, stream=True, timeout=scaled(20))) as answer:
        for line in answer.iter_lines():
            field, _, value = line.decode().partition(": ")
            if field == "data":
                yield name, value
            name = value if field == "event" else name if line else "message"


def by_sseclient(url: str, headers: dict[str, str]) -> Iterator[Seen]:
    requests: Any = pytest.importorskip("requests")
    sseclient: Any = pytest.importorskip("sseclient")
    with closing(requests.get(url, headers=headers, stream=True, timeout=scaled(20))) as answer:
        for event in sseclient.SSEClient(answer).events():
            yield event.event, event.data


def by_requests_sse(url: str, headers: dict[str, str]) -> Iterator[Seen]:
    requests_sse: Any = pytest.importorskip("requests_sse")
    with requests_sse.EventSource(url, headers=headers, timeout=scaled(20)) as source:
        for event in source:
            yield event.type, event.data


def by_launchdarkly(url: str, headers: dict[str, str]) -> Iterator[Seen]:
    ld_eventsource: Any = pytest.importorskip("ld_eventsource")
    config: Any = pytest.importorskip("ld_eventsource.config")
    with closing(ld_eventsource.SSEClient(config.ConnectStrategy.http(url, headers=headers))) as client:
        for event in client.events:
            yield event.event, event.data


class Reading:
    """A client at work in a thread of its own, until it has seen `bye`."""

    def __init__(self, client: Client, url: str, headers: dict[str, str]) -> None:
        self.seen: list[Seen] = []
        self.ended_by: BaseException | None = None
        self._thread = Thread(target=self._run, args=(client, url, headers), daemon=True)
        self._thread.start()

    @property
    def names(self) -> list[str]:
        return [name for name, _ in list(self.seen)]

    @property
    def numbers(self) -> list[int]:
        """The `n` of each published event, in the order in which they came."""
        return [json.loads(data)["data"]["n"] for name, data in list(self.seen) if name not in OURS]

    def join(self) -> None:
        self._thread.join(scaled(WITHIN_S))
        assert not self._thread.is_alive(), "the client does not end"

    def _run(self, client: Client, url: str, headers: dict[str, str]) -> None:
        try:
            for name, data in client(url, headers):
                self.seen.append((name, data))
                if name == "bye":
                    return
        except BaseException as error:  # noqa: BLE001 -- for the case's own thread to show
            self.ended_by = error


@pytest.fixture(scope="module")
def quiet(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The deployment that is asked, or one of our own whose heartbeats are rare."""
    if world.beacon is None:
        yield world
        return
    with own.started(tmp_path_factory.mktemp("quiet"), HEARTBEAT_S=HEARTBEAT_S) as beacon:
        target = Target.parse(beacon.url)
        yield World(target, Admin(target, own.admin_token(beacon)), beacon, world.is_patient)


def wait_at_once(reading: Reading, plain: Stream, look: Callable[[], bool], what: str) -> None:
    """Until the client has it: before the reader beside it has heard a second heartbeat."""
    beats, deadline = len(plain.named("heartbeat")), time.monotonic() + scaled(WITHIN_S)
    while not look():
        assert reading.ended_by is None, repr(reading.ended_by)
        assert time.monotonic() < deadline, f"no {what} within {WITHIN_S} s; the client has {reading.names}"
        plain.take_for(0.02)
        later = len(plain.named("heartbeat")) - beats
        assert later < 2, f"{what} is late by {later} heartbeats; the client has {reading.names}"


def check(quiet: World, client: Client, kind: str, path: str = MAIN) -> None:
    publish, url = Publisher(quiet, quiet.someone("operator")), f"{path}?topics={kind}"
    token = quiet.admin.add_token(quiet.someone(), "stream")
    scheme = "https" if quiet.target.tls else "http"
    with Stream(quiet.target, url, token.headers) as plain:
        reading = Reading(client, f"{scheme}://{quiet.target.name}{quiet.target.below}{url}", token.headers)
        try:
            wait_at_once(reading, plain, lambda: "hello" in reading.names, "hello")
            for number in range(COUNT):
                publish(kind, {"n": number})
                wait_at_once(reading, plain, lambda: len(reading.numbers) > number, f"event {number}")  # noqa: B023 -- called before the next round
        finally:
            quiet.admin.revoke(token)  # the client comes to its end, whatever has happened
            reading.join()
    assert reading.numbers == list(range(COUNT))
    assert reading.names[-1] == "bye"


@holds(AT_ONCE)
def test_a_script_on_requests_has_everything_at_once(quiet: World, kind: str) -> None:
    check(quiet, by_iter_lines, kind)


@holds(AT_ONCE)
def test_a_script_on_requests_has_everything_at_once_on_the_other_paths(quiet: World, kind: str) -> None:
    check(quiet, by_iter_lines, kind, EVENTS)
    check(quiet, by_iter_lines, kind, SSE)


@holds(AT_ONCE)
def test_sseclient_py_has_everything_at_once(quiet: World, kind: str) -> None:
    check(quiet, by_sseclient, kind)


@holds(AT_ONCE)
def test_requests_sse_has_everything_at_once(quiet: World, kind: str) -> None:
    check(quiet, by_requests_sse, kind)


@holds(AT_ONCE)
def test_launchdarkly_s_client_has_everything_at_once(quiet: World, kind: str) -> None:
    check(quiet, by_launchdarkly, kind)
