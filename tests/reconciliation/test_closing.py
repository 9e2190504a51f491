"""A source that is replaced or removed gives its connections up, and never while a poll uses them."""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from flask import Flask

from app.config import current_settings
from app.db import now_epoch, write
from app.infra.lease import LeaseRow
from app.reconciliation import build, registry
from app.reconciliation.observer import WatchedService
from app.sources import kinds
from app.sources.poller import Poller
from tests.support.machine import scaled
from tests.support.waiting import wait_for

HEALTH = b'{"status":"ok"}'


class Server:
    """Takes connections, says nothing or answers every HTTP request, and knows how many are open."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.open: set[socket.socket] = set()
        self.asked = 0
        self.answers = threading.Event()
        self.answers.set()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        self.answers.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in list(self.open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(scaled(5))

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                one, _ = self._listener.accept()
                self.open.add(one)
                thread = threading.Thread(target=self._serve, args=(one,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, one: socket.socket) -> None:
        with suppress(OSError):
            while one.recv(65_536):
                self.asked += 1
                self.answers.wait(scaled(20))
                one.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(HEALTH), HEALTH))
        self.open.discard(one)
        one.close()


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    made = [Server(), Server()]
    yield made
    for server in made:
        server.close()


@pytest.fixture
def poller(app: Flask) -> Iterator[Poller[WatchedService]]:
    """The application's own, in a hurry."""
    with app.app_context():
        made = build.build_poller(app, current_settings().model_copy(update={"poll_interval_s": 0.05}))
    made._tick_s = 0.02
    yield made
    made.stop(scaled(10))


class Looks:
    """How often the poller has asked which services there are since."""

    def __init__(self, poller: Poller[WatchedService]) -> None:
        self.count = 0
        real = poller._services

        def services() -> Sequence[WatchedService]:
            found = real()
            self.count += 1
            return found

        poller._services = services


def put(app: Flask, server: Server, kind: str = "palantir") -> None:
    scheme = urlsplit(kinds.get_kind(kind).url_example).scheme
    with app.app_context(), write() as session:
        registry.put(session, id="mail", name="Mail", kind=kind, url=f"{scheme}://127.0.0.1:{server.port}")


def poll(app: Flask, poller: Poller[WatchedService], server: Server) -> None:
    """Until it has been asked a few times."""
    put(app, server)
    poller.start()
    wait_for(lambda: server.asked > 2, "polls", 20)


def wait_until(server: Server, count: int) -> None:
    wait_for(lambda: len(server.open) == count, f"{count} open connections", 20)


@pytest.mark.parametrize("kind", kinds.OWN_KINDS)
def test_a_source_that_is_replaced_gives_its_connections_up(
    app: Flask, servers: list[Server], poller: Poller[WatchedService], kind: str
) -> None:
    old, new = servers
    old.answers.clear()  # one that says nothing holds the connection of any kind
    new.answers.clear()
    put(app, old, kind)
    poller.start()
    wait_for(lambda: old.asked > 0, "a poll", 20)
    held = [loop.service for loop in poller._loops.values()]  # nothing is closed only because nobody refers to it
    put(app, new, kind)
    old.answers.set()
    wait_for(lambda: new.asked > 0, "a poll of the new address", 30)
    wait_until(old, 0)
    assert held
    new.answers.set()  # or the poller would wait for this poll when it stops


def test_a_poll_that_is_under_way_keeps_its_connection(
    app: Flask, servers: list[Server], poller: Poller[WatchedService]
) -> None:
    old, new = servers
    poll(app, poller, old)
    old.answers.clear()
    asked = old.asked
    wait_for(lambda: old.asked > asked, "a poll under way", 20)
    put(app, new)
    looked = Looks(poller)
    wait_for(lambda: looked.count > 5, "ticks, each of which looks at the services", 20)
    assert len(old.open) == 1
    assert new.asked == 0
    old.answers.set()
    wait_until(old, 0)


def test_a_source_that_is_removed_gives_its_connections_up(
    app: Flask, servers: list[Server], poller: Poller[WatchedService]
) -> None:
    server, _ = servers
    poll(app, poller, server)
    wait_until(server, 1)
    held = [loop.service for loop in poller._loops.values()]
    with app.app_context(), write() as session:
        registry.remove(session, "mail", "ada")
    wait_until(server, 0)
    assert held


def test_whoever_no_longer_polls_holds_no_connection(
    app: Flask, servers: list[Server], poller: Poller[WatchedService]
) -> None:
    server, _ = servers
    poller._renew_every_s = 0.02
    poll(app, poller, server)
    with app.app_context(), write() as session:
        session.execute(
            sa.update(LeaseRow).values(holder="another", fence=LeaseRow.fence + 1, expires_at=now_epoch() + 60)
        )
    wait_until(server, 0)


def test_a_source_that_lives_on_keeps_its_connection(
    app: Flask, servers: list[Server], poller: Poller[WatchedService]
) -> None:
    server, _ = servers
    poll(app, poller, server)
    [kept] = server.open
    asked = server.asked
    with app.app_context(), write() as session:
        registry.put(session, id="mail", name="Renamed", kind="palantir", url=f"http://127.0.0.1:{server.port}")
    wait_for(lambda: server.asked > asked + 3, "more polls", 20)
    assert server.open == {kept}
