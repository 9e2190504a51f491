"""From the tail to the subscribers of one worker."""

from collections.abc import Callable

import pytest

from app.eventlog.read import Event
from app.stream import shapes
from app.stream.hub import Hub
from app.stream.subscriber import Subscriber
from tests.cast import ADA, ALICE, BOB, CHARLIE, PIA, Person
from tests.sse_client import parse
from tests.stream.readers import control, event, live, subscriber


@pytest.fixture
def hub() -> Hub:
    return Hub(lambda _user: True)


def ids(reader: Subscriber) -> list[int]:
    return [int(frame.id or 0) for frame in parse(reader.take(0))]


def goodbyes(*readers: Subscriber) -> list[str | None]:
    return [reader.goodbye for reader in readers]


def joined(hub: Hub, reader: Subscriber) -> Subscriber:
    hub.add(reader)
    hub.go_live(reader)
    return reader


@pytest.mark.parametrize(
    ("audience", "sees"),
    [
        ("everyone", {ALICE, BOB, CHARLIE, PIA, ADA}),
        ("user:alice", {ALICE}),
        ("role:operator", {BOB, ADA}),
        ("role:viewer", {ALICE, CHARLIE, ADA}),
        ("role:product", {PIA, ADA}),
        ("role:admin", {ADA}),
        ("user:nobody", set()),
        ("control", set()),
    ],
)
def test_an_event_reaches_its_audience_and_nobody_else(hub: Hub, audience: str, sees: set[Person]) -> None:
    readers = {person: joined(hub, subscriber(person)) for person in (ALICE, BOB, CHARLIE, PIA, ADA)}
    hub.deliver([event(1, "a", audience)], 1)
    assert {person for person, reader in readers.items() if ids(reader)} == sees


def test_topics_choose_among_what_may_be_seen(hub: Hub) -> None:
    reader = joined(hub, subscriber(topics="job.*,x"))
    hub.deliver([event(1, "job.a"), event(2, "y"), event(3, "x"), event(4, "job.b", "user:bob")], 4)
    assert ids(reader) == [1, 3]


def test_an_event_is_encoded_once_a_shape_and_only_for_shapes_that_are_read(hub: Hub) -> None:
    calls: list[str] = []

    def counted(name: str) -> Callable[[Event], bytes | None]:
        def shape(found: Event) -> bytes | None:
            calls.append(name)
            return shapes.as_json(found)

        return shape

    one, two, unread = counted("one"), counted("two"), counted("unread")
    for shape in (one, one, one, two):
        joined(hub, subscriber(shape=shape))
    hub.add(subscriber(shape=unread))  # behind: it will read the log
    hub.deliver([event(1)], 1)
    assert sorted(calls) == ["one", "two"]


def test_a_shape_may_leave_an_event_out(hub: Hub) -> None:
    reader = joined(hub, subscriber(shape=shapes.as_reconciliation))
    hub.deliver([event(1, "job.failed"), event(2, "command.status", phase="running")], 2)
    assert ids(reader) == [2]


def test_a_reader_goes_live_only_when_nothing_lies_between(hub: Hub) -> None:
    hub.deliver([], 7)
    reader = subscriber(after=5)
    hub.add(reader)
    hub.go_live(reader)
    assert not reader.live
    reader.cursor = 7
    hub.go_live(reader)
    assert reader.live


def test_a_reader_ahead_of_the_tail_gets_nothing_twice(hub: Hub) -> None:
    reader = joined(hub, subscriber(after=3))
    hub.deliver([event(2), event(3), event(4)], 4)
    assert ids(reader) == [4]


def test_a_removed_reader_gets_nothing(hub: Hub) -> None:
    reader = joined(hub, subscriber())
    hub.remove(reader)
    hub.remove(reader)
    hub.deliver([event(1)], 1)
    assert (ids(reader), len(hub)) == ([], 0)


def test_drain_says_goodbye_to_all_and_to_whoever_comes_late(hub: Hub) -> None:
    early, late = joined(hub, subscriber()), subscriber()
    hub.drain()
    hub.add(late)
    assert (early.goodbye, late.goodbye) == ("drain", "drain")


REVOCATIONS = [
    (control(5, "session_ended", session="s1"), {"alice-s1"}),
    (control(5, "token_revoked", token=7), {"alice-t7"}),
    (control(5, "user_changed", user="alice"), {"alice-s1", "alice-s2", "alice-t7"}),
    (control(5, "session_ended", session="other"), set()),
    (control(5, "something_new", user="alice"), set()),
]


@pytest.mark.parametrize(("revocation", "ended"), REVOCATIONS)
def test_a_revocation_ends_exactly_the_streams_it_means(hub: Hub, revocation: Event, ended: set[str]) -> None:
    readers = {
        "alice-s1": subscriber(ALICE, login_id="s1"),
        "alice-s2": subscriber(ALICE, login_id="s2"),
        "alice-t7": subscriber(ALICE, token_id=7),
        "bob-s3": subscriber(BOB, login_id="s3"),
        "bob-t8": subscriber(BOB, token_id=8),
    }
    for reader in readers.values():
        joined(hub, reader)
    hub.deliver([revocation], 5)
    assert {name for name, reader in readers.items() if reader.goodbye == "revoked"} == ended


def test_a_revocation_from_before_the_credential_was_checked_ends_nothing(hub: Hub) -> None:
    """Someone who logged in again after an administrator changed them is not thrown out by the old event."""
    reader = joined(hub, subscriber(ALICE, head=5))
    hub.deliver([control(5, "user_changed", user="alice")], 5)
    assert reader.goodbye is None


def test_no_event_behind_a_revocation_reaches_the_revoked(hub: Hub) -> None:
    reader = joined(hub, subscriber(ALICE))
    hub.deliver([event(1), control(2, "user_changed", user="alice"), event(3)], 3)
    hub.deliver([event(4)], 4)
    assert ids(reader) == [1]


def test_when_the_log_goes_back_every_reader_is_sent_to_ask_for_a_reset(hub: Hub) -> None:
    reader = joined(hub, subscriber())
    hub.deliver([event(9)], 9)
    hub.deliver((), 3)
    assert reader.goodbye == "drain"
    assert hub.cursor == 3


def test_a_reader_that_a_failure_kept_from_its_event_reads_the_log_again(hub: Hub) -> None:
    def broken(_event: Event) -> bytes:
        raise KeyError("a shape that fails")

    served, unserved = joined(hub, subscriber()), joined(hub, subscriber(shape=broken))
    with pytest.raises(KeyError):
        hub.deliver([event(1)], 1)
    assert hub.cursor == 1
    assert not unserved.live
    assert unserved.cursor == 0
    assert served.cursor == len(ids(served))  # what it was given, and no more


class TestFlag:
    def test_a_change_ends_the_streams_of_those_who_are_out_and_no_others(self) -> None:
        allowed = {"alice", "bob"}
        hub = Hub(allowed.__contains__)
        alice, bob = joined(hub, subscriber(ALICE)), joined(hub, subscriber(BOB))
        allowed.remove("alice")
        hub.deliver([event(1)], 1)
        assert goodbyes(alice, bob) == [None, None], "asked without a change"
        hub.deliver([event(2, "flag.changed")], 2)
        assert goodbyes(alice, bob) == ["flag-off", None]

    def test_the_change_itself_still_reaches_whoever_is_switched_off(self) -> None:
        hub = Hub(lambda _user: True)
        reader = joined(hub, subscriber(ALICE))
        hub._may_stream = lambda _user: False
        hub.deliver([event(1, "flag.changed"), event(2)], 2)
        assert ids(reader) == [1]

    def test_a_change_between_admission_and_joining_is_not_missed(self) -> None:
        hub = Hub(lambda _user: False)
        reader = subscriber(ALICE)
        hub.add(reader)
        assert reader.goodbye == "flag-off"


def test_the_hub_knows_how_many_it_serves(hub: Hub) -> None:
    readers = [live(subscriber()) for _ in range(3)]
    for reader in readers:
        hub.add(reader)
    assert len(hub) == 3
