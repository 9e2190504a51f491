"""Resuming: every event after the cursor once and in order, or one `reset` that says why not."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.contract.conftest import Listen, Publisher, World
from tests.contract.frames import Frame, parse
from tests.contract.holding import holds
from tests.contract.people import FRAMES, Person
from tests.contract.streams import EVENTS, MAIN, PATHS, RECONCILIATION, SSE, Stream

NONE = "Without a cursor a stream begins at the head: nothing older is sent."
HEADER = "`Last-Event-ID` resumes every stream path after that id."
QUERY = "`lastEventId=N` in the query resumes too, for a client's first request."
BEATS = "The header `Last-Event-ID` beats `lastEventId`."
ALL = "A replay sends every event after the cursor once and in order, however many there are."
SAME = "The cursor is the same on all paths: a client may change from one to another."
MALFORMED = "A malformed cursor gets one `reset` with the reason `malformed`, on every path."
FUTURE = "A cursor above the head gets one `reset` with the reason `future`, on every path."
GOES_ON = "After a `reset` the stream goes on live."
FAR = 1_000_000


def after(event_id: int) -> dict[str, str]:
    return {"Last-Event-ID": str(event_id)}


def only_reset(stream: Stream, publish: Publisher) -> dict[str, Any]:
    """What the one `reset` says; the stream goes on live after it. Works on paths that carry no such event too."""
    reset = stream.first_named("reset")
    assert [frame.event for frame in stream.frames[:2]] == ["hello", "reset"]
    event_id = publish("contract.later")
    stream.wait(lambda: stream.with_id(event_id) or reached(stream, event_id), "what comes after the reset")
    assert len(stream.named("reset")) == 1
    told: dict[str, Any] = reset.json()
    assert reset.id == told["head"] < event_id
    assert set(told) == {"reason", "head"}
    return told


def reached(stream: Stream, event_id: int) -> list[Frame]:
    """Heartbeats that have passed the id."""
    return [frame for frame in stream.named("heartbeat") if frame.json()["head"] >= event_id]


@holds(NONE)
def test_without_a_cursor_nothing_older_is_sent(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    older = publish.many(kind, 5)
    stream = listen(alice)
    newer = publish(kind)
    stream.event(newer)
    assert stream.ids_among([*older, newer]) == [newer]


@holds(NONE)
def test_without_a_cursor_nothing_older_is_sent_on_any_path(
    alice: Person, listen: Listen, publish: Publisher, kind: str
) -> None:
    older = publish(kind)
    for path in (EVENTS, SSE):
        stream = listen(alice, path)
        stream.event(publish(kind))
        assert older not in stream.ids


@holds("An empty cursor is none.")
def test_an_empty_cursor_begins_at_the_head(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    older = publish(kind)
    stream = listen(alice, f"{MAIN}?lastEventId=")
    stream.event(publish(kind))
    assert older not in stream.ids
    assert stream.named("reset") == []


@holds(HEADER)
def test_the_header_resumes_the_stream(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    seen, *missed = publish.many(kind, 4)
    stream = listen(alice, MAIN, after(seen))
    stream.event(missed[-1])
    assert stream.ids_among([seen, *missed]) == missed


@holds(HEADER)
def test_the_header_resumes_the_reconciliation_stream(
    alice: Person, listen: Listen, publish: Publisher, kind: str, beating: float
) -> None:
    """It carries nothing that can be published: its `hello` says from where it goes on, and its heartbeat how far."""
    seen, *missed = publish.many(kind, 4)
    stream = listen(alice, RECONCILIATION, after(seen))
    assert stream.hello.json()["after"] == seen
    stream.wait(lambda: reached(stream, missed[-1]), "a heartbeat", beating + 1)
    assert stream.named("reset") == []


@holds(HEADER)
def test_the_header_resumes_the_events_stream(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    seen, *missed = publish.many(kind, 4)
    stream = listen(alice, EVENTS, after(seen))
    stream.event(missed[-1])
    assert stream.ids_among([seen, *missed]) == missed


@holds(HEADER)
def test_the_header_resumes_the_sse_path(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    seen, *missed = publish.many(kind, 4)
    stream = listen(alice, SSE, after(seen))
    stream.event(missed[-1])
    assert stream.ids_among([seen, *missed]) == missed


@holds(QUERY)
def test_the_query_resumes_the_stream(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    seen, *missed = publish.many(kind, 4)
    stream = listen(alice, f"{MAIN}?lastEventId={seen}")
    stream.event(missed[-1])
    assert stream.ids_among([seen, *missed]) == missed


@holds(QUERY)
def test_the_query_resumes_the_other_paths(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    seen, *missed = publish.many(kind, 4)
    for path in (EVENTS, SSE):
        stream = listen(alice, f"{path}?lastEventId={seen}")
        stream.event(missed[-1])
        assert stream.ids_among([seen, *missed]) == missed


@holds(BEATS)
def test_the_newer_header_beats_the_query(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    ids = publish.many(kind, 6)
    stream = listen(alice, f"{MAIN}?lastEventId={ids[0]}", after(ids[3]))
    stream.event(ids[-1])
    assert stream.ids_among(ids) == ids[4:]


@holds(BEATS)
def test_the_older_header_beats_the_query(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    ids = publish.many(kind, 6)
    stream = listen(alice, f"{MAIN}?lastEventId={ids[3]}", after(ids[0]))
    stream.event(ids[-1])
    assert stream.ids_among(ids) == ids[1:]


@holds(BEATS)
def test_a_malformed_header_beats_a_good_query(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    good = publish(kind)
    stream = listen(alice, f"{MAIN}?lastEventId={good}", {"Last-Event-ID": "nonsense"})
    assert only_reset(stream, publish)["reason"] == "malformed"


@holds(ALL)
def test_a_replay_of_many_pages_is_whole_and_in_order(
    alice: Person, listen: Listen, publish: Publisher, kind: str
) -> None:
    seen, *missed = [*publish.many(kind, 1), *publish.many(kind, 1_000), *publish.many(kind, 300)]
    stream = listen(alice, MAIN, after(seen))
    stream.event(missed[-1])
    assert stream.ids_among([seen, *missed]) == missed


@holds(ALL)
def test_a_replay_goes_over_into_live_events(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    seen, *missed = publish.many(kind, 20)
    stream = listen(alice, MAIN, after(seen))
    later = [publish(kind) for _ in range(5)]
    stream.event(later[-1])
    assert stream.ids_among([seen, *missed, *later]) == [*missed, *later]


@holds(ALL)
def test_large_payloads_are_replayed_whole(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    seen = publish(kind)
    texts = [chr(ord("a") + n) * 60_000 for n in range(20)]
    ids = publish.all(*({"type": kind, "data": {"text": text}} for text in texts))
    stream = listen(alice, MAIN, after(seen))
    stream.event(ids[-1])
    assert [stream.event(event_id).json()["data"]["text"] for event_id in ids] == texts


@holds(ALL)
def test_a_client_that_is_cut_again_and_again_misses_nothing(
    alice: Person, charlie: Person, listen: Listen, publish: Publisher, kind: str
) -> None:
    cursor, got, sent = publish(kind), [], []
    for person in (alice, charlie, alice, charlie, alice):
        sent += publish.many(kind, 7)
        with listen(person, MAIN, after(cursor)) as stream:
            stream.event(sent[-3])  # and goes away with two or more unread
            got += stream.ids_among(sent)
        cursor = got[-1]
    with listen(charlie, MAIN, after(cursor)) as stream:
        stream.event(publish(kind))
        got += stream.ids_among(sent)
    assert got == sent


@holds("Events published while a stream opens come once and in order as well.")
def test_what_is_published_while_a_stream_opens_comes_once(
    alice: Person, charlie: Person, listen: Listen, publish: Publisher, kind: str
) -> None:
    seen = publish(kind)
    with ThreadPoolExecutor(1) as pool:
        publishing = pool.submit(lambda: [publish(kind, {"n": n}) for n in range(60)])
        streams = [listen(person, MAIN, after(seen)) for person in (alice, charlie, alice, charlie)]
        ids = publishing.result()
    for stream in streams:
        stream.event(ids[-1])
        assert stream.ids_among(ids) == ids


@holds(SAME)
def test_a_client_may_change_the_path_with_its_cursor(
    alice: Person, listen: Listen, publish: Publisher, kind: str
) -> None:
    cursor, got, sent = publish(kind), [], []
    for path in (MAIN, EVENTS, SSE, f"{MAIN}?as=html", MAIN):
        sent += publish.many(kind, 3)
        with listen(alice, path, after(cursor)) as stream:
            stream.event(sent[-1])
            got += stream.ids_among(sent)
            cursor = stream.ids[-1]
    assert got == sent


@holds(SAME)
def test_every_path_gives_an_event_the_same_id(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    streams = [listen(alice, path) for path in (MAIN, EVENTS, SSE)]
    event_id = publish(kind, {"mark": kind})
    assert all(kind in stream.event(event_id).data for stream in streams)


@holds("A client may change to polling and back with the same cursor.")
def test_polling_and_back_misses_nothing_and_repeats_nothing(
    alice: Person, listen: Listen, publish: Publisher, kind: str, world: World
) -> None:
    seen, *sent = publish.many(kind, 4)
    got = []
    with listen(alice, MAIN, after(seen)) as stream:
        stream.event(sent[-1])
        got += stream.ids_among(sent)
        cursor = stream.ids[-1]
    sent += publish.many(kind, 3)
    polled = world.ask("GET", f"{FRAMES}?after={cursor}", alice.bearer())
    got += [frame.id for frame in parse(polled.body) if frame.id in sent]
    sent += publish.many(kind, 3)
    with listen(alice, MAIN, after(int(polled.header("Beacon-Cursor") or ""))) as stream:
        stream.event(sent[-1])
        got += stream.ids_among(sent)
    assert got == sent


@holds("A cursor at the head is answered with neither a replay nor a `reset`.")
def test_a_cursor_at_the_head_has_missed_nothing(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    head = publish(kind)
    stream = listen(alice, MAIN, after(head))
    later = publish(kind)
    stream.event(later)
    assert stream.ids_among([head, later]) == [later]
    assert stream.named("reset") == []


@holds("A cursor may be the id of an event that the reader may not see.")
def test_a_cursor_may_be_another_s_event(
    alice: Person, charlie: Person, listen: Listen, publish: Publisher, kind: str
) -> None:
    hidden = publish(kind, audience=f"user:{alice.name}")
    later = publish(kind)
    stream = listen(charlie, MAIN, after(hidden))
    stream.event(later)
    assert stream.named("reset") == []
    assert stream.ids_among([hidden, later]) == [later]


@holds(MALFORMED)
def test_a_word_is_no_cursor(alice: Person, listen: Listen, publish: Publisher) -> None:
    assert only_reset(listen(alice, f"{MAIN}?lastEventId=abc"), publish)["reason"] == "malformed"


@holds(MALFORMED)
def test_a_negative_number_is_no_cursor(alice: Person, listen: Listen, publish: Publisher) -> None:
    assert only_reset(listen(alice, MAIN, {"Last-Event-ID": "-1"}), publish)["reason"] == "malformed"


@holds(MALFORMED)
def test_a_fraction_is_no_cursor(alice: Person, listen: Listen, publish: Publisher) -> None:
    assert only_reset(listen(alice, MAIN, {"Last-Event-ID": "1.5"}), publish)["reason"] == "malformed"


@holds(MALFORMED)
def test_a_number_of_a_thousand_digits_gets_one_reset(alice: Person, listen: Listen, publish: Publisher) -> None:
    assert only_reset(listen(alice, MAIN, {"Last-Event-ID": "9" * 1_000}), publish)["reason"] in ("malformed", "future")


@holds(MALFORMED)
def test_digits_of_another_script_are_no_cursor(alice: Person, listen: Listen, publish: Publisher) -> None:
    assert only_reset(listen(alice, f"{MAIN}?lastEventId=%D9%A1%D9%A2"), publish)["reason"] == "malformed"


@holds(MALFORMED)
def test_a_malformed_cursor_gets_one_reset_on_the_events_stream(
    alice: Person, listen: Listen, publish: Publisher
) -> None:
    assert only_reset(listen(alice, EVENTS, {"Last-Event-ID": "abc"}), publish)["reason"] == "malformed"


@holds(MALFORMED)
def test_a_malformed_cursor_gets_one_reset_on_the_sse_path(alice: Person, listen: Listen, publish: Publisher) -> None:
    assert only_reset(listen(alice, SSE, {"Last-Event-ID": "abc"}), publish)["reason"] == "malformed"


@holds(MALFORMED)
def test_a_malformed_cursor_gets_one_reset_on_the_reconciliation_stream(
    alice: Person, listen: Listen, publish: Publisher, beating: float
) -> None:
    assert only_reset(listen(alice, RECONCILIATION, {"Last-Event-ID": "abc"}), publish)["reason"] == "malformed"


@holds(MALFORMED)
def test_a_malformed_cursor_gets_one_reset_on_a_page_s_stream(
    alice: Person, listen: Listen, publish: Publisher
) -> None:
    assert only_reset(listen(alice, f"{MAIN}?as=html&lastEventId=abc"), publish)["reason"] == "malformed"


@holds(FUTURE)
def test_a_cursor_from_the_future_gets_one_reset(
    alice: Person, listen: Listen, publish: Publisher, world: World
) -> None:
    assert only_reset(listen(alice, MAIN, after(world.head() + FAR)), publish)["reason"] == "future"


@holds(FUTURE)
def test_a_cursor_from_the_future_gets_one_reset_on_the_events_stream(
    alice: Person, listen: Listen, publish: Publisher, world: World
) -> None:
    assert only_reset(listen(alice, EVENTS, after(world.head() + FAR)), publish)["reason"] == "future"


@holds(FUTURE)
def test_a_cursor_from_the_future_gets_one_reset_on_the_sse_path(
    alice: Person, listen: Listen, publish: Publisher, world: World
) -> None:
    assert only_reset(listen(alice, SSE, after(world.head() + FAR)), publish)["reason"] == "future"


@holds(FUTURE)
def test_a_cursor_from_the_future_gets_one_reset_on_the_reconciliation_stream(
    alice: Person, listen: Listen, publish: Publisher, world: World, beating: float
) -> None:
    assert only_reset(listen(alice, RECONCILIATION, after(world.head() + FAR)), publish)["reason"] == "future"


@holds("A cursor below the oldest event that is kept gets one `reset` with the reason `pruned`.")
def test_a_cursor_that_was_pruned_gets_one_reset(
    alice: Person, listen: Listen, publish: Publisher, world: World
) -> None:
    if world.admin.call("GET", "/api/events?after=0&limit=1")["meta"]["reset"] != "pruned":
        pytest.skip("nothing has been pruned from this log yet")
    assert only_reset(listen(alice, MAIN, after(0)), publish)["reason"] == "pruned"


@holds("`reset` has the head as its id and as `head` in its data.")
def test_a_reset_gives_the_head_as_the_new_cursor(
    alice: Person, listen: Listen, publish: Publisher, kind: str, world: World
) -> None:
    event_id = publish(kind)
    reset = listen(alice, f"{MAIN}?lastEventId=abc").first_named("reset")
    assert event_id <= reset.json()["head"] <= world.head()
    assert reset.id == reset.json()["head"]


@holds(GOES_ON)
def test_after_a_reset_nothing_older_is_sent_and_everything_newer_is(
    alice: Person, listen: Listen, publish: Publisher, kind: str
) -> None:
    older = publish.many(kind, 3)
    stream = listen(alice, f"{MAIN}?lastEventId=abc")
    newer = publish.many(kind, 3)
    stream.event(newer[-1])
    assert stream.ids_among([*older, *newer]) == newer


@holds(GOES_ON)
def test_the_id_of_a_reset_resumes_without_another(
    alice: Person, listen: Listen, publish: Publisher, kind: str
) -> None:
    with listen(alice, f"{MAIN}?lastEventId=abc") as stream:
        cursor = stream.first_named("reset").id
    missed = publish.many(kind, 3)
    stream = listen(alice, MAIN, {"Last-Event-ID": str(cursor)})
    stream.event(missed[-1])
    assert stream.ids_among(missed) == missed
    assert stream.named("reset") == []


@holds(GOES_ON)
def test_every_path_says_after_as_the_head_when_it_resets(alice: Person, listen: Listen) -> None:
    for path in PATHS:
        told = listen(alice, path, {"Last-Event-ID": "abc"}).hello.json()
        assert told["after"] == told["head"]
