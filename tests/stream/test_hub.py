"""From the tail to the readers of one worker."""

import logging
from dataclasses import replace

import pytest

from app.eventlog.cursor import StartPosition
from app.eventlog.reader import Event
from app.stream import formats
from app.stream.broadcaster import Broadcaster
from app.stream.formats import EventFormat
from app.stream.hub import Hub
from app.stream.queue_subscriber import QueuedSubscriber
from tests.stream.readers import add, control, event, joined, live, opening, opening_of, subscriber, taken
from tests.support.cast import ADA, ALICE, BOB, CHARLIE, PIA, Person


@pytest.fixture
def hub() -> Hub:
    return Hub(lambda _user: True)


@pytest.fixture
def rounds(hub: Hub) -> Broadcaster:
    return Broadcaster(hub)


def goodbyes(*readers: QueuedSubscriber) -> list[str | None]:
    return [reader.close_reason for reader in readers]


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
def test_an_event_reaches_its_audience_and_nobody_else(
    hub: Hub, rounds: Broadcaster, audience: str, sees: set[Person]
) -> None:
    readers = {person: joined(hub, subscriber(person)) for person in (ALICE, BOB, CHARLIE, PIA, ADA)}
    hub.deliver([event(1, "a", audience)], 1)
    rounds.send()
    assert {person for person, reader in readers.items() if taken(reader)} == sees


def test_topics_choose_among_what_may_be_seen(hub: Hub, rounds: Broadcaster) -> None:
    reader = joined(hub, subscriber(topics="job.*,x"))
    hub.deliver([event(1, "job.a"), event(2, "y"), event(3, "x"), event(4, "job.b", "user:bob")], 4)
    rounds.send()
    assert taken(reader) == [1, 3]


def test_an_event_is_encoded_once_a_shape_and_only_for_shapes_that_are_read(hub: Hub, rounds: Broadcaster) -> None:
    calls: list[str] = []

    def counted(name: str) -> EventFormat:
        def encode(found: Event) -> bytes | None:
            calls.append(name)
            return formats.JSON_FORMAT(found)

        return EventFormat(name, encode)

    one, two, unread = counted("one"), counted("two"), counted("unread")
    for person, shape in ((ALICE, one), (BOB, one), (ADA, one), (ALICE, two)):
        joined(hub, subscriber(person, event_format=shape))
    add(hub, subscriber(event_format=unread))  # behind: it will read the ring
    hub.deliver([event(1)], 1)
    rounds.send()
    assert sorted(calls) == ["one", "two"]


def test_a_shape_may_leave_an_event_out(hub: Hub, rounds: Broadcaster) -> None:
    reader = joined(hub, subscriber(event_format=formats.RECONCILIATION_FORMAT))
    hub.deliver([event(1, "job.failed"), event(2, "command.status", phase="running")], 2)
    rounds.send()
    assert taken(reader) == [2]


def test_a_reader_goes_live_only_when_nothing_lies_between(hub: Hub) -> None:
    hub.deliver([], 7)
    reader = subscriber(after=5)
    add(hub, reader)
    assert not hub.go_live(reader)
    assert not reader.live
    reader.cursor = 7
    assert hub.go_live(reader)
    assert reader.live


def test_a_reader_that_was_told_goodbye_does_not_go_live(hub: Hub) -> None:
    reader = subscriber()
    add(hub, reader)
    reader.close("drain")
    assert not hub.go_live(reader)
    assert not reader.live


def test_a_reader_ahead_of_the_tail_gets_nothing_twice(hub: Hub, rounds: Broadcaster) -> None:
    reader = joined(hub, subscriber(after=3))
    hub.deliver([event(2), event(3), event(4)], 4)
    rounds.send()
    assert taken(reader) == [4]


def test_a_removed_reader_gets_nothing_and_is_removed_once(hub: Hub, rounds: Broadcaster) -> None:
    reader = joined(hub, subscriber())
    assert hub.remove(reader, "client-gone")
    assert not hub.remove(reader, "client-gone")
    hub.deliver([event(1)], 1)
    rounds.send()
    assert (taken(reader), len(hub)) == ([], 0)


def test_whoever_waits_for_the_end_of_a_stream_hears_of_it_once(hub: Hub) -> None:
    ended: list[str] = []
    reader = joined(hub, subscriber(on_end=lambda: ended.append("ended")))
    assert ended == []
    hub.remove(reader, "client-gone")
    hub.remove(reader, "client-gone")
    assert ended == ["ended"]


def test_drain_says_goodbye_to_all_and_to_whoever_comes_late(hub: Hub) -> None:
    early, late = joined(hub, subscriber()), subscriber()
    hub.drain()
    add(hub, late)
    assert goodbyes(early, late) == ["drain", "drain"]


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
    assert {name for name, reader in readers.items() if reader.close_reason == "revoked"} == ended


def test_a_revocation_ends_a_reader_that_is_behind_too(hub: Hub) -> None:
    hub.deliver([], 3)
    behind = joined(hub, subscriber(ALICE, after=1))
    hub.deliver([control(4, "user_changed", user="alice")], 4)
    assert behind.close_reason == "revoked"


def test_a_revocation_from_before_the_credential_was_checked_ends_nothing(hub: Hub) -> None:
    """Someone who logged in again after an administrator changed them is not thrown out by the old event."""
    reader = joined(hub, subscriber(ALICE, head=5))
    hub.deliver([control(5, "user_changed", user="alice")], 5)
    assert reader.close_reason is None


def test_no_event_behind_a_revocation_reaches_the_revoked(hub: Hub, rounds: Broadcaster) -> None:
    reader = joined(hub, subscriber(ALICE))
    hub.deliver([event(1)], 1)
    rounds.send()
    hub.deliver([event(2), control(3, "user_changed", user="alice"), event(4)], 4)
    rounds.send()
    hub.deliver([event(5)], 5)
    rounds.send()
    assert taken(reader) == [1]


def test_when_the_log_goes_back_every_reader_is_sent_to_ask_for_a_reset(hub: Hub, rounds: Broadcaster) -> None:
    reader = joined(hub, subscriber())
    hub.deliver([event(9)], 9)
    hub.deliver((), 3)
    assert reader.close_reason == "drain"
    assert hub.cursor == 3
    assert (hub.ring.floor, len(hub.ring)) == (3, 0)


def test_whoever_comes_after_the_log_went_back_gets_what_is_new_then(hub: Hub, rounds: Broadcaster) -> None:
    hub.deliver([event(9)], 9)
    rounds.send()
    hub.deliver((), 3)
    reader = joined(hub, subscriber(after=3))
    rounds.send()
    hub.deliver([event(4)], 4)
    rounds.send()
    assert taken(reader) == [4]


def test_a_log_that_grew_again_to_where_the_rounds_stood_is_sent_all_the_same(hub: Hub, rounds: Broadcaster) -> None:
    hub.deliver([event(9)], 9)
    rounds.send()
    hub.deliver((), 3)
    reader = joined(hub, subscriber(after=3))
    hub.deliver([event(number) for number in range(4, 10)], 9)
    rounds.send()
    assert taken(reader) == [4, 5, 6, 7, 8, 9]


def test_a_reader_that_a_failure_kept_from_its_event_reads_on_from_its_cursor(hub: Hub, rounds: Broadcaster) -> None:
    def broken(_event: Event) -> bytes:
        raise KeyError("a shape that fails")

    served, unserved = joined(hub, subscriber()), joined(hub, subscriber(event_format=EventFormat("broken", broken)))
    hub.deliver([event(1)], 1)
    rounds.send()
    assert hub.cursor == 1
    assert not unserved.live
    assert unserved.cursor == 0
    assert served.cursor == len(taken(served))  # what it was given, and no more


class TestFlag:
    def test_a_change_ends_the_streams_of_those_who_are_out_and_no_others(self) -> None:
        allowed = {"alice", "bob"}
        hub = Hub(allowed.__contains__)
        alice, bob = joined(hub, subscriber(ALICE)), joined(hub, subscriber(BOB))
        allowed.remove("alice")
        hub.deliver([event(1)], 1)
        hub.check_flags()
        assert goodbyes(alice, bob) == [None, None], "asked without a change"
        hub.deliver([event(2, "flag.changed")], 2)
        hub.check_flags()
        assert goodbyes(alice, bob) == ["flag-off", None]

    def test_the_change_itself_still_reaches_whoever_is_switched_off(self) -> None:
        allowed = {"alice"}
        hub = Hub(allowed.__contains__)
        rounds, reader = Broadcaster(hub), joined(hub, subscriber(ALICE))
        allowed.clear()
        hub.deliver([event(1, "flag.changed")], 1)
        rounds.send()
        hub.check_flags()
        hub.deliver([event(2)], 2)
        rounds.send()
        assert taken(reader) == [1]

    def test_a_change_between_admission_and_joining_is_not_missed(self) -> None:
        hub = Hub(lambda _user: False)
        reader = subscriber(ALICE)
        add(hub, reader)
        assert reader.close_reason == "flag-off"

    def test_an_answer_from_before_the_change_is_asked_for_again_and_a_newer_one_is_not(self) -> None:
        hub = Hub(lambda _user: False)
        before, after = subscriber(ALICE), subscriber(ALICE)
        asked_before = replace(opening_of(before), flag_version=hub.flag_version)
        hub.request_flag_check()
        hub.check_admission(before, asked_before)
        hub.check_admission(after, replace(opening_of(after), flag_version=hub.flag_version))
        assert goodbyes(before, after) == ["flag-off", None]

    def test_each_user_is_asked_about_once_a_change(self) -> None:
        asked: list[str] = []

        def may_stream(user: str) -> bool:
            asked.append(user)
            return True

        hub = Hub(may_stream)
        for person in (ALICE, ALICE, BOB, ALICE):
            joined(hub, subscriber(person))
        asked.clear()
        hub.request_flag_check()
        hub.check_flags()
        hub.check_flags()
        assert sorted(asked) == ["alice", "bob"]

    def test_somebody_else_may_have_the_flags_asked_again(self) -> None:
        allowed = {"alice"}
        hub = Hub(allowed.__contains__)
        reader = joined(hub, subscriber(ALICE))
        allowed.clear()
        hub.request_flag_check()
        hub.check_flags()
        assert reader.close_reason == "flag-off"


class TestCounting:
    def test_the_hub_knows_how_many_it_serves(self, hub: Hub) -> None:
        for _ in range(3):
            add(hub, live(subscriber()))
        assert len(hub) == 3

    def test_opening_and_closing_are_counted_by_shape_and_reason(self, hub: Hub) -> None:
        first, second = subscriber(), subscriber(event_format=formats.SSE_FORMAT)
        add(hub, first)
        add(hub, second)
        assert hub.counters.open == {"json": 1, "sse": 1}
        hub.remove(first, "drain")
        hub.remove(first, "drain")
        assert (hub.counters.open, hub.counters.opens) == ({"json": 0, "sse": 1}, {"json": 1, "sse": 1})
        assert hub.counters.closes == {"drain": 1}

    @pytest.mark.parametrize(
        ("start", "outcome"),
        [(StartPosition(4, 4), "none"), (StartPosition(3, 4), "replayed"), (StartPosition(4, 4, "pruned"), "reset")],
    )
    def test_how_a_stream_begins_is_counted(self, hub: Hub, start: StartPosition, outcome: str) -> None:
        made = subscriber(after=start.after)
        hub.add(made, opening(made.reader, start))
        assert hub.counters.resumes == {outcome: 1}

    def test_opening_and_closing_are_logged(self, hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
        made = subscriber(after=3, head=4)
        with caplog.at_level(logging.INFO, "beacon.stream"):
            add(hub, made)
            made.cursor = 9
            hub.remove(made, "slow")
        opened, closed = (record.getMessage() for record in caplog.records)
        assert opened.endswith(" user=alice after=3 head=4")
        assert " user=alice reason=slow last=9 " in closed
