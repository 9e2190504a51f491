"""How streams end: revocation in all its forms, and that `bye` is the last word."""

from typing import Any

from tests.contract.checks import problem
from tests.contract.conftest import Knock, Listen, Publisher, World
from tests.contract.holding import holds
from tests.contract.people import Admin, Person, bearer
from tests.contract.streams import EVENTS, MAIN, PATHS, RECONCILIATION, SSE, Stream

TOKEN = "A revoked token ends its streams on every path with a `bye` whose reason is `revoked`."
SOON = "Revocation ends a stream within a second."
DISABLED = "Disabling a user ends the streams of all their credentials."
PASSWORD = "A new password ends the streams of the user's login sessions."
ROLE = "A new role ends the user's streams, so that they open again with what they may see now."
LOGOUT = "Logging out ends the streams of that session, whether opened with its cookie or its page token."
NOT_OTHERS = "Logging out ends no stream of another session and none of an API token."
CLOSED = "After `bye` the server closes the connection, and nothing more is sent."
IN_ORDER = "A stream that says `bye` ends in order: in chunks, with the last one."
POLL = "`poll` in `bye` is true for `flag-off` and false for every other reason."

REVOKED = {"reason": "revoked", "poll": False}


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


@holds(IN_ORDER)
def test_the_last_chunk_follows_bye(world: World, admin: Admin, knock: Knock) -> None:
    token = admin.add_token(world.someone(), "stream")
    streams = [knock(path, token.headers) for path in PATHS]
    assert all(stream.hello for stream in streams)
    admin.revoke(token)
    for stream in streams:
        assert goodbye(stream) == REVOKED
        assert stream.head.is_chunked
        assert stream.ended_in_order


@holds(POLL)
def test_a_revoked_client_is_not_told_to_poll(world: World, admin: Admin, listen: Listen) -> None:
    person = world.someone()
    stream = listen(person)
    admin.change(person, disabled=True)
    assert goodbye(stream)["poll"] is False
