"""`beacon doctor --url` through a real nginx: each mistake in its configuration is named once, with what to do."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.cli import outside_check, outside_stream
from app.cli.finding import Finding
from tests.live.certificates import make_certificate
from tests.support.beacon_server import Beacon
from tests.support.nginx import (
    ADDRESS,
    FOR_STREAMS,
    HOLDING_BACK,
    PREFIXED_LINES,
    PROGRAM,
    ROOT_LINES,
    STRICT_LINES,
    USUAL_LINES,
    Nginx,
)

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no nginx (Debian: sudo apt-get install nginx)")

# Where it must wait in vain, it waits this long.
IMPATIENT_S = 1.5
ALL = ["outside", "prefix", "tls", "forwarded", "protocol", "stream"]
COMPRESSING = "gzip on; gzip_types text/event-stream; gzip_proxied any; gzip_min_length 0; gzip_http_version 1.0;\n"

Check = Callable[..., dict[str, Finding]]


@pytest.fixture(scope="module")
def beacon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beacon]:
    running = Beacon(tmp_path_factory.mktemp("beacon"), background=0, TRUSTED_PROXIES=ADDRESS)
    running.start()
    yield running
    running.end()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def check(beacon: Beacon, tmp_path: Path, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Check:
    """`check(lines=…)`: what the doctor says of Beacon behind an nginx with these lines, by subject."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))

    def look(token: str | None = None, **options: Any) -> dict[str, Finding]:
        options = {"lines": ROOT_LINES, "certificate": certificate, **options}
        with Nginx(tmp_path / "nginx", beacon.port, **options) as nginx:
            text = beacon.token("alice", "stream") if token is None else token
            found = list(outside_check.check_from_outside(nginx.url, text, watch_s=0))
        return {finding.subject: finding for finding in found}

    return look


def wrong(found: dict[str, Finding]) -> list[str]:
    return [subject for subject, finding in found.items() if not finding.ok]


@pytest.mark.parametrize("below", ["", "/beacon"])
def test_a_proxy_that_does_all_it_should_is_fine(check: Check, below: str) -> None:
    found = check(lines=PREFIXED_LINES if below else ROOT_LINES, below=below)
    assert (list(found), wrong(found)) == (ALL, []), found
    assert "2 heartbeats in time" in found["stream"].text
    assert "--watch SECONDS looks longer" in found["stream"].text


def test_without_a_token_all_but_the_stream_is_checked(check: Check) -> None:
    found = check(token="", lines=STRICT_LINES)
    assert (list(found), wrong(found)) == (ALL, [])
    assert 'to be strict, make it set or remove them (nginx: proxy_set_header X-Forwarded-Prefix "";)' in str(found)
    assert "not checked" in found["stream"].text


@pytest.mark.parametrize(
    ("options", "subject", "words"),
    [
        ({"lines": ROOT_LINES, "below": "/beacon"}, "prefix", "X-Forwarded-Prefix: /beacon"),
        ({"lines": f"{ROOT_LINES}proxy_hide_header Strict-Transport-Security;"}, "tls", "removes Strict-Transport"),
        ({"lines": USUAL_LINES}, "forwarded", "proxy_set_header X-Forwarded-Host $http_host;"),
        ({"http2": False}, "protocol", "six connections"),
        ({"upstream_lines": f"{FOR_STREAMS}{COMPRESSING}"}, "stream", "compresses it (gzip)"),
        ({"upstream_lines": HOLDING_BACK}, "stream", "buffers it"),
        ({"upstream_lines": f"{FOR_STREAMS}proxy_read_timeout 500ms;"}, "stream", "proxy_read_timeout 1h"),
    ],
    ids=["no prefix", "no HSTS", "client's headers", "HTTP/1.1", "compresses", "buffers", "cuts"],
)
def test_a_mistake_is_named_once_with_what_to_do(
    check: Check, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], subject: str, words: str
) -> None:
    if options.get("upstream_lines") == HOLDING_BACK:
        monkeypatch.setattr(outside_stream, "HELLO_WITHIN_S", IMPATIENT_S)
    found = check(**options)
    assert wrong(found) == [subject], found
    assert words in found[subject].text
