"""What is cut when its time is over, what is not, and that nobody is left waiting."""

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from app.infra.deadlines import Deadline
from tests.support.machine import scaled
from tests.support.waiting import wait_for


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def is_watching() -> bool:
    return "beacon-deadlines" in {thread.name for thread in threading.enumerate()}


def test_a_shorter_deadline_that_comes_later_is_kept_too(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = pair
    ours.settimeout(scaled(10))
    with Deadline(30), Deadline(0.05) as short:
        short.watch(ours)
        began = time.monotonic()
        assert ours.recv(1) == b""
    assert short.passed
    assert time.monotonic() - began < scaled(5)


def test_what_ended_in_time_is_never_cut(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    with Deadline(0.05) as over:
        over.watch(ours)
    with Deadline(0.1) as later:  # its end shows that the time of the first one has passed
        wait_for(lambda: later.passed)
    theirs.send(b"x")
    assert ours.recv(1) == b"x"
    assert not over.passed


def test_a_socket_that_was_taken_over_is_reached_by_its_twin(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.settimeout(scaled(10))
    with Deadline(0.05) as deadline:
        deadline.watch_twin(ours)
        taken = socket.socket(fileno=ours.detach())  # as TLS does
        with taken:
            assert theirs.recv(1) == b""


@pytest.mark.parametrize("watch", [Deadline.watch, Deadline.watch_twin])
def test_a_socket_that_comes_after_the_deadline_is_cut_too(
    pair: tuple[socket.socket, socket.socket], watch: Callable[[Deadline, socket.socket], None]
) -> None:
    ours, theirs = pair
    theirs.settimeout(scaled(10))
    with Deadline(0.01) as deadline:
        wait_for(lambda: deadline.passed)
        watch(deadline, ours)
        assert theirs.recv(1) == b""


def test_nobody_waits_once_no_deadline_is_left() -> None:
    for _ in range(100):
        with Deadline(0.05):
            pass
    wait_for(lambda: not is_watching())
    with Deadline(0.05) as again:
        wait_for(lambda: again.passed)
    wait_for(lambda: not is_watching())
