"""What the host lets a service have: no address at which a cloud hands out credentials, none of its variables."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from app.sources import kinds
from app.sources.celery.celery_source import _make_backend
from app.sources.celery.options import CeleryOptions
from app.sources.host_rules import ForbiddenAddress, HostRules, Reach, parse_networks
from app.sources.http_client import HttpClient
from app.sources.protocol import Operation, OutcomeUnknown, ServiceAddress, Source, SourceError
from app.sources.redis.client import RedisServer, check_url
from app.sources.service_config import create_source
from app.sources.unavailable import UnavailableSource
from tests.sources.upstream import Upstream
from tests.support.any_service import ANY_KIND, NOWHERE

REFUSED = [
    "169.254.169.254",
    "169.254.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%lo",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "::169.254.169.254",
    "0.0.0.0",  # noqa: S104 -- refused
    "::",
    "224.0.0.1",
    "ff02::1",
    "255.255.255.255",
]
USUAL = ["127.0.0.1", "::1", "10.1.2.3", "192.168.0.9", "172.16.0.1", "fd12::1", "93.184.216.34", "2a00::1", "mail"]


@pytest.mark.parametrize("address", REFUSED)
def test_what_is_the_hosts_is_refused_however_it_is_written(address: str) -> None:
    assert "BEACON_ALLOWED_NETWORKS can allow it" in (Reach().explain_refusal(address) or "")


@pytest.mark.parametrize("address", USUAL)
def test_loopback_private_and_public_addresses_are_as_usual(address: str) -> None:
    assert Reach().explain_refusal(address) is None


@pytest.mark.parametrize("address", ["169.254.10.9", "::ffff:169.254.10.9"])
def test_the_host_may_mean_it(address: str) -> None:
    allowed = Reach(parse_networks(("169.254.10.0/24",)))
    assert allowed.explain_refusal(address) is None
    assert allowed.explain_refusal("169.254.11.9") is not None


class Names:
    """A resolver that says something else at each question."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: str) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []
        self._real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self)

    def __call__(self, host: Any, port: Any, *more: Any, **named: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name != "mail.test":
            return self._real(host, port, *more, **named)
        self.asked.append(name)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return self._real(answer, port, *more, **named)


def test_a_name_is_looked_at_behind_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, "169.254.169.254")
    with pytest.raises(
        ForbiddenAddress, match=r"169\.254\.169\.254, which is one at which a cloud hands out credentials"
    ):
        Reach().resolve("mail.test", 80)


def test_a_name_that_leads_elsewhere_a_moment_later_changes_nothing(
    service: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was looked at is what is connected to: the name is resolved once for each connect."""
    names = Names(monkeypatch, "127.0.0.1", "169.254.169.254")
    service.json("/x", {})
    client = HttpClient(service.url.replace("127.0.0.1", "mail.test"))
    assert client.get("/x").status == 200
    assert names.asked == ["mail.test"]
    client.close()
    with pytest.raises(SourceError, match=r"has the address 169\.254\.169\.254"):
        HttpClient(service.url.replace("127.0.0.1", "mail.test")).get("/x")


@pytest.mark.parametrize("url", ["http://169.254.169.254", "https://[fe80::1]:1", "http://[::ffff:a9fe:a9fe]/latest"])
def test_http_connects_to_none_of_them(url: str) -> None:
    with pytest.raises(SourceError, match="BEACON_ALLOWED_NETWORKS can allow it"):
        HttpClient(url, answer_s=1).get("/x")


def test_an_order_to_one_was_certainly_not_sent() -> None:
    client = HttpClient("http://169.254.169.254")
    with pytest.raises(SourceError) as refused:
        client.send("POST", "/x", 1.0, key="k")
    assert not isinstance(refused.value, OutcomeUnknown)


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_redis_connects_to_none_of_them(scheme: str) -> None:
    server = RedisServer(check_url(f"{scheme}://169.254.169.254:6379/0"))
    with pytest.raises(SourceError, match="BEACON_ALLOWED_NETWORKS can allow it"), server.reading() as client:
        client.ping()


def test_redis_by_name_connects_to_what_was_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch, "127.0.0.1", "169.254.169.254")
    with listening() as (port, connected):
        server = RedisServer(check_url(f"redis://mail.test:{port}/0"), answer_s=0.3)
        with pytest.raises(SourceError, match="did not answer"), server.reading() as client:
            client.ping()
        assert (len(connected), names.asked) == (1, ["mail.test"])
        with pytest.raises(SourceError, match=r"has the address 169\.254\.169\.254"), server.reading() as client:
            client.ping()
        assert len(connected) == 1
        server.close()


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/run/valkey/jobs.sock", True),
        ("/run/valkey", True),
        ("/run/a.sock", True),
        ("/run/a.sock2", False),
        ("/run/valkey2/jobs.sock", False),
        ("/run/valkey/../docker.sock", False),
        ("/run", False),
        ("/", False),
        ("\0abstract", False),
    ],
)
def test_a_socket_is_the_hosts_unless_it_says_otherwise(path: str, allowed: bool) -> None:
    reach = Reach(sockets=("/run/valkey/", "/run/a.sock"))
    assert (reach.explain_refused_socket(path) is None) == allowed
    assert "BEACON_ALLOWED_SOCKETS can allow it" in (Reach(sockets=()).explain_refused_socket(path) or "")


@pytest.mark.parametrize("url", ["unix:///run/docker.sock", "unix:///run/valkey/%2e%2e/docker.sock?db=1"])
@pytest.mark.parametrize("name", ["rq", "celery"])
def test_no_kind_connects_to_a_socket_that_is_not_allowed(url: str, name: str) -> None:
    kind = kinds.get_kind(name)
    address = kind.check_url(url)._replace(reach=Reach(sockets=("/run/valkey",)))
    assert "BEACON_ALLOWED_SOCKETS can allow it" in refusal(kind.build(address, kind.options(), 10))


def test_nor_does_one_by_an_option_that_holds_an_address() -> None:
    options = CeleryOptions(result_backend="unix:///run/docker.sock")
    address = ServiceAddress("redis://127.0.0.1:1/0", None, Reach(sockets=()))
    server = _make_backend(RedisServer(address), address, options)
    assert server is not None
    with pytest.raises(ForbiddenAddress, match="BEACON_ALLOWED_SOCKETS can allow it"), server.reading() as client:
        client.ping()


@pytest.mark.parametrize("name", kinds.OWN_KINDS)
def test_the_rules_hold_for_every_kind(name: str) -> None:
    assert "BEACON_ALLOWED_NETWORKS" in refusal(make(name, "169.254.169.254:1"))


@pytest.mark.parametrize("name", kinds.OWN_KINDS)
def test_what_the_host_means_is_connected_to(name: str) -> None:
    """Nothing listens there, which is another reason than that nobody may."""
    reach = Reach(parse_networks(("127.0.0.0/8",)))
    assert refusal(make(name, "127.0.0.1:1", reach)) == "refused the connection"


def make(name: str, place: str, reach: Reach = Reach()) -> Source:  # noqa: B008 -- frozen
    kind = kinds.get_kind(name)
    url = urlsplit(kind.url_example)._replace(netloc=place).geturl()
    return kind.build(ServiceAddress(url, None, reach), kind.options(), 10)


def refusal(source: Source) -> str:
    with pytest.raises(SourceError) as refused:
        source.read_snapshot()
    source.close()
    return refused.value.reason


@pytest.mark.parametrize(
    "name", ["PATH", "AWS_SECRET_ACCESS_KEY", "BEACON_SECRET_KEY", "BEACON_SOURCES_FILE", "MAIL_TOKEN"]
)
def test_a_variable_of_the_hosts_own_is_sent_nowhere(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "the host's")
    source = create_source(ANY_KIND, ServiceAddress(NOWHERE), {}, name, 10, HostRules())
    with pytest.raises(
        SourceError, match=f"needs its password from the variable {name}, which this host does not allow"
    ):
        source.read_snapshot()
    assert source.execute(Operation("restart-service", "mail", "k")).outcome == "refused"


def test_names_that_the_host_allows_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_TOKEN", "sesame")
    rules = HostRules(("BEACON_SOURCE_", "MAIL_"))
    assert rules.refused_variable("BEACON_SOURCE_X") is None
    assert rules.refused_variable("MAIL_TOKEN") is None
    assert rules.refused_variable("BEACON_SECRET_KEY") is not None
    source = create_source(ANY_KIND, ServiceAddress(NOWHERE), {}, "MAIL_TOKEN", 10, rules)
    assert not isinstance(source, UnavailableSource)
    source.close()


@contextmanager
def listening() -> Iterator[tuple[int, list[socket.socket]]]:
    """Takes connections and says nothing."""
    listener, connected = socket.create_server(("127.0.0.1", 0)), list[socket.socket]()

    def take() -> None:
        try:
            while True:
                connected.append(listener.accept()[0])
        except OSError:
            """It was closed."""

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    yield listener.getsockname()[1], connected
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)
    for one in connected:
        one.close()
