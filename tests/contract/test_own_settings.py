"""What only whoever runs the server can bring about: short streams, a full worker, a stop. Skipped with an address."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

import pytest

from tests.contract import own
from tests.contract.checks import retry_after
from tests.contract.conftest import World
from tests.contract.holding import holds
from tests.contract.patience import scaled
from tests.contract.streams import MAIN, Stream
from tests.contract.wire import Answer, Target, Unanswered, ask

LIFETIME = "A stream ends with `lifetime` when its time is up, and its client resumes with its cursor."
DRAIN = "A server that stops says `drain` to its streams."
NO_MORE = "A server that stops takes no more streams: it answers `503` with `Retry-After` for as long as it listens."
FULL = "A worker that is full answers `503` with `Retry-After`."
RATE = "Whoever publishes too fast gets `429` with `Retry-After`."

SETTINGS = {"WORKERS": 1, "STREAM_LIFETIME_S": 2, "MAX_STREAMS": 3, "PUBLISH_RATE_PER_USER": 5, "DRAIN_S": 2}
LONGEST_LIFE_S = 2 * 1.2 + 1


class Brief:
    """A server with short streams, room for three of them, and little patience with publishers."""

    def __init__(self, beacon: Any) -> None:
        self.beacon = beacon
        self.target = Target.parse(beacon.url)
        self._streams: list[Stream] = []
        self._has_stopped = False

    def stop(self) -> None:
        self._has_stopped = True
        self.beacon.stop()

    def revive(self) -> None:
        """For whoever comes after its stop, in whatever order the cases are."""
        if self._has_stopped:
            self.beacon.start()
            self._has_stopped = False

    def knock(self, user: str = "alice", **headers: str) -> Stream:
        sent = {**self.beacon.bearer(user, "stream"), **headers}
        self._streams.append(Stream(self.target, MAIN, sent))
        return self._streams[-1]

    def listen(self, user: str = "alice", **headers: str) -> Stream:
        """An open stream; those of the case before may take a moment to leave."""
        deadline = time.monotonic() + scaled(LONGEST_LIFE_S)
        while (stream := self.knock(user, **headers)).status == 503:
            assert time.monotonic() < deadline, "the worker stays full"
        assert stream.hello
        return stream

    def publish(self, event_type: str) -> int:
        return int(self.beacon.publish([{"type": event_type, "data": {}}])[0])

    def close(self) -> None:
        while self._streams:
            self._streams.pop().close()


def server(world: World, folders: pytest.TempPathFactory) -> AbstractContextManager[Any]:
    if world.beacon is None:
        pytest.skip("needs a server with other settings, and one that may be stopped")
    return own.started(folders.mktemp("brief"), background=0, **SETTINGS)


@pytest.fixture(scope="module")
def started(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brief]:
    with server(world, tmp_path_factory) as beacon:
        yield Brief(beacon)


@pytest.fixture
def brief(started: Brief) -> Iterator[Brief]:
    started.revive()
    yield started
    started.close()


@dataclass(frozen=True)
class Lived:
    """A stream whose time was up, after an event that it brought."""

    stream: Stream
    seconds: float
    seen: int


@pytest.fixture(scope="module")
def lived(started: Brief) -> Lived:
    started.revive()
    seen = started.publish("contract.before")
    stream = started.listen(**{"Last-Event-ID": str(seen - 1)})
    began = time.monotonic()
    stream.event(seen)
    stream.until_ended(LONGEST_LIFE_S)
    return Lived(stream, time.monotonic() - began, seen)


@holds(LIFETIME)
def test_a_stream_ends_when_its_time_is_up(lived: Lived) -> None:
    assert lived.seconds > SETTINGS["STREAM_LIFETIME_S"] * 0.8 - 0.2
    last = lived.stream.frames[-1]
    assert (last.event, last.json()) == ("bye", {"reason": "lifetime", "poll": False})


@holds(LIFETIME)
def test_a_client_resumes_after_its_time_was_up(lived: Lived, brief: Brief) -> None:
    missed = brief.publish("contract.between")
    resumed = brief.listen(**{"Last-Event-ID": str(lived.stream.ids[-1])})
    resumed.event(missed)
    assert resumed.ids_among([lived.seen, missed]) == [missed]


@holds(FULL)
def test_a_full_worker_takes_no_more(brief: Brief) -> None:
    for user in ("alice", "bob", "charlie"):
        brief.listen(user)
    retry_after(brief.knock("pia").refusal, 503)


@holds(RATE)
def test_a_publisher_in_a_hurry_is_refused(brief: Brief) -> None:
    headers = brief.beacon.bearer("bob", "publish")
    answers = [ask(brief.target, "POST", "/api/events", headers, json=[]) for _ in range(30)]
    refused = [answer for answer in answers if answer.status == 429]
    assert refused, {answer.status for answer in answers}
    retry_after(refused[0], 429)


@dataclass
class Stop:
    """What a client saw while the server stopped."""

    stream: Stream
    refusals: list[Answer | None] = field(default_factory=list)
    opened: int = 0

    def knock(self, brief: Brief) -> None:
        """Again and again, until nobody listens any more."""
        with suppress(OSError, Unanswered):
            while True:
                late = brief.knock("bob")
                self.opened += late.status == 200
                self.refusals += [late.refusal] if late.refusal else []


@pytest.fixture(scope="module")
def stop(started: Brief) -> Iterator[Stop]:
    started.revive()
    seen = Stop(started.listen())
    stopping = Thread(target=started.stop)
    stopping.start()
    seen.stream.first_named("bye")
    seen.knock(started)
    stopping.join()
    yield seen
    started.close()


@holds(DRAIN)
def test_a_server_that_stops_says_so(stop: Stop) -> None:
    stop.stream.until_ended()
    last = stop.stream.frames[-1]
    assert (last.event, last.json()) == ("bye", {"reason": "drain", "poll": False})


@holds(NO_MORE)
def test_a_server_that_stops_takes_no_more_streams(stop: Stop) -> None:
    assert stop.opened == 0
    assert stop.refusals, "it listened no more as soon as it had said goodbye"
    for refusal in stop.refusals:
        retry_after(refusal, 503)
