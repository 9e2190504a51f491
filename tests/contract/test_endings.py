"""How streams end: revocation in all its forms, and that `bye` is the last word."""

import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.contract import own
from tests.contract.checks import problem, retry_after
from tests.contract.conftest import Knock, Listen, Publisher, World
from tests.contract.holding import holds
from tests.contract.people import Admin, Person, bearer
from tests.contract.streams import EVENTS, MAIN, PATHS, RECONCILIATION, SSE, Stream
from tests.contract.wire import Target, Unanswered

TOKEN = "A revoked token ends its streams on every path with a `bye` whose reason is `revoked`."
SOON = "Revocation ends a stream within a second."
DISABLED = "Disabling a user ends the streams of all their credentials."
PASSWORD = "A new password ends the streams of the user's login sessions."
ROLE = "A new role ends the user's streams, so that they open again with what they may see now."
LOGOUT = "Logging out ends the streams of that session, whether opened with its cookie or its page token."
NOT_OTHERS = "Logging out ends no stream of another session and none of an API token."
CLOSED = "After `bye` the server closes the connection, and nothing more is sent."
POLL = "`poll` in `bye` is true for `flag-off` and false for every other reason."
LIFETIME = "A stream ends with `lifetime` when its time is up, and its client resumes with its cursor."
DRAIN = "A server that stops says `drain` to its streams."
FULL = "A worker that is full answers `503` with `Retry-After`."

REVOKED = {"reason": "revoked", "poll": False}
SHORT_LIFE_S = 2.0
FEW_STREAMS = 3


def goodbye(stream: Stream, within_s: float = 10.0) -> Any:
    """What `bye` says; the server ends the stream with it."""
    said = stream.first_named("bye", within_s)
    stream.until_ended()
    assert stream.frames[-1] is said
    assert said.id is None
    return said.json()


def goodbye_to_a_revoked_token(world: World, knock: Knock, path: str) -> Any:
    token = world.admin.add_token(world.someone(), "stream")
    stream = knock(path, token.headers)
    assert stream.hello.event == "hello"
    world.admin.revoke(token)
    return goodbye(stream)


@holds(TOKEN)
def test_the_stream_of_a_revoked_token_ends(world: World, knock: Knock) -> None:
    assert goodbye_to_a_revoked_token(world, knock, MAIN) == REVOKED


@holds(TOKEN)
def test_the_reconciliation_stream_of_a_revoked_token_ends(world: World, knock: Knock) -> None:
    assert goodbye_to_a_revoked_token(world, knock, RECONCILIATION) == REVOKED


@holds(TOKEN)
def test_the_events_stream_of_a_revoked_token_ends(world: World, knock: Knock) -> None:
    assert goodbye_to_a_revoked_token(world, knock, EVENTS) == REVOKED


@holds(TOKEN)
def test_the_sse_path_of_a_revoked_token_ends(world: World, knock: Knock) -> None:
    assert goodbye_to_a_revoked_token(world, knock, SSE) == REVOKED


@holds(TOKEN)
def test_a_page_s_stream_with_a_revoked_token_ends(world: World, knock: Knock) -> None:
    assert goodbye_to_a_revoked_token(world, knock, f"{MAIN}?as=html") == REVOKED


@holds(TOKEN)
def test_all_streams_of_a_revoked_token_end(world: World, admin: Admin, knock: Knock) -> None:
    token = admin.add_token(world.someone(), "stream")
    streams = [knock(path, token.headers) for path in PATHS]
    assert all(stream.hello for stream in streams)
    admin.revoke(token)
    assert [goodbye(stream) for stream in streams] == [REVOKED] * len(streams)


@holds(TOKEN)
def test_topics_do_not_keep_a_revocation_from_a_stream(world: World, admin: Admin, knock: Knock, kind: str) -> None:
    token = admin.add_token(world.someone(), "stream")
    stream = knock(f"{MAIN}?topics={kind}", token.headers)
    assert stream.hello
    admin.revoke(token)
    assert goodbye(stream) == REVOKED


@holds(SOON)
def test_a_revoked_token_s_stream_ends_within_a_second(alice: Person, admin: Admin, knock: Knock) -> None:
    token = admin.add_token(alice, "stream")
    stream = knock(MAIN, token.headers)
    assert stream.hello
    admin.revoke(token)
    assert goodbye(stream, within_s=1.0) == REVOKED


@holds("Revoking one token ends no stream of another.")
def test_another_token_s_stream_goes_on(
    alice: Person, admin: Admin, knock: Knock, publish: Publisher, kind: str
) -> None:
    kept, revoked = admin.add_token(alice, "stream"), admin.add_token(alice, "stream")
    stays, ends = knock(MAIN, kept.headers), knock(MAIN, revoked.headers)
    assert stays.hello
    assert ends.hello
    admin.revoke(revoked)
    assert goodbye(ends) == REVOKED
    stays.event(publish(kind))
    assert stays.named("bye") == []


@holds(DISABLED)
def test_a_disabled_user_s_token_streams_end(world: World, admin: Admin, listen: Listen) -> None:
    person = world.someone()
    stream = listen(person)
    admin.change(person, disabled=True)
    assert goodbye(stream) == REVOKED


@holds(DISABLED)
def test_a_disabled_user_s_session_streams_end(world: World, admin: Admin, knock: Knock) -> None:
    person = world.someone()
    browser = person.log_in()
    streams = [knock(MAIN, browser.cookie), knock(MAIN, bearer(browser.page_token()["token"]))]
    assert all(stream.hello for stream in streams)
    admin.change(person, disabled=True)
    assert [goodbye(stream) for stream in streams] == [REVOKED] * 2


@holds(SOON)
def test_a_disabled_user_s_streams_end_within_a_second(world: World, admin: Admin, listen: Listen) -> None:
    person = world.someone()
    stream = listen(person)
    admin.change(person, disabled=True)
    assert goodbye(stream, within_s=1.0) == REVOKED


@holds(PASSWORD)
def test_a_new_password_ends_the_session_s_streams(world: World, admin: Admin, knock: Knock) -> None:
    person = world.someone()
    browser = person.log_in()
    stream = knock(MAIN, browser.cookie)
    assert stream.hello
    admin.change(person, password="a new and longer password")
    assert goodbye(stream) == REVOKED
    problem(knock(MAIN, browser.cookie).refusal, 401)


@holds(PASSWORD)
def test_a_new_password_lets_its_owner_in_again(world: World, admin: Admin, knock: Knock) -> None:
    person = world.someone()
    admin.change(person, password="a new and longer password")
    assert knock(MAIN, person.log_in().cookie).status == 200


@holds(ROLE)
def test_a_new_role_ends_the_user_s_streams(world: World, admin: Admin, listen: Listen) -> None:
    person = world.someone()
    stream = listen(person)
    admin.change(person, role="operator")
    assert goodbye(stream) == REVOKED


@holds(ROLE)
def test_with_the_new_role_the_stream_opens_again_and_sees_more(
    world: World, admin: Admin, listen: Listen, publish: Publisher, kind: str
) -> None:
    person = world.someone()
    first = publish(kind, audience="role:operator")
    with listen(person, MAIN, {"Last-Event-ID": str(first - 1)}) as stream:
        stream.event(publish(kind))
        assert first not in stream.ids
    admin.change(person, role="operator")
    assert listen(person, MAIN, {"Last-Event-ID": str(first - 1)}).event(first).event == kind


@holds(ROLE)
def test_with_a_lesser_role_the_stream_sees_less(
    world: World, admin: Admin, listen: Listen, publish: Publisher, kind: str
) -> None:
    person = world.someone("operator")
    hidden = publish(kind, audience="role:operator")
    admin.change(person, role="viewer")
    stream = listen(person, MAIN, {"Last-Event-ID": str(hidden - 1)})
    stream.event(publish(kind))
    assert hidden not in stream.ids


@holds(LOGOUT)
def test_logging_out_ends_the_stream_of_the_cookie(alice: Person, knock: Knock) -> None:
    browser = alice.log_in()
    stream = knock(MAIN, browser.cookie)
    assert stream.hello
    browser.log_out()
    assert goodbye(stream) == REVOKED


@holds(LOGOUT)
def test_logging_out_ends_the_stream_of_the_page_token(alice: Person, knock: Knock) -> None:
    browser = alice.log_in()
    stream = knock(MAIN, bearer(browser.page_token()["token"]))
    assert stream.hello
    browser.log_out()
    assert goodbye(stream) == REVOKED


@holds(SOON)
def test_logging_out_ends_the_stream_within_a_second(alice: Person, knock: Knock) -> None:
    browser = alice.log_in()
    stream = knock(SSE, browser.cookie)
    assert stream.hello
    browser.log_out()
    assert goodbye(stream, within_s=1.0) == REVOKED


@holds(NOT_OTHERS)
def test_logging_out_leaves_the_other_session_s_stream(
    alice: Person, knock: Knock, publish: Publisher, kind: str
) -> None:
    leaving, staying = alice.log_in(), alice.log_in()
    ends, goes_on = knock(MAIN, leaving.cookie), knock(MAIN, staying.cookie)
    assert ends.hello
    assert goes_on.hello
    leaving.log_out()
    assert goodbye(ends) == REVOKED
    goes_on.event(publish(kind))
    assert goes_on.named("bye") == []


@holds(NOT_OTHERS)
def test_logging_out_leaves_the_token_s_stream(
    alice: Person, knock: Knock, listen: Listen, publish: Publisher, kind: str
) -> None:
    browser = alice.log_in()
    ends, goes_on = knock(MAIN, browser.cookie), listen(alice)
    assert ends.hello
    browser.log_out()
    assert goodbye(ends) == REVOKED
    goes_on.event(publish(kind))
    assert goes_on.named("bye") == []


@holds(CLOSED)
def test_nothing_comes_after_bye(world: World, admin: Admin, listen: Listen, publish: Publisher, kind: str) -> None:
    person = world.someone()
    stream = listen(person)
    admin.change(person, disabled=True)
    publish(kind)
    stream.until_ended()
    assert stream.frames[-1].event == "bye"
    assert stream.body.endswith(stream.frames[-1].raw)


@holds(CLOSED)
def test_bye_comes_once(world: World, admin: Admin, knock: Knock) -> None:
    person = world.someone()
    token = admin.add_token(person, "stream")
    stream = knock(MAIN, token.headers)
    assert stream.hello
    admin.revoke(token)
    admin.change(person, disabled=True)
    stream.until_ended()
    assert len(stream.named("bye")) == 1


@holds(POLL)
def test_a_revoked_client_is_not_told_to_poll(world: World, admin: Admin, listen: Listen) -> None:
    person = world.someone()
    stream = listen(person)
    admin.change(person, disabled=True)
    assert goodbye(stream)["poll"] is False


# What only whoever runs the server can bring about: against a named address these are skipped.


@pytest.fixture(scope="module")
def brief(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server of our own with short streams and room for few."""
    if world.beacon is None:
        pytest.skip("needs a server with other settings, or one that may be stopped")
    folder: Path = tmp_path_factory.mktemp("brief")
    with own.started(folder, STREAM_LIFETIME_S=SHORT_LIFE_S, MAX_STREAMS=FEW_STREAMS) as beacon:
        yield beacon


@pytest.fixture
def brief_streams(brief: Any) -> Iterator[list[Stream]]:
    streams: list[Stream] = []
    yield streams
    for stream in streams:
        stream.close()


def opened(beacon: Any, streams: list[Stream], user: str = "alice", **headers: str) -> Stream:
    sent = {**beacon.bearer(user, "stream"), **headers}
    streams.append(Stream(Target.parse(beacon.url), MAIN, sent))
    return streams[-1]


@holds(LIFETIME)
def test_a_stream_ends_when_its_time_is_up(brief: Any, brief_streams: list[Stream]) -> None:
    began = time.monotonic()
    said = goodbye(opened(brief, brief_streams), within_s=1.2 * SHORT_LIFE_S + 1)
    assert said == {"reason": "lifetime", "poll": False}
    assert time.monotonic() - began > 0.8 * SHORT_LIFE_S - 0.2


@holds(LIFETIME)
def test_a_client_resumes_after_its_time_was_up(brief: Any, brief_streams: list[Stream]) -> None:
    seen = brief.publish([{"type": "contract.before", "data": {}}])[0]
    stream = opened(brief, brief_streams, **{"Last-Event-ID": str(seen - 1)})
    stream.event(seen)
    stream.until_ended(1.2 * SHORT_LIFE_S + 1)
    missed = brief.publish([{"type": "contract.between", "data": {}}])[0]
    resumed = opened(brief, brief_streams, **{"Last-Event-ID": str(stream.ids[-1])})
    resumed.event(missed)
    assert resumed.ids_among([seen, missed]) == [missed]


@holds(FULL)
def test_a_full_worker_takes_no_more(brief: Any, brief_streams: list[Stream]) -> None:
    for user in ("alice", "bob", "charlie"):
        stream = opened(brief, brief_streams, user)
        while stream.status == 503:  # streams of the case before are still leaving
            stream = opened(brief, brief_streams, user)
        assert stream.hello
    retry_after(opened(brief, brief_streams, "pia").refusal, 503)


@holds(DRAIN)
def test_a_server_that_stops_says_so(brief: Any, brief_streams: list[Stream]) -> None:
    stream = opened(brief, brief_streams)
    while stream.status == 503:
        stream = opened(brief, brief_streams)
    assert stream.hello
    stopping = Thread(target=brief.stop)
    stopping.start()
    try:
        assert goodbye(stream) == {"reason": "drain", "poll": False}
    finally:
        stopping.join()
    with pytest.raises((OSError, Unanswered)):
        opened(brief, brief_streams)
