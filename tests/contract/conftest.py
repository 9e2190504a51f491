"""Where the deployment is, who the run's people are, and streams that end with their case."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from tests.contract import own
from tests.contract.people import Admin, Person, hello_of
from tests.contract.streams import MAIN, Stream
from tests.contract.wire import Answer, Target, ask

MARKERS = (
    "holds(sentence): the promise of docs/stream-api.md that a case holds",
    "intrusive: switches streaming off for everybody for a moment; only with --intrusive against your own address",
)
URL, TOKEN = "BEACON_CONTRACT_URL", "BEACON_CONTRACT_ADMIN_TOKEN"
PATIENT_HEARTBEAT_S = 5.0
# So many people share the streams of a run, that nobody meets the limits of one.
VIEWERS, OPERATORS = 4, 2
LUCKY_NAMES = 20


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("contract", "the contract suite")
    with suppress(ValueError):  # a plugin of the same purpose has it already
        group.addoption("--base-url", help="the Beacon to ask, like http://localhost:8000; without one, one is started")
    group.addoption("--admin-token-file", help="a file with an API token of an administrator, with all scopes")
    group.addoption("--intrusive", action="store_true", help="also switch streaming off for everybody for a moment")
    group.addoption("--patient", action="store_true", help="wait for heartbeats however rare they are")


def pytest_configure(config: pytest.Config) -> None:
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    folder = Path(__file__).parent
    for item in items:
        if folder not in item.path.parents or address(config):
            continue
        item.add_marker(pytest.mark.live)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("intrusive") and address(item.config) and not option(item.config, "--intrusive"):
        pytest.skip("touches everybody's streams: only with --intrusive")


def option(config: pytest.Config, name: str) -> Any:
    return config.getoption(name, default=None)


# Read when pytest starts: other tests of this project clear the environment.
_ENVIRONMENT = {name: os.environ.get(name, "") for name in (URL, TOKEN)}


def address(config: pytest.Config) -> str:
    return str(option(config, "--base-url") or _ENVIRONMENT[URL])


def given_token(config: pytest.Config) -> str:
    file = option(config, "--admin-token-file")
    text = Path(file).read_text().strip() if file else _ENVIRONMENT[TOKEN]
    if not text:
        raise pytest.UsageError(f"an administrator's token is needed: --admin-token-file=FILE or {TOKEN}")
    return text


@dataclass(frozen=True, slots=True)
class World:
    """The deployment under test. `beacon` is the server that we started, None for one that was named."""

    target: Target
    admin: Admin
    beacon: Any
    is_patient: bool

    def ask(self, method: str, path: str, headers: Mapping[str, str] | None = None, **more: Any) -> Answer:
        return ask(self.target, method, path, headers, **more)

    def someone(self, role: str = "viewer") -> Person:
        """Somebody new, for whom streaming is on."""
        for _ in range(LUCKY_NAMES):
            person = self.admin.add(role)
            if hello_of(self.target, person).json()["stream"] == "on":
                return person
        pytest.skip("streaming is on for too few people here: raise the rollout")

    def head(self) -> int:
        told: dict[str, Any] = self.admin.call("GET", "/api/events?limit=1")
        return int(told["meta"]["head"])


@pytest.fixture(scope="package")  # a server that nobody asks any more still costs the others
def world(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with ExitStack() as stack:
        beacon, url, token = None, address(pytestconfig), ""
        if url:
            token = given_token(pytestconfig)
        else:
            beacon = stack.enter_context(own.in_use(tmp_path_factory.mktemp("contract")))
            url, token = beacon.url, own.admin_token(beacon)
        target = Target.parse(url)
        admin = Admin(target, token)
        stack.callback(admin.clean_up)
        yield World(target, admin, beacon, bool(option(pytestconfig, "--patient")))


@pytest.fixture(scope="package")
def target(world: World) -> Target:
    return world.target


@pytest.fixture(scope="package")
def admin(world: World) -> Admin:
    return world.admin


@pytest.fixture(scope="package")
def viewers(world: World) -> Iterator[Person]:
    return cycle([world.someone() for _ in range(VIEWERS)])


@pytest.fixture(scope="package")
def operators(world: World) -> Iterator[Person]:
    return cycle([world.someone("operator") for _ in range(OPERATORS)])


@pytest.fixture
def alice(viewers: Iterator[Person]) -> Person:
    """A viewer."""
    return next(viewers)


@pytest.fixture
def charlie(viewers: Iterator[Person], alice: Person) -> Person:
    """Another viewer, who must see nothing of what is Alice's."""
    return next(viewers)


@pytest.fixture
def bob(operators: Iterator[Person]) -> Person:
    """An operator."""
    return next(operators)


@pytest.fixture(scope="package")
def ada(world: World) -> Person:
    """An administrator, and not the one whose token the run was given."""
    return world.someone("admin")


class Publisher:
    """Publishes as an operator's program does."""

    def __init__(self, world: World, person: Person) -> None:
        self._world, self._headers = world, person.bearer("publish")

    def __call__(self, event_type: str, data: Any = None, audience: str | None = None) -> int:
        """One event; its id."""
        event = {"type": event_type, "data": {} if data is None else data}
        if audience is not None:
            event["audience"] = audience
        return self.all(event)[0]

    def all(self, *events: dict[str, Any]) -> list[int]:
        """Many events in one request; their ids."""
        answer = self.send(list(events))
        assert answer.status == 201, answer.text
        ids: list[int] = answer.json()["ids"]
        return ids

    def many(self, event_type: str, count: int) -> list[int]:
        """So many events of one type, numbered from 0 in `n`."""
        return self.all(*({"type": event_type, "data": {"n": n}} for n in range(count)))

    def send(self, body: Any, **headers: str) -> Answer:
        """Whatever it is, as JSON; the answer as it comes."""
        return self._world.ask("POST", "/api/events", {**self._headers, **headers}, json=body)

    def send_bytes(self, body: bytes) -> Answer:
        headers = {**self._headers, "Content-Type": "application/json"}
        return self._world.ask("POST", "/api/events", headers, body=body, within_s=30)


@pytest.fixture(scope="package")
def publish(world: World, operators: Iterator[Person]) -> Publisher:
    return Publisher(world, next(operators))


Knock = Callable[..., Stream]


@pytest.fixture
def knock(target: Target) -> Iterator[Knock]:
    """`knock(path, headers)` asks for a stream once and gives the answer, a refusal too; it is closed in the end."""
    with ExitStack() as stack:

        def ask_once(path: str, headers: Mapping[str, str] | None = None, **more: Any) -> Stream:
            return stack.enter_context(Stream(target, path, headers or {}, **more))

        yield ask_once


Listen = Callable[..., Stream]


@pytest.fixture
def listen(knock: Knock) -> Listen:
    """`listen(alice, path, headers)` gives an open stream that has said hello.

    It waits as a 429 asks it to, because the cases together open streams faster than one client would.
    """

    def opened(person: Person, path: str = MAIN, headers: Mapping[str, str] | None = None, **more: Any) -> Stream:
        sent = {**person.bearer(), **(headers or {})}
        stream = knock(path, sent, **more)
        for _ in range(5):
            if stream.status != 429:
                break
            time.sleep(float(stream.head.get("Retry-After") or 1))
            stream = knock(path, sent, **more)
        assert stream.status == 200, stream.refusal
        assert stream.hello.event == "hello"
        return stream

    return opened


@pytest.fixture
def kind() -> str:
    """A type of event that nobody else publishes."""
    return f"contract.k{os.urandom(5).hex()}"


@pytest.fixture
def beating(world: World, alice: Person) -> float:
    """The seconds between heartbeats, where they are few enough to wait for."""
    seconds = float(hello_of(world.target, alice).json()["heartbeatS"])
    if seconds > PATIENT_HEARTBEAT_S and not world.is_patient:
        pytest.skip(f"heartbeats come every {seconds:.0f} s here: --patient waits for them")
    return seconds
