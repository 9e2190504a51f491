"""Alice, and Charlie who must see nothing of what is hers: on every path, live, replayed and polled.

That something does not come is shown by what comes after it: a later event that Charlie may see has arrived, and no
byte before it is hers.
"""

import secrets
from dataclasses import dataclass

import pytest

from tests.contract.conftest import Listen, Publisher, World
from tests.contract.holding import holds
from tests.contract.people import FRAMES, Person, bearer
from tests.contract.streams import EVENTS, MAIN, RECONCILIATION, SSE, Stream

EVERYONE = "An event without an audience reaches everyone."
REACHES = "An event for one user reaches that user on every path."
NOBODY_ELSE = "Nobody else gets a byte of an event for one user, on any path, live or replayed."
NO_ADMIN = "An administrator gets no event that is for one other user either."
ROLE = "An event for a role reaches those who have it, and administrators."
NO_ROLE = "Nobody without the role gets a byte of an event for a role."
TOPICS = "`topics` widens no audience."
SCOPES = "Scopes widen no audience: a token sees what its user may see."
CONTROL = "Beacon's own `control` events are neither sent nor listed."

HTML = f"{MAIN}?as=html"
ALL_SCOPES = ("stream", "read", "publish", "command", "rollout", "widget", "admin")


@dataclass(frozen=True)
class Published:
    """A secret event and the open one behind it; every byte of the secret one holds one of `marks`."""

    before: int
    hidden: int
    later: int
    marks: tuple[bytes, bytes]

    def is_in(self, body: bytes) -> bool:
        return any(mark in body for mark in self.marks) or f"id: {self.hidden}\n".encode() in body


@pytest.fixture
def secret(publish: Publisher, kind: str) -> "Secret":
    return Secret(publish, kind)


class Secret:
    """Publishes an event for somebody between two for everyone."""

    def __init__(self, publish: Publisher, kind: str) -> None:
        self._publish, self._kind = publish, kind

    def __call__(self, audience: str) -> Published:
        mark = f"secret-{secrets.token_hex(8)}"
        hidden_type = f"{self._kind}.hidden"
        before = self._publish(f"{self._kind}.open")
        hidden = self._publish(hidden_type, {mark: mark}, audience)
        later = self._publish(f"{self._kind}.open")
        return Published(before, hidden, later, (mark.encode(), hidden_type.encode()))


def sees_nothing(stream: Stream, published: Published) -> bool:
    stream.event(published.later)
    return not published.is_in(stream.body)


def live(listen: Listen, charlie: Person, path: str, secret: Secret, audience: str) -> bool:
    stream = listen(charlie, path)
    return sees_nothing(stream, secret(audience))


def replayed(listen: Listen, charlie: Person, path: str, secret: Secret, audience: str) -> bool:
    published = secret(audience)
    return sees_nothing(listen(charlie, path, {"Last-Event-ID": str(published.before - 1)}), published)


@holds(EVERYONE)
def test_what_is_for_everyone_reaches_every_role(
    alice: Person, bob: Person, ada: Person, listen: Listen, publish: Publisher, kind: str
) -> None:
    streams = [listen(person) for person in (alice, bob, ada)]
    unsaid, said = publish(kind), publish(kind, audience="everyone")
    for stream in streams:
        stream.event(said)
        assert stream.ids_among([unsaid, said]) == [unsaid, said]


@holds(REACHES)
def test_alice_gets_hers_on_the_stream(alice: Person, listen: Listen, secret: Secret) -> None:
    stream = listen(alice)
    assert stream.event(secret(f"user:{alice.name}").hidden)


@holds(REACHES)
def test_alice_gets_hers_on_the_events_stream(alice: Person, listen: Listen, secret: Secret) -> None:
    stream = listen(alice, EVENTS)
    assert stream.event(secret(f"user:{alice.name}").hidden)


@holds(REACHES)
def test_alice_gets_hers_on_the_sse_path(alice: Person, listen: Listen, secret: Secret) -> None:
    stream = listen(alice, SSE)
    assert stream.event(secret(f"user:{alice.name}").hidden)


@holds(REACHES)
def test_alice_gets_hers_on_a_page(alice: Person, listen: Listen, secret: Secret) -> None:
    stream = listen(alice, HTML)
    assert stream.event(secret(f"user:{alice.name}").hidden)


@holds(REACHES)
def test_alice_gets_hers_replayed_and_with_her_cookie(alice: Person, listen: Listen, secret: Secret) -> None:
    published = secret(f"user:{alice.name}")
    page = bearer(alice.browser.page_token()["token"])
    stream = listen(alice, MAIN, {**page, "Last-Event-ID": str(published.before)})
    assert stream.event(published.hidden)


@holds(REACHES)
def test_alice_gets_hers_when_she_polls(alice: Person, secret: Secret, world: World) -> None:
    published = secret(f"user:{alice.name}")
    for path in (FRAMES, "/api/events"):
        assert published.marks[0] in world.ask("GET", f"{path}?after={published.before}", alice.bearer()).body


@holds(NOBODY_ELSE)
def test_charlie_sees_nothing_of_hers_on_the_stream(
    alice: Person, charlie: Person, listen: Listen, secret: Secret
) -> None:
    assert live(listen, charlie, MAIN, secret, f"user:{alice.name}")


@holds(NOBODY_ELSE)
def test_charlie_sees_nothing_of_hers_on_the_events_stream(
    alice: Person, charlie: Person, listen: Listen, secret: Secret
) -> None:
    assert live(listen, charlie, EVENTS, secret, f"user:{alice.name}")


@holds(NOBODY_ELSE)
def test_charlie_sees_nothing_of_hers_on_the_sse_path(
    alice: Person, charlie: Person, listen: Listen, secret: Secret
) -> None:
    assert live(listen, charlie, SSE, secret, f"user:{alice.name}")


@holds(NOBODY_ELSE)
def test_charlie_sees_nothing_of_hers_on_a_page(alice: Person, charlie: Person, listen: Listen, secret: Secret) -> None:
    assert live(listen, charlie, HTML, secret, f"user:{alice.name}")


@holds(NOBODY_ELSE)
def test_charlie_sees_nothing_of_hers_on_the_reconciliation_stream(
    alice: Person, charlie: Person, listen: Listen, secret: Secret, beating: float
) -> None:
    stream = listen(charlie, RECONCILIATION)
    published = secret(f"user:{alice.name}")
    passed = f'"head":{published.later}'
    stream.wait(
        lambda: [frame for frame in stream.named("heartbeat") if frame.json()["head"] >= published.later],
        f"a heartbeat with {passed} or more",
        3 * beating,
    )
    assert not published.is_in(stream.body)


@holds(NOBODY_ELSE)
def test_charlie_sees_nothing_of_hers_in_a_replay(
    alice: Person, charlie: Person, listen: Listen, secret: Secret
) -> None:
    assert replayed(listen, charlie, MAIN, secret, f"user:{alice.name}")


@holds(NOBODY_ELSE)
def test_charlie_sees_nothing_of_hers_in_a_replay_of_the_events_stream(
    alice: Person, charlie: Person, listen: Listen, secret: Secret
) -> None:
    assert replayed(listen, charlie, EVENTS, secret, f"user:{alice.name}")


@holds(NOBODY_ELSE)
def test_charlie_sees_nothing_of_hers_in_a_replay_of_the_sse_path(
    alice: Person, charlie: Person, listen: Listen, secret: Secret
) -> None:
    assert replayed(listen, charlie, SSE, secret, f"user:{alice.name}")


@holds(NOBODY_ELSE)
def test_charlie_sees_nothing_of_hers_in_a_replay_for_a_page(
    alice: Person, charlie: Person, listen: Listen, secret: Secret
) -> None:
    assert replayed(listen, charlie, HTML, secret, f"user:{alice.name}")


@holds(NOBODY_ELSE)
def test_charlie_sees_nothing_of_hers_with_his_cookie(
    alice: Person, charlie: Person, listen: Listen, secret: Secret
) -> None:
    stream = listen(charlie, EVENTS, bearer(charlie.browser.page_token()["token"]))
    assert sees_nothing(stream, secret(f"user:{alice.name}"))


@holds(NOBODY_ELSE)
def test_charlie_sees_nothing_of_hers_in_polled_frames(
    alice: Person, charlie: Person, secret: Secret, world: World
) -> None:
    published = secret(f"user:{alice.name}")
    answer = world.ask("GET", f"{FRAMES}?after={published.before - 1}", charlie.bearer())
    assert f"id: {published.later}\n" in answer.text
    assert not published.is_in(answer.body)


@holds(NOBODY_ELSE)
def test_charlie_sees_nothing_of_hers_in_the_list_of_events(
    alice: Person, charlie: Person, secret: Secret, world: World
) -> None:
    published = secret(f"user:{alice.name}")
    answer = world.ask("GET", f"/api/events?after={published.before - 1}", charlie.bearer())
    listed = [item["id"] for item in answer.json()["data"]]
    assert published.later in listed
    assert published.hidden not in listed
    assert not published.is_in(answer.body)


@holds(NOBODY_ELSE)
def test_a_name_that_begins_like_alice_s_is_somebody_else(
    alice: Person, charlie: Person, listen: Listen, secret: Secret
) -> None:
    assert live(listen, alice, MAIN, secret, f"user:{alice.name}x")
    assert live(listen, charlie, MAIN, secret, f"user:{charlie.name[:-1]}")


@holds(NO_ADMIN)
def test_an_administrator_sees_nothing_of_hers(alice: Person, ada: Person, listen: Listen, secret: Secret) -> None:
    assert live(listen, ada, MAIN, secret, f"user:{alice.name}")


@holds(NO_ADMIN)
def test_an_administrator_lists_nothing_of_hers(alice: Person, ada: Person, secret: Secret, world: World) -> None:
    published = secret(f"user:{alice.name}")
    answer = world.ask("GET", f"/api/events?after={published.before}", ada.bearer())
    assert not published.is_in(answer.body)


@holds(ROLE)
def test_an_operator_gets_what_operators_are_told(bob: Person, listen: Listen, secret: Secret) -> None:
    stream = listen(bob)
    assert stream.event(secret("role:operator").hidden)


@holds(ROLE)
def test_an_administrator_gets_what_operators_are_told(ada: Person, listen: Listen, secret: Secret) -> None:
    stream = listen(ada)
    assert stream.event(secret("role:operator").hidden)


@holds(ROLE)
def test_those_who_have_the_role_get_it_on_the_other_paths(bob: Person, listen: Listen, secret: Secret) -> None:
    streams = [listen(bob, path) for path in (EVENTS, SSE, HTML)]
    published = secret("role:operator")
    assert all(stream.event(published.hidden) for stream in streams)


@holds(NO_ROLE)
def test_a_viewer_sees_nothing_of_what_operators_are_told(charlie: Person, listen: Listen, secret: Secret) -> None:
    assert live(listen, charlie, MAIN, secret, "role:operator")


@holds(NO_ROLE)
def test_a_viewer_sees_nothing_of_it_on_the_other_paths(charlie: Person, listen: Listen, secret: Secret) -> None:
    for path in (EVENTS, SSE, HTML):
        assert live(listen, charlie, path, secret, "role:operator")


@holds(NO_ROLE)
def test_a_viewer_sees_nothing_of_it_in_a_replay(charlie: Person, listen: Listen, secret: Secret) -> None:
    for path in (MAIN, EVENTS, SSE, HTML):
        assert replayed(listen, charlie, path, secret, "role:operator")


@holds(NO_ROLE)
def test_a_viewer_sees_nothing_of_it_when_polling(charlie: Person, secret: Secret, world: World) -> None:
    published = secret("role:operator")
    for path in (FRAMES, "/api/events"):
        answer = world.ask("GET", f"{path}?after={published.before}", charlie.bearer())
        assert not published.is_in(answer.body)


@holds(NO_ROLE)
def test_an_operator_sees_nothing_of_what_administrators_are_told(bob: Person, listen: Listen, secret: Secret) -> None:
    assert live(listen, bob, MAIN, secret, "role:admin")


@holds(TOPICS)
def test_asking_for_the_type_does_not_help_charlie(
    alice: Person, charlie: Person, listen: Listen, publish: Publisher, kind: str
) -> None:
    stream = listen(charlie, f"{MAIN}?topics={kind}")
    hidden = publish(kind, {"secret": True}, f"user:{alice.name}")
    later = publish(kind)
    stream.event(later)
    assert stream.ids_among([hidden, later]) == [later]
    assert b"secret" not in stream.body


@holds(TOPICS)
def test_asking_for_control_events_gives_none(
    world: World, charlie: Person, listen: Listen, publish: Publisher, kind: str
) -> None:
    stream = listen(charlie, f"{MAIN}?topics=control.*,{kind}")
    world.admin.revoke(world.admin.add_token(charlie, "widget"))
    stream.event(publish(kind))
    assert b"control." not in stream.body


@holds(SCOPES)
def test_all_scopes_together_show_charlie_no_more(
    alice: Person, charlie: Person, listen: Listen, secret: Secret
) -> None:
    stream = listen(charlie, MAIN, charlie.bearer(*ALL_SCOPES))
    assert sees_nothing(stream, secret(f"user:{alice.name}"))


@holds(SCOPES)
def test_a_viewer_s_token_for_administrators_is_told_nothing_of_theirs(
    charlie: Person, secret: Secret, world: World
) -> None:
    published = secret("role:admin")
    answer = world.ask("GET", f"/api/events?after={published.before}", charlie.bearer(*ALL_SCOPES))
    assert not published.is_in(answer.body)


@holds(CONTROL)
def test_a_revocation_is_not_sent_to_anybody(
    world: World, alice: Person, ada: Person, listen: Listen, publish: Publisher, kind: str
) -> None:
    streams = [listen(alice), listen(ada, EVENTS), listen(ada, HTML)]
    world.admin.revoke(world.admin.add_token(alice, "widget"))
    later = publish(kind)
    for stream in streams:
        stream.event(later)
        assert b"control." not in stream.body


@holds(CONTROL)
def test_a_revocation_is_not_listed_for_anybody(
    world: World, alice: Person, ada: Person, publish: Publisher, kind: str
) -> None:
    before = publish(kind)
    world.admin.revoke(world.admin.add_token(alice, "widget"))
    publish(kind)
    for person in (alice, ada):
        for path in ("/api/events", FRAMES):
            assert b"control." not in world.ask("GET", f"{path}?after={before}", person.bearer()).body
