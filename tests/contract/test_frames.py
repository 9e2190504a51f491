"""What comes over an open stream: its first line, `hello`, events, heartbeats."""

import re
import time

from tests.contract.checks import is_utc
from tests.contract.conftest import Knock, Listen, Publisher, World
from tests.contract.frames import Frame
from tests.contract.holding import holds
from tests.contract.people import Person, bearer
from tests.contract.streams import EVENTS, MAIN, PATHS, RECONCILIATION, SSE, Stream

RETRY = "The first line of every stream is `retry:` with a number of milliseconds."
FIRST = "The first frame is `hello` and has no id."
SESSION = "`session` in `hello` is an opaque name of the login session, the same that came with the page token."
AFTER = "`after` in `hello` is the cursor from which the stream goes on."
SOON = "An event reaches every open stream of its audience within a second of the publisher's answer."
HEARTBEAT = "`heartbeat` comes at least every `heartbeatS` seconds, named and without an id, on every path."
IDS = "Ids are the log's own and strictly increasing."
TEXT = "Text of any language arrives as it was published."
AN_EVENT = (
    "An event on `/api/stream/events` is `id:`, `event:` its type, and `data:` with `type`, `timestamp` and `data`."
)
LINES = "A frame has only the fields `retry`, `id`, `event` and `data`, in UTF-8 without a byte order mark."

MANY_LANGUAGES = "Zażółć gęślą jaźń · 数据 · данные · بيانات · 🛰️ · é · \u200f \u00ad end"


def begins_with_retry(stream: Stream) -> bool:
    found = re.match(rb"retry: (\d+)\n", stream.body)
    return found is not None and int(found[1]) > 0


def beats(stream: Stream, every_s: float) -> Frame:
    """The next heartbeat, which must come in time; half a second is for the way."""
    frame = stream.next_named("heartbeat", every_s + 0.5)
    assert frame.names == ["event", "data"]
    return frame


def comes_soon(publish: Publisher, kind: str, *streams: Stream) -> bool:
    event_id = publish(kind)
    answered = time.monotonic()
    for stream in streams:
        stream.event(event_id, within_s=answered + 1 - time.monotonic())
    return True


@holds(RETRY)
def test_the_stream_begins_with_retry(alice: Person, listen: Listen) -> None:
    assert begins_with_retry(listen(alice))


@holds(RETRY)
def test_the_reconciliation_stream_begins_with_retry(alice: Person, listen: Listen) -> None:
    assert begins_with_retry(listen(alice, RECONCILIATION))


@holds(RETRY)
def test_the_events_stream_begins_with_retry(alice: Person, listen: Listen) -> None:
    assert begins_with_retry(listen(alice, EVENTS))


@holds(RETRY)
def test_the_sse_path_begins_with_retry(alice: Person, listen: Listen) -> None:
    assert begins_with_retry(listen(alice, SSE))


@holds("The number of `retry` differs from stream to stream, so that clients do not come back all at once.")
def test_clients_are_told_different_times_to_come_back(alice: Person, charlie: Person, listen: Listen) -> None:
    told = {listen(person).hello.retry for person in (alice, charlie) * 3}
    assert len(told) > 1


@holds(FIRST)
def test_hello_comes_first_and_has_no_id(alice: Person, listen: Listen) -> None:
    hello = listen(alice).frames[0]
    assert (hello.event, hello.id) == ("hello", None)


@holds(FIRST)
def test_hello_is_named_on_every_path(alice: Person, listen: Listen) -> None:
    for path in PATHS:
        hello = listen(alice, path).frames[0]
        assert (hello.event, hello.id) == ("hello", None), path


@holds(FIRST)
def test_hello_comes_before_what_is_replayed(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    first, *_ = ids = publish.many(kind, 3)
    stream = listen(alice, f"{MAIN}?lastEventId={first - 1}")
    stream.event(ids[-1])
    assert [frame.event for frame in stream.frames].index("hello") == 0
    assert len(stream.named("hello")) == 1


@holds("`hello` says `heartbeatS`, `head`, `after`, `session`, `build`, `stream` and `generation`.")
def test_hello_has_seven_members(alice: Person, listen: Listen) -> None:
    told = listen(alice).hello.json()
    assert set(told) == {"heartbeatS", "head", "after", "generation", "session", "build", "stream"}
    assert told["heartbeatS"] > 0
    assert isinstance(told["build"], str)


@holds("`head` in `hello` is the newest id of the log when the stream was opened.")
def test_hello_knows_the_newest_event(
    alice: Person, listen: Listen, publish: Publisher, kind: str, world: World
) -> None:
    event_id = publish(kind)
    head = listen(alice).hello.json()["head"]
    assert event_id <= head <= world.head()


@holds(AFTER)
def test_after_is_the_head_without_a_cursor(alice: Person, listen: Listen) -> None:
    told = listen(alice).hello.json()
    assert told["after"] == told["head"]


@holds(AFTER)
def test_after_is_the_cursor_that_was_sent(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    cursor = publish(kind)
    publish(kind)
    assert listen(alice, headers={"Last-Event-ID": str(cursor)}).hello.json()["after"] == cursor


@holds(SESSION)
def test_hello_names_the_session_as_the_page_token_did(alice: Person, knock: Knock) -> None:
    told = alice.browser.page_token()
    assert knock(MAIN, bearer(told["token"])).hello.json()["session"] == told["session"]


@holds(SESSION)
def test_two_sessions_of_one_person_have_different_names(alice: Person, knock: Knock) -> None:
    browsers = (alice.browser, alice.log_in())
    names = {knock(MAIN, browser.cookie).hello.json()["session"] for browser in browsers}
    assert len(names) == 2


@holds(SESSION)
def test_the_name_of_the_session_is_not_what_the_cookie_holds(alice: Person, knock: Knock) -> None:
    cookie = alice.browser.cookie
    assert knock(MAIN, cookie).hello.json()["session"] not in cookie["Cookie"]


@holds("`stream` in `hello` is `on` for whom the flag lets stream.")
def test_hello_says_that_streaming_is_on(alice: Person, listen: Listen) -> None:
    assert listen(alice).hello.json()["stream"] == "on"


@holds("`build` in `hello` names what the server runs: it is the same on all its streams.")
def test_every_path_names_the_same_build(alice: Person, listen: Listen) -> None:
    builds = {listen(alice, path).hello.json()["build"] for path in PATHS}
    assert len(builds) == 1
    assert builds != {""}


@holds(AN_EVENT)
def test_an_event_is_named_by_its_type(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    stream = listen(alice)
    event_id = publish(kind, {"n": 1})
    frame = stream.event(event_id)
    assert frame.names == ["id", "event", "data"]
    assert (frame.id, frame.event) == (event_id, kind)


@holds(AN_EVENT)
def test_an_event_has_type_timestamp_and_data(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    stream = listen(alice)
    told = stream.event(publish(kind, {"deep": [{"er": None}, 1.5, True]})).json()
    assert set(told) == {"type", "timestamp", "data"}
    assert told["type"] == kind
    assert told["data"] == {"deep": [{"er": None}, 1.5, True]}


@holds("An event's `timestamp` is ISO 8601 in UTC.")
def test_the_timestamp_is_utc(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    stream = listen(alice)
    assert is_utc(stream.event(publish(kind)).json()["timestamp"])


@holds(IDS)
def test_events_have_the_ids_that_the_publisher_was_told(
    alice: Person, listen: Listen, publish: Publisher, kind: str
) -> None:
    stream = listen(alice)
    ids = [publish(kind, {"n": n}) for n in range(5)]
    stream.event(ids[-1])
    assert stream.ids_among(ids) == ids


@holds(IDS)
def test_ids_only_ever_rise(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    stream = listen(alice)
    stream.event(publish.many(kind, 200)[-1])
    assert stream.ids == sorted(set(stream.ids))


@holds(SOON)
def test_an_event_is_on_the_stream_within_a_second(
    alice: Person, listen: Listen, publish: Publisher, kind: str
) -> None:
    assert comes_soon(publish, kind, listen(alice))


@holds(SOON)
def test_an_event_is_on_the_events_stream_within_a_second(
    alice: Person, listen: Listen, publish: Publisher, kind: str
) -> None:
    assert comes_soon(publish, kind, listen(alice, EVENTS))


@holds(SOON)
def test_an_event_is_on_the_sse_path_within_a_second(
    alice: Person, listen: Listen, publish: Publisher, kind: str
) -> None:
    assert comes_soon(publish, kind, listen(alice, SSE))


@holds(SOON)
def test_an_event_is_on_a_page_within_a_second(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    assert comes_soon(publish, kind, listen(alice, f"{MAIN}?as=html"))


@holds(SOON)
def test_an_event_reaches_several_people_within_a_second(
    alice: Person, charlie: Person, bob: Person, listen: Listen, publish: Publisher, kind: str
) -> None:
    assert comes_soon(publish, kind, listen(alice), listen(charlie), listen(bob))


@holds(TEXT)
def test_text_of_many_languages_arrives_as_it_was(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    stream = listen(alice)
    assert stream.event(publish(kind, {"text": MANY_LANGUAGES})).json()["data"]["text"] == MANY_LANGUAGES


@holds(TEXT)
def test_numbers_and_the_order_of_lists_arrive_as_they_were(
    alice: Person, listen: Listen, publish: Publisher, kind: str
) -> None:
    stream = listen(alice)
    data = {"large": 2**53, "small": -1, "half": 0.5, "list": [3, 1, 2], "empty": {}, "none": None}
    assert stream.event(publish(kind, data)).json()["data"] == data


@holds(HEARTBEAT)
def test_the_stream_beats(alice: Person, listen: Listen, beating: float) -> None:
    stream = listen(alice)
    beats(stream, beating)
    beats(stream, beating)


@holds(HEARTBEAT)
def test_the_reconciliation_stream_beats(alice: Person, listen: Listen, beating: float) -> None:
    beats(listen(alice, RECONCILIATION), beating)


@holds(HEARTBEAT)
def test_the_events_stream_beats(alice: Person, listen: Listen, beating: float) -> None:
    beats(listen(alice, EVENTS), beating)


@holds(HEARTBEAT)
def test_the_sse_path_beats(alice: Person, listen: Listen, beating: float) -> None:
    beats(listen(alice, SSE), beating)


@holds(HEARTBEAT)
def test_the_stream_of_a_page_beats(alice: Person, listen: Listen, beating: float) -> None:
    beats(listen(alice, f"{MAIN}?as=html"), beating)


@holds("`heartbeat` says `head`, `timestamp` and `degraded`.")
def test_a_heartbeat_has_three_members(alice: Person, listen: Listen, beating: float) -> None:
    told = beats(listen(alice), beating).json()
    assert set(told) == {"head", "timestamp", "degraded"}
    assert is_utc(told["timestamp"])
    assert told["degraded"] is False


@holds("`head` in `heartbeat` has reached the id of an event that was sent before it.")
def test_a_heartbeat_knows_the_events_before_it(
    alice: Person, listen: Listen, publish: Publisher, kind: str, beating: float
) -> None:
    stream = listen(alice)
    event_id = publish(kind)
    stream.event(event_id)
    assert beats(stream, beating).json()["head"] >= event_id


@holds(LINES)
def test_every_line_is_one_of_four_fields(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    stream = listen(alice)
    stream.event(publish(kind, {"text": MANY_LANGUAGES}))
    lines = stream.body.decode().split("\n")
    assert all(re.match(r"(retry|id|event|data): ", line) for line in lines if line)
    assert b"\r" not in stream.body


@holds(LINES)
def test_every_line_of_a_page_s_stream_is_one_of_four_fields(
    alice: Person, listen: Listen, publish: Publisher, kind: str
) -> None:
    stream = listen(alice, f"{MAIN}?as=html")
    stream.event(publish(kind, {"text": MANY_LANGUAGES}))
    assert all(re.match(r"(retry|id|event|data): ?", line) for line in stream.body.decode().split("\n") if line)
    assert not stream.body.startswith(b"\xef\xbb\xbf")
