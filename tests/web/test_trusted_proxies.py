"""What counts of the `X-Forwarded-…` headers, from whom: of somebody who is not trusted, nothing."""

from collections.abc import Iterable, Mapping
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from app.accounts import login_throttle
from app.accounts.models import LoginThrottle
from app.audit.models import AuditRow
from app.config import ConfigError, Settings, load_settings
from app.db import read
from app.web.trusted_proxies import TrustedProxies, parse_network
from tests.support.cast import ALICE, PASSWORD, csrf_token, log_in

NETWORKS = [parse_network(text) for text in ("10.0.0.0/24", "2001:db8::/32")]


def seen(peer: str, host: str = "inner:8000", **said: str) -> tuple[str, str, str, str]:
    """Address, scheme, host and prefix as the application gets them; `For="…"` stands for `X-Forwarded-For: …`."""
    environ: dict[str, Any] = {"REMOTE_ADDR": peer, "wsgi.url_scheme": "http", "HTTP_HOST": host}
    environ |= {f"HTTP_X_FORWARDED_{name.upper()}": value for name, value in said.items()}
    got: list[Mapping[str, Any]] = []

    def application(inside: Mapping[str, Any], _start: Any) -> Iterable[bytes]:
        got.append(dict(inside))
        return []

    TrustedProxies(application, lambda: NETWORKS)(environ, lambda *_: lambda _data: None)
    (inside,) = got
    assert not [name for name in inside if name.startswith("HTTP_X_FORWARDED")]
    return inside["REMOTE_ADDR"], inside["wsgi.url_scheme"], inside["HTTP_HOST"], inside.get("SCRIPT_NAME", "")


EVERYTHING = {"For": "192.0.2.1", "Proto": "https", "Host": "evil.example", "Port": "8443", "Prefix": "/evil"}


@pytest.mark.parametrize("peer", ["192.0.2.9", "127.0.0.1", "10.0.1.1", "::1", "", "nonsense"])
def test_of_somebody_who_is_not_trusted_nothing_counts(peer: str) -> None:
    assert seen(peer, **EVERYTHING) == (peer, "http", "inner:8000", "")


def test_of_a_trusted_proxy_everything_counts() -> None:
    said = {**EVERYTHING, "Host": "beacon.example:8443", "Prefix": "/ops/"}
    assert seen("10.0.0.1", **said) == ("192.0.2.1", "https", "beacon.example:8443", "/ops")
    assert seen("::ffff:10.0.0.1", **said)[0] == "192.0.2.1"


@pytest.mark.parametrize(
    ("chain", "peer"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("203.0.113.5, 192.0.2.1", "192.0.2.1"),
        ("203.0.113.5, 192.0.2.1, 10.0.0.2", "192.0.2.1"),
        ("10.0.0.9, 192.0.2.1, 10.0.0.2,10.0.0.3", "192.0.2.1"),
        ("10.0.0.9, 10.0.0.2", "10.0.0.9"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ('"[2001:db8:1::1]:4711"', "2001:db8:1::1"),
        ("[2a00::1]", "2a00::1"),
        ("192.0.2.1, unknown", "10.0.0.1"),
        ("192.0.2.1, unknown, 10.0.0.2", "10.0.0.2"),
        ("", "10.0.0.1"),
        (" , ", "10.0.0.1"),
        ("x" * 5_000, "10.0.0.1"),
    ],
)
def test_the_peer_is_the_right_most_address_that_is_not_trusted(chain: str, peer: str) -> None:
    assert seen("10.0.0.1", For=chain)[0] == peer


@pytest.mark.parametrize(
    ("proto", "chain", "scheme"),
    [
        ("https", "192.0.2.1", "https"),
        ("HTTPS", "192.0.2.1", "https"),
        ("https, http", "192.0.2.1, 10.0.0.2", "https"),
        ("https, http", "192.0.2.1", "http"),
        ("https", "192.0.2.1, 10.0.0.2", "https"),
        ("javascript", "192.0.2.1", "http"),
        ("", "192.0.2.1", "http"),
    ],
)
def test_each_proxy_of_a_chain_may_add_what_it_saw(proto: str, chain: str, scheme: str) -> None:
    assert seen("10.0.0.1", For=chain, Proto=proto)[1] == scheme


@pytest.mark.parametrize(
    ("host", "port", "as_seen"),
    [
        ("beacon.example", "8443", "beacon.example:8443"),
        ("beacon.example:9443", "8443", "beacon.example:9443"),
        ("beacon.example", "443", "beacon.example"),
        ("beacon.example", "80", "beacon.example"),
        ("beacon.example", "x", "beacon.example"),
        ("[2a00::1]", "8443", "[2a00::1]:8443"),
        ("evil/path", "", "inner:8000"),
        ("a@evil", "", "inner:8000"),
        ("evil\r\nX: y", "", "inner:8000"),
    ],
)
def test_the_host_and_its_port(host: str, port: str, as_seen: str) -> None:
    assert seen("10.0.0.1", Proto="https", Host=host, Port=port)[2] == as_seen


@pytest.mark.parametrize("prefix", ["//evil.example", "/a/../b/", "/a?b", "a", "/a\\b", "/"])
def test_a_prefix_that_is_no_path_does_not_count(prefix: str) -> None:
    assert seen("10.0.0.1", Prefix=prefix)[3] == ""


def test_a_proxy_that_is_not_trusted_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    wrapped = TrustedProxies(lambda _environ, _start: [], lambda: NETWORKS)
    for _ in range(3):
        wrapped({"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_PROTO": "https"}, lambda *_: lambda _data: None)
    (line,) = caplog.messages
    assert "X-Forwarded-Proto from 127.0.0.1" in line
    assert "BEACON_TRUSTED_PROXIES" in line


def test_the_setting_is_read_and_a_mistake_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEACON_TRUSTED_PROXIES", "10.0.0.7, 192.168.0.0/16 ::1")
    assert load_settings().trusted_proxies == ("10.0.0.7/32", "192.168.0.0/16", "::1/128")
    monkeypatch.setenv("BEACON_TRUSTED_PROXIES", "10.0.0.7/8")
    with pytest.raises(ConfigError, match=r"BEACON_TRUSTED_PROXIES.*10\.0\.0\.7/8.*host bits"):
        load_settings()


# Through the application: what is refused, and why.


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"trusted_proxies": ("127.0.0.1/32",)})


def try_login(app: Flask, said: Mapping[str, str], origin: str | None, **headers: str) -> tuple[int, str]:
    client = app.test_client()
    client.environ_base.update({f"HTTP_X_FORWARDED_{name.upper()}": value for name, value in said.items()})
    form = {"csrf_token": csrf_token(client), "username": ALICE.name, "password": PASSWORD}
    sent = {"Accept": "application/json", **({"Origin": origin} if origin else {}), **headers}
    answer = client.post("/login", data=form, headers=sent)
    return answer.status_code, "" if answer.status_code == 303 else answer.get_json()["detail"]


@pytest.mark.parametrize(
    ("said", "origin"),
    [
        ({"Proto": "https", "Host": "beacon.example:8443"}, "https://beacon.example:8443"),
        ({"Proto": "https", "Host": "beacon.example"}, "https://beacon.example"),
        # The port is not known, so it is not compared.
        ({"Proto": "https", "Host": "beacon.example"}, "https://beacon.example:8443"),
        ({"Proto": "https", "Host": "beacon.example", "Port": "8443"}, "https://beacon.example:8443"),
        ({"Proto": "http", "Host": "beacon.example:8080"}, "http://beacon.example:8080"),
        ({"Proto": "https", "Host": "beacon.example"}, None),
    ],
)
def test_a_form_from_beacons_own_address_is_taken(cast: Flask, said: Mapping[str, str], origin: str | None) -> None:
    assert try_login(cast, said, origin) == (303, "")


@pytest.mark.parametrize(
    ("said", "origin", "named"),
    [
        ({"Host": "beacon.example"}, "https://evil.example", "https://evil.example"),
        ({"Host": "beacon.example"}, "http://beacon.example", "http://beacon.example;"),
        ({"Host": "beacon.example:8443"}, "https://beacon.example", "https://beacon.example:8443"),
        ({"Host": "beacon.example", "Port": "443"}, "https://beacon.example:8443", "https://beacon.example."),
        ({"Host": "inner"}, "https://beacon.example", "https://inner"),
        ({"Host": "beacon.example"}, "null", "an undisclosed address"),
        ({"Host": "beacon.example"}, "https://[", "an undisclosed address"),
    ],
)
def test_a_form_from_elsewhere_is_refused_with_both_addresses(
    cast: Flask, said: Mapping[str, str], origin: str, named: str
) -> None:
    status, detail = try_login(cast, {"Proto": "https", **said}, origin)
    assert status == 400
    assert named in detail
    assert "proxy_set_header Host $http_host" in detail


def test_a_browser_that_says_that_it_is_beacons_own_page_needs_no_address(cast: Flask) -> None:
    said = {"Proto": "https", "Host": "inner"}
    assert try_login(cast, said, "https://beacon.example", **{"Sec-Fetch-Site": "same-origin"})[0] == 303


def test_a_browser_that_says_that_it_is_another_site_is_refused_over_plain_http_too(cast: Flask) -> None:
    status, detail = try_login(cast, {}, "http://evil.example", **{"Sec-Fetch-Site": "cross-site"})
    assert (status, "http://evil.example" in detail) == (400, True)


def test_a_proxy_that_is_not_trusted_is_named_with_the_setting(own_app: Flask) -> None:
    client = own_app.test_client()
    base = {"REMOTE_ADDR": "192.0.2.9", "wsgi.url_scheme": "https", "HTTP_X_FORWARDED_HOST": "beacon.example"}
    answer = client.post("/login", headers={"Origin": "https://beacon.example"}, environ_overrides=base)
    problem = answer.get_json()
    assert (answer.status_code, problem["reason"]) == (400, "origin")
    assert "ignored X-Forwarded-Host from 192.0.2.9" in problem["detail"]


def test_a_form_without_beacons_cookie_says_so(cast: Flask) -> None:
    client = cast.test_client(use_cookies=False)
    answer = client.post("/login", data={"csrf_token": "x"}, headers={"Accept": "application/json"})
    assert (answer.status_code, answer.get_json()["reason"]) == (400, "csrf")
    assert "allow cookies" in answer.get_json()["detail"]


def test_the_audit_and_the_limits_see_the_address_behind_the_proxy(cast: Flask) -> None:
    client = cast.test_client()
    client.environ_base["HTTP_X_FORWARDED_FOR"] = "203.0.113.5, 192.0.2.1"
    log_in(client, ALICE, "wrong")
    with cast.app_context(), read() as session:
        kept = dict(session.execute(sa.select(LoginThrottle.kind, LoginThrottle.key)).all())
        assert kept["address"] == login_throttle._hash_key("address", "192.0.2.1")
        assert session.scalars(sa.select(AuditRow.origin).order_by(AuditRow.seq)).all()[-1] == "192.0.2.1"


@pytest.mark.parametrize(
    ("said", "host", "scheme", "prefix"),
    [
        ({"Host": "evil.example, beacon.example"}, "beacon.example", "http", ""),
        ({"Proto": "http, https"}, "inner:8000", "https", ""),
        ({"Prefix": "/evil, /beacon"}, "inner:8000", "http", "/beacon"),
        # Two trusted proxies, each of which appended what it saw.
        (
            {
                "For": "203.0.113.5, 192.0.2.1, 10.0.0.2",
                "Host": "evil, beacon.example, inner",
                "Proto": "http, https, http",
            },
            "beacon.example",
            "https",
            "",
        ),
    ],
)
def test_what_a_client_sent_itself_does_not_count_beside_what_the_proxy_appended(
    said: dict[str, str], host: str, scheme: str, prefix: str
) -> None:
    assert seen("10.0.0.1", **{"For": "192.0.2.1", **said})[1:] == (scheme, host, prefix)


def test_a_guesser_gets_no_further_attempts_by_making_up_addresses(cast: Flask) -> None:
    client = cast.test_client()
    free = login_throttle.POLICIES["name at address"].free_failures
    statuses = []
    for number in range(free + 2):
        client.environ_base["HTTP_X_FORWARDED_FOR"] = f"198.51.{number}.1, 127.0.0.1, 192.0.2.1"
        statuses.append(log_in(client, ALICE, "guess").status_code)
    assert statuses[-1] == 429, statuses
    client.environ_base["HTTP_X_FORWARDED_FOR"] = "203.0.113.5"
    assert log_in(client, ALICE).status_code == 303, "she herself, behind the same proxy, is not locked out"
