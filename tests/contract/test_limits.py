"""The caps and rates of one user, met on purpose by people of whom nobody else has need."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.contract.checks import problem, retry_after
from tests.contract.conftest import Knock, Listen, Publisher, World
from tests.contract.holding import holds
from tests.contract.people import Person
from tests.contract.streams import EVENTS, MAIN, PATHS, SSE, Stream
from tests.contract.wire import Answer, Connection, Target, read_answer, request_bytes

CAP = "A stream over the user's cap is refused with `429` and `Retry-After` in whole seconds."
TOGETHER = "The cap counts the streams of all paths together."
STAY = "A stream over the cap is refused; those that are open go on."
LET_IN = "Once a stream is closed another one is let in."
OTHERS = "The cap of one user is nothing to another."
CONNECT_RATE = "Whoever opens streams too fast gets `429` with `Retry-After`."
PUBLISH_RATE = "Whoever publishes too fast gets `429` with `Retry-After`."

MOST_STREAMS = 60
MOST_ATTEMPTS = 400
PUBLISHERS = 8
PUBLISH_FOR_S = 2.0
MORE_THAN_THE_RATE = 300


def is_rate(refusal: Answer | None) -> bool:
    """Refused for being too fast, not for having too many."""
    return problem(refusal, 429).get("reason") == "rate"


@dataclass
class Crowd:
    """One person with as many open streams as they may have, opened over all paths in turn."""

    target: Target
    person: Person
    streams: list[Stream]

    def one_more(self, path: str = MAIN) -> Stream:
        """What is answered to one more; whoever is told to be slower waits as asked."""
        while True:
            stream = Stream(self.target, path, self.person.bearer())
            if stream.status != 429 or not is_rate(stream.refusal):
                return stream
            time.sleep(retry_after(stream.refusal, 429))

    def fill(self) -> Stream:
        """Open streams until one is refused, which is the answer."""
        while (stream := self.one_more(PATHS[len(self.streams) % len(PATHS)])).status == 200:
            assert stream.hello
            self.streams.append(stream)
            if len(self.streams) >= MOST_STREAMS:
                pytest.skip(f"one user may open {MOST_STREAMS} streams and more here")
        return stream

    def settle(self) -> None:
        """Close streams until another one is let in, which joins them."""
        while self.streams:
            self.streams.pop().close()
            stream = self.one_more()
            if stream.status == 200:
                self.streams.append(stream)
                return

    def close(self) -> None:
        while self.streams:
            self.streams.pop().close()


@contextmanager
def full_crowd(world: World) -> Iterator[Crowd]:
    made = Crowd(world.target, world.someone(), [])
    try:
        made.fill()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def crowd(world: World) -> Iterator[Crowd]:
    with full_crowd(world) as made:
        yield made


@pytest.fixture
def own_crowd(world: World) -> Iterator[Crowd]:
    """One whose streams a test may close and open."""
    with full_crowd(world) as made:
        yield made


@holds(CAP)
def test_one_too_many_is_refused(crowd: Crowd) -> None:
    retry_after(crowd.fill().refusal, 429)
    assert len(crowd.streams) >= 2


@holds(TOGETHER)
def test_it_is_refused_on_every_other_path(crowd: Crowd) -> None:
    assert [crowd.one_more(path).status for path in PATHS[1:]] == [429] * 3


@holds(TOGETHER)
def test_a_page_s_stream_is_one_of_them(crowd: Crowd) -> None:
    retry_after(crowd.one_more(f"{MAIN}?as=html").refusal, 429)


@holds(TOGETHER)
def test_a_cookie_and_a_second_token_are_the_same_user(crowd: Crowd, knock: Knock) -> None:
    retry_after(knock(MAIN, crowd.person.browser.cookie).refusal, 429)
    retry_after(knock(MAIN, crowd.person.bearer("stream", "publish")).refusal, 429)


@holds(STAY)
def test_those_that_are_open_go_on(crowd: Crowd, publish: Publisher, kind: str) -> None:
    event_id = publish(kind)
    for stream in crowd.streams:
        if stream.path in (MAIN, EVENTS, SSE):
            stream.event(event_id)
        assert stream.named("bye") == []
        assert not stream.ended


@holds(OTHERS)
def test_another_user_is_let_in(crowd: Crowd, listen: Listen, charlie: Person) -> None:
    assert listen(charlie).status == 200


@holds(LET_IN)
def test_a_closed_stream_makes_room_for_another(own_crowd: Crowd, world: World) -> None:
    before = len(own_crowd.streams)
    own_crowd.settle()
    assert own_crowd.streams, "nobody is let in although all are closed"
    if world.beacon is not None:  # several workers may have let in too many at the same moment, one never does
        assert len(own_crowd.streams) == before


@holds(CONNECT_RATE)
def test_opening_too_fast_is_refused(world: World) -> None:
    """Each is closed before the next is opened, so that it is the pace that is too much."""
    headers = world.someone().bearer()
    for _ in range(MOST_ATTEMPTS):
        with Stream(world.target, MAIN, headers) as stream:
            if stream.status == 429 and is_rate(stream.refusal):
                retry_after(stream.refusal, 429)
                return
    pytest.fail(f"{MOST_ATTEMPTS} streams in a row, and none was too fast")


@holds(CONNECT_RATE)
def test_whoever_waits_as_asked_is_let_in_again(world: World) -> None:
    crowd = Crowd(world.target, world.someone(), [])
    for _ in range(MOST_ATTEMPTS):
        with Stream(world.target, SSE, crowd.person.bearer()) as stream:
            if stream.status == 429 and is_rate(stream.refusal):
                break
    with crowd.one_more() as stream:
        assert stream.status == 200


@holds(PUBLISH_RATE)
def test_publishing_too_fast_is_refused(world: World) -> None:
    """Empty arrays: each is a request, and none leaves anything in the log."""
    headers = {**world.someone("operator").bearer("publish"), "Content-Type": "application/json"}
    until = time.monotonic() + PUBLISH_FOR_S
    with ThreadPoolExecutor(PUBLISHERS) as pool:
        runs = [pool.submit(publish_until_refused, world.target, headers, until) for _ in range(PUBLISHERS)]
    results = [run.result() for run in runs]
    refusal = next((found for _, found in results if found), None)
    per_second = sum(sent for sent, _ in results) / PUBLISH_FOR_S
    if refusal is None and per_second < MORE_THAN_THE_RATE:
        pytest.skip(f"only {per_second:.0f} requests a second get through from here")
    retry_after(refusal, 429)


def publish_until_refused(target: Target, headers: dict[str, str], until: float) -> tuple[int, Answer | None]:
    """How many requests went over one connection, and the refusal that was met."""
    connection = Connection(target)
    sent = 0
    try:
        while time.monotonic() < until:
            connection.send(request_bytes(target, "POST", "/api/events", headers, b"[]"))
            answer = read_answer(connection, "POST", "an empty array")
            sent += 1
            if answer.status == 429:
                return sent, answer
            if answer.header("Connection") == "close":
                connection.close()
                connection = Connection(target)
    finally:
        connection.close()
    return sent, None
