"""The kill switch: nobody streams, everybody can poll. Intrusive: it is off for everybody while these run."""

from collections.abc import Iterator

import pytest

from tests.contract.checks import problem
from tests.contract.conftest import Knock, Listen, Publisher, World
from tests.contract.frames import parse
from tests.contract.holding import holds
from tests.contract.people import FRAMES, Admin, Person, bearer, wait_for_flag
from tests.contract.streams import EVENTS, MAIN, PATHS, RECONCILIATION, SSE, Stream

BYE = "Switching the flag off ends open streams on every path with a `bye` whose reason is `flag-off`."
REFUSED = 'Where the flag is off, every path and credential gets `403` with `"reason": "flag-off"`.'
NEVER_GATED = "Polling is never gated by the flag: `stream` in its `hello` says `off` then."
POLL = "`poll` in `bye` is true for `flag-off` and false for every other reason."
ON_AGAIN = "Once the flag is on again, streams open as before."

pytestmark = pytest.mark.intrusive


@pytest.fixture(autouse=True, scope="module")
def _decided_by_the_rollout(admin: Admin) -> None:
    if "override" in admin.rollout():
        pytest.skip("a setting decides about the flag here, whatever the rollout says")


@pytest.fixture
def off(world: World, admin: Admin, alice: Person) -> Iterator[None]:
    admin.set_rollout(enabled=False)
    wait_for_flag(world.target, alice, "off")
    yield
    on_again(world, alice)


def on_again(world: World, person: Person) -> None:
    world.admin.restore_rollout()
    wait_for_flag(world.target, person, "on")


def goodbye(world: World, listen: Listen, person: Person, path: str) -> Stream:
    """The stream on this path after the flag went off, to its very end."""
    stream = listen(person, path)
    world.admin.set_rollout(enabled=False)
    try:
        stream.until_ended()
    finally:
        on_again(world, person)
    return stream


def flag_off(stream: Stream) -> bool:
    return bool(problem(stream.refusal, 403)["reason"] == "flag-off")


@holds(BYE)
def test_the_stream_ends(alice: Person, listen: Listen, world: World) -> None:
    assert goodbye(world, listen, alice, MAIN).frames[-1].json()["reason"] == "flag-off"


@holds(BYE)
def test_the_reconciliation_stream_ends(alice: Person, listen: Listen, world: World) -> None:
    assert goodbye(world, listen, alice, RECONCILIATION).frames[-1].json()["reason"] == "flag-off"


@holds(BYE)
def test_the_events_stream_ends(alice: Person, listen: Listen, world: World) -> None:
    assert goodbye(world, listen, alice, EVENTS).frames[-1].json()["reason"] == "flag-off"


@holds(BYE)
def test_the_sse_path_ends(alice: Person, listen: Listen, world: World) -> None:
    assert goodbye(world, listen, alice, SSE).frames[-1].json()["reason"] == "flag-off"


@holds(POLL)
def test_the_last_word_is_to_poll(alice: Person, listen: Listen, world: World) -> None:
    last = goodbye(world, listen, alice, MAIN).frames[-1]
    assert (last.event, last.json()) == ("bye", {"reason": "flag-off", "poll": True})


@holds(REFUSED)
def test_the_stream_is_refused(off: None, alice: Person, knock: Knock) -> None:
    assert flag_off(knock(MAIN, alice.bearer()))


@holds(REFUSED)
def test_the_reconciliation_stream_is_refused(off: None, alice: Person, knock: Knock) -> None:
    assert flag_off(knock(RECONCILIATION, alice.bearer()))


@holds(REFUSED)
def test_the_events_stream_is_refused(off: None, alice: Person, knock: Knock) -> None:
    assert flag_off(knock(EVENTS, alice.bearer()))


@holds(REFUSED)
def test_the_sse_path_is_refused(off: None, alice: Person, knock: Knock) -> None:
    assert flag_off(knock(SSE, alice.bearer()))


@holds(REFUSED)
def test_the_cookie_is_refused_on_every_path(off: None, alice: Person, knock: Knock) -> None:
    cookie = alice.browser.cookie
    assert all(flag_off(knock(path, cookie)) for path in PATHS)


@holds(REFUSED)
def test_the_page_token_is_refused_on_every_path(off: None, alice: Person, knock: Knock) -> None:
    headers = bearer(alice.browser.page_token()["token"])
    assert all(flag_off(knock(path, headers)) for path in PATHS)


@holds(REFUSED)
def test_an_administrator_is_refused_too(off: None, ada: Person, knock: Knock) -> None:
    assert flag_off(knock(MAIN, ada.bearer()))


@holds("Without a credential every stream path answers `401` with `WWW-Authenticate: Bearer`.")
def test_the_anonymous_do_not_learn_that_the_flag_is_off(off: None, knock: Knock) -> None:
    problem(knock(MAIN).refusal, 401)


@holds(NEVER_GATED)
def test_polling_says_off_and_gives_every_event(
    off: None, alice: Person, world: World, publish: Publisher, kind: str
) -> None:
    ids = publish.many(kind, 3)
    hello, *frames = parse(world.ask("GET", f"{FRAMES}?after={ids[0] - 1}", alice.bearer()).body)
    assert hello.json()["stream"] == "off"
    assert [frame.id for frame in frames if frame.id in ids] == ids


@holds(NEVER_GATED)
def test_the_events_are_listed_all_the_same(
    off: None, alice: Person, world: World, publish: Publisher, kind: str
) -> None:
    event_id = publish(kind)
    listed = world.ask("GET", f"/api/events?after={event_id - 1}", alice.bearer()).json()["data"]
    assert event_id in [item["id"] for item in listed]


@holds(ON_AGAIN)
def test_a_client_comes_back_from_polling_without_a_gap(
    alice: Person, listen: Listen, world: World, publish: Publisher, kind: str
) -> None:
    stream = listen(alice)
    sent = publish.many(kind, 2)
    stream.event(sent[-1])
    world.admin.set_rollout(enabled=False)
    stream.until_ended()
    got = stream.ids_among(sent)
    wait_for_flag(world.target, alice, "off")
    sent += publish.many(kind, 2)
    polled = world.ask("GET", f"{FRAMES}?after={stream.ids[-1]}", alice.bearer())
    got += [frame.id for frame in parse(polled.body) if frame.id in sent]
    on_again(world, alice)
    sent += publish.many(kind, 2)
    resumed = listen(alice, MAIN, {"Last-Event-ID": polled.header("Beacon-Cursor") or ""})
    resumed.event(sent[-1])
    assert got + resumed.ids_among(sent) == sent
