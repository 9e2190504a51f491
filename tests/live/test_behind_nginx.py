"""Behind a real nginx: a login with the lines that everybody copies, in all four combinations of scheme and port; and
`beacon doctor --url`, which names each mistake in its configuration once, with what to do."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from app.cli import outside_check, outside_stream
from app.cli.finding import Finding
from tests.live.certificates import make_certificate
from tests.support.beacon_server import PASSWORD, Beacon
from tests.support.machine import scaled
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

HTTP_HOST = USUAL_LINES.replace("Host $host", "Host $http_host")
WITH_PORT = f"{USUAL_LINES}proxy_set_header X-Forwarded-Port $server_port;"
# Where it must wait in vain, it waits this long.
IMPATIENT_S = 1.5
ALL = ["outside", "prefix", "tls", "forwarded", "protocol", "stream"]
COMPRESSING = "gzip on; gzip_types text/event-stream; gzip_proxied any; gzip_min_length 0; gzip_http_version 1.0;\n"

Check = Callable[..., dict[str, Finding]]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def beacon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beacon]:
    """Trusts the nginx on this machine."""
    running = Beacon(tmp_path_factory.mktemp("beacon"), background=0, TRUSTED_PROXIES=ADDRESS)
    running.start()
    yield running
    running.end()


class Browser:
    """What a browser sends, at an address as a person types it: nginx listens on a port of its own, and `host` is what
    stands in the address bar. Old browsers, and those on plain HTTP, send no `Sec-Fetch-Site`."""

    def __init__(self, nginx: Nginx, certificate: tuple[Path, Path], host: str) -> None:
        self._session = requests.Session()
        # Not the session's own `verify`: a bundle named in the environment would win over it.
        self._asked = {"verify": str(certificate[0]), "timeout": scaled(10), "allow_redirects": False}
        self._nginx, self.origin = nginx, f"{nginx.scheme}://{host}"
        self._session.headers.update({"Host": host, "Accept": "text/html", "X-Forwarded-For": "192.0.2.66"})
        self.jar: dict[str, str] = {}

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def get(self, path: str) -> requests.Response:
        return self._keep(self._session.get(f"{self._nginx.url}{path}", headers=self._cookies(), **self._asked))

    def post(self, path: str, form: dict[str, str]) -> requests.Response:
        headers = {"Origin": self.origin, "Referer": f"{self.origin}/login", **self._cookies()}
        url = f"{self._nginx.url}{path}"
        sent = self._session.post(url, form, headers=headers, **self._asked)
        return self._keep(sent)

    def log_in(self) -> requests.Response:
        page = self.get("/login")
        found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page.text)
        assert found, page.text
        return self.post("/login", {"username": "alice", "password": PASSWORD, "csrf_token": found[1]})

    def _cookies(self) -> dict[str, str]:
        return {"Cookie": "; ".join(f"{name}={value}" for name, value in self.jar.items())}

    def _keep(self, answer: requests.Response) -> requests.Response:
        """As a browser does: `Secure` comes back over TLS only."""
        for cookie in answer.cookies:
            if not cookie.secure or self._nginx.scheme == "https":
                self.jar[cookie.name] = cookie.value or ""
        self._session.cookies.clear()
        return answer


@pytest.mark.parametrize("lines", [USUAL_LINES, HTTP_HOST, WITH_PORT], ids=["$host", "$http_host", "with port"])
@pytest.mark.parametrize("port", ["default", "another"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_login_works_behind_a_usual_nginx(
    beacon: Beacon, tmp_path: Path, certificate: tuple[Path, Path], scheme: str, port: str, lines: str
) -> None:
    tls = certificate if scheme == "https" else None
    if lines == WITH_PORT and port == "default":
        lines = WITH_PORT.replace("$server_port", "443" if tls else "80")
    with Nginx(tmp_path / "nginx", beacon.port, lines=lines, certificate=tls) as nginx:
        host = "127.0.0.1" if port == "default" else f"127.0.0.1:{nginx.port}"
        with Browser(nginx, certificate, host) as browser:
            answer = browser.log_in()
            assert answer.status_code == 303, answer.text
            cookie = answer.headers["Set-Cookie"]
            assert (cookie.startswith("__Host-beacon="), "Secure" in cookie) == (scheme == "https",) * 2
            assert ("Strict-Transport-Security" in answer.headers) == (scheme == "https")
            assert "alice" in browser.get("/").text
    ((origin,),) = beacon.sql("SELECT origin FROM command_audit WHERE action_type = 'login' ORDER BY seq DESC LIMIT 1")
    assert origin == "127.0.0.1", "the address that nginx saw, not the one that the client wrote into its header"


def test_an_nginx_that_hides_the_host_is_named_to_the_person_and_to_the_doctor(
    beacon: Beacon, tmp_path: Path, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header Host beacon.internal:8000;"
    with Nginx(tmp_path / "nginx", beacon.port, lines=lines, certificate=certificate) as nginx:
        host = f"127.0.0.1:{nginx.port}"
        with Browser(nginx, certificate, host) as browser:
            answer = browser.log_in()
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
        found = next(outside_check.check_from_outside(nginx.url, "", 0))
    for text in (answer.text, found.text):
        assert f"https://{host}" in text
        assert "https://beacon.internal:8000" in text
        assert "proxy_set_header Host $http_host" in text
    assert (answer.status_code, found.ok) == (400, False)


def test_an_nginx_that_hides_the_scheme_is_named_to_the_doctor(
    beacon: Beacon, tmp_path: Path, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
    without_scheme = USUAL_LINES.replace("X-Forwarded-Proto $scheme", "X-Other $scheme")
    with Nginx(tmp_path / "nginx", beacon.port, lines=without_scheme, certificate=certificate) as nginx:
        found = next(outside_check.check_from_outside(nginx.url, "", 0))
    assert not found.ok
    assert "BEACON_TRUSTED_PROXIES" in found.text


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
    assert "2 heartbeats came in time" in found["stream"].text
    assert "--watch SECONDS watches longer" in found["stream"].text


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
