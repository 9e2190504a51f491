"""The polling twins of the stream: `GET /api/events/frames` for pages, `GET /api/events` for programs."""

from typing import Any

import pytest

from tests.contract.checks import is_utc, names, problem
from tests.contract.conftest import Listen, Publisher, World
from tests.contract.frames import Frame, parse
from tests.contract.holding import holds
from tests.contract.people import FRAMES, Person, bearer
from tests.contract.streams import EVENTS, MAIN
from tests.contract.wire import Answer

FINITE = "Polled frames are a finite answer with the type `text/event-stream` that begins with `hello`."
SINCE = "Polled frames after a cursor are every event since, once and in order."
NO_CURSOR = "Polled frames without a cursor are `hello` alone."
CURSOR = "`Beacon-Cursor` is the cursor with which to ask again."
MOST = "At most 500 events come in one answer of frames; whoever asks again at once gets the rest."
SAME_BYTES = "Polled frames are the same bytes as those of the `as=html` stream."
RESET = "Polled frames of an unusable cursor hold one `reset`, as a stream does."
NOBODY = "Without a credential frames are `401`."
READ = "The scope `read` covers the frames as it does every other `GET` of the API but the four streams."
SHAPE = "`GET /api/events` answers `{data, meta}`, each item with `id`, `type`, `timestamp` and `data`."
TWIN = "`GET /api/events` lists what the stream would have sent after the same cursor."
NEXT = "`next` is the cursor of the next page, and null on the last one."
LIMIT = "`limit` is a whole number from 1 to 1,000, and 100 when left out."
MALFORMED = "A malformed `after` or `limit` is `400`, and `errors` names it."
LIST_RESET = "`reset` in `meta` is null for a good cursor, and the reason for an unusable one."
LIST_SCOPE = "`GET /api/events` needs the scope `read`: `403` without it, `401` without a credential."
FAR = 1_000_000


def poll(world: World, person: Person, after: object = None) -> Answer:
    answer = world.ask("GET", FRAMES if after is None else f"{FRAMES}?after={after}", person.bearer())
    assert answer.status == 200, answer.text
    return answer


def cursor_of(answer: Answer) -> int:
    return int(answer.header("Beacon-Cursor") or "")


def events_of(answer: Answer) -> list[Frame]:
    return [frame for frame in parse(answer.body) if frame.id is not None and frame.event != "reset"]


def listed(world: World, person: Person, **query: object) -> dict[str, Any]:
    answer = world.ask("GET", "/api/events?" + "&".join(f"{k}={v}" for k, v in query.items()), person.bearer())
    assert answer.status == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


@holds(FINITE)
def test_frames_end_and_begin_with_hello(alice: Person, world: World) -> None:
    answer = poll(world, alice)
    assert (answer.header("Content-Type") or "").startswith("text/event-stream")
    hello = parse(answer.body)[0]
    assert (hello.event, hello.id) == ("hello", None)
    assert set(hello.json()) == {"heartbeatS", "head", "after", "session", "build", "stream", "generation"}


@holds(FINITE)
def test_nobody_keeps_polled_frames(alice: Person, world: World) -> None:
    assert "no-store" in (poll(world, alice).header("Cache-Control") or "")


@holds(SINCE)
def test_frames_are_every_event_since(alice: Person, world: World, publish: Publisher, kind: str) -> None:
    seen, *missed = publish.many(kind, 6)
    ids = [frame.id for frame in events_of(poll(world, alice, seen))]
    assert ids == sorted(set(ids))
    assert [event_id for event_id in ids if event_id in [seen, *missed]] == missed


@holds(NO_CURSOR)
def test_frames_without_a_cursor_are_hello_alone(alice: Person, world: World, publish: Publisher, kind: str) -> None:
    event_id = publish(kind)
    answer = poll(world, alice)
    assert [frame.event for frame in parse(answer.body)] == ["hello"]
    assert cursor_of(answer) >= event_id


@holds(CURSOR)
def test_asking_again_with_the_cursor_gives_only_what_is_newer(
    alice: Person, world: World, publish: Publisher, kind: str
) -> None:
    older = publish.many(kind, 3)
    answer = poll(world, alice, older[0])
    assert cursor_of(answer) >= older[-1]
    newer = publish.many(kind, 2)
    ids = [frame.id for frame in events_of(poll(world, alice, cursor_of(answer)))]
    assert [event_id for event_id in ids if event_id in [*older, *newer]] == newer


@holds(CURSOR)
def test_the_cursor_moves_past_events_of_others(
    alice: Person, charlie: Person, world: World, publish: Publisher, kind: str
) -> None:
    seen = publish(kind)
    hidden = publish(kind, audience=f"user:{alice.name}")
    assert cursor_of(poll(world, charlie, seen)) >= hidden


@holds(MOST)
def test_many_frames_come_in_several_answers(alice: Person, world: World, publish: Publisher, kind: str) -> None:
    seen, *missed = [publish(kind), *publish.many(kind, 1_000), *publish.many(kind, 120)]
    got: list[int | None] = []
    cursor, answers = seen, 0
    while missed[-1] not in got:
        answer = poll(world, alice, cursor)
        frames = events_of(answer)
        assert 0 < len(frames) <= 500
        got += [frame.id for frame in frames]
        cursor, answers = cursor_of(answer), answers + 1
    assert answers >= 3
    assert [event_id for event_id in got if event_id in set(missed)] == missed


@holds(SAME_BYTES)
def test_frames_are_the_bytes_of_the_page_s_stream(
    alice: Person, listen: Listen, world: World, publish: Publisher, kind: str
) -> None:
    stream = listen(alice, f"{MAIN}?as=html")
    texts = ["plain", "two\nlines", "<b>&amp;</b>", "é"]
    ids = [publish(kind, {"text": text}) for text in texts]
    ids += publish.all(
        *({"type": f"job.{name}", "data": {"service": "s", "jobId": "j"}} for name in ("queued", "failed"))
    )
    stream.event(ids[-1])
    polled = {frame.id: frame.raw for frame in events_of(poll(world, alice, ids[0] - 1))}
    assert [polled[event_id] for event_id in ids] == [stream.event(event_id).raw for event_id in ids]


@holds(SAME_BYTES)
def test_a_replay_has_the_bytes_of_the_frames_too(
    alice: Person, listen: Listen, world: World, publish: Publisher, kind: str
) -> None:
    ids = publish.many(kind, 5)
    stream = listen(alice, f"{MAIN}?as=html&lastEventId={ids[0] - 1}")
    stream.event(ids[-1])
    polled = {frame.id: frame.raw for frame in events_of(poll(world, alice, ids[0] - 1))}
    assert [polled[event_id] for event_id in ids] == [stream.event(event_id).raw for event_id in ids]


@holds(RESET)
def test_frames_of_a_malformed_cursor_hold_one_reset(alice: Person, world: World) -> None:
    answer = poll(world, alice, "abc")
    hello, reset, *rest = parse(answer.body)
    assert (hello.event, reset.event, rest) == ("hello", "reset", [])
    assert reset.json() == {"reason": "malformed", "head": reset.id}
    assert cursor_of(answer) >= (reset.id or 0)


@holds(RESET)
def test_frames_of_a_cursor_from_the_future_hold_one_reset(alice: Person, world: World) -> None:
    _, reset, *rest = parse(poll(world, alice, world.head() + FAR).body)
    assert (reset.event, reset.json()["reason"], rest) == ("reset", "future", [])


@holds(NOBODY)
def test_the_anonymous_get_no_frames(world: World) -> None:
    problem(world.ask("GET", FRAMES), 401)


@holds(READ)
def test_a_token_that_may_read_gets_frames(alice: Person, world: World) -> None:
    answer = world.ask("GET", FRAMES, alice.bearer("read"))
    assert answer.status == 200, answer.text


@holds(READ)
def test_a_page_gets_frames_with_its_cookie(alice: Person) -> None:
    answer = alice.browser.ask("GET", FRAMES)
    assert answer.status == 200
    assert parse(answer.body)[0].event == "hello"


@holds(READ)
def test_a_token_that_may_only_publish_gets_no_frames(alice: Person, world: World) -> None:
    problem(world.ask("GET", FRAMES, alice.bearer("publish")), 403)


@holds(SHAPE)
def test_events_are_listed_with_four_members(alice: Person, world: World, publish: Publisher, kind: str) -> None:
    event_id = publish(kind, {"n": 1})
    page = listed(world, alice, after=event_id - 1)
    assert set(page) == {"data", "meta"}
    assert set(page["meta"]) == {"head", "next", "reset", "generation"}
    item = next(item for item in page["data"] if item["id"] == event_id)
    assert set(item) == {"id", "type", "timestamp", "data"}
    assert (item["type"], item["data"]) == (kind, {"n": 1})
    assert is_utc(item["timestamp"])


@holds(SHAPE)
def test_a_list_of_nothing_is_empty(alice: Person, world: World) -> None:
    page = listed(world, alice, after=world.head() + FAR)
    assert page["data"] == []


@holds(TWIN)
def test_a_listed_event_is_what_the_stream_sent(
    alice: Person, listen: Listen, world: World, publish: Publisher, kind: str
) -> None:
    stream = listen(alice, EVENTS)
    event_id = publish(kind, {"text": "é\n<"})
    sent = stream.event(event_id).json()
    assert sent in listed(world, alice, after=event_id - 1)["data"]


@holds(TWIN)
def test_the_list_and_the_stream_have_the_same_ids(
    alice: Person, listen: Listen, world: World, publish: Publisher, kind: str
) -> None:
    first, *_, last = publish.many(kind, 10)
    stream = listen(alice, MAIN, {"Last-Event-ID": str(first - 1)})
    stream.event(last)
    in_list = [item["id"] for item in listed(world, alice, after=first - 1)["data"]]
    assert [i for i in stream.ids if i <= last] == [i for i in in_list if i <= last]


@holds(NEXT)
def test_page_by_page_every_event_comes_once(alice: Person, world: World, publish: Publisher, kind: str) -> None:
    ids = publish.many(kind, 7)
    got, cursor, pages = [], ids[0] - 1, 0
    while cursor is not None:
        page = listed(world, alice, after=cursor, limit=2)
        assert len(page["data"]) <= 2
        got += [item["id"] for item in page["data"]]
        cursor, pages = page["meta"]["next"], pages + 1
    assert pages >= 4
    assert [event_id for event_id in got if event_id in ids] == ids


@holds(NEXT)
def test_the_last_page_has_no_next(alice: Person, world: World) -> None:
    assert listed(world, alice, after=world.head())["meta"]["next"] is None


@holds(NEXT)
def test_a_page_of_others_events_does_not_end_the_list(
    alice: Person, charlie: Person, world: World, publish: Publisher, kind: str
) -> None:
    before = publish(kind)
    publish.all(*({"type": kind, "data": {}, "audience": f"user:{alice.name}"} for _ in range(5)))
    last = publish(kind)
    got, cursor = [], before
    while cursor is not None:
        page = listed(world, charlie, after=cursor, limit=1)
        got += [item["id"] for item in page["data"] if item["type"] == kind]
        cursor = page["meta"]["next"]
    assert got == [last]


@holds("`head` in `meta` is the newest id of the log.")
def test_the_list_says_the_head(alice: Person, world: World, publish: Publisher, kind: str) -> None:
    event_id = publish(kind)
    assert listed(world, alice, limit=1)["meta"]["head"] >= event_id


@holds("`head` in `meta` is the newest id of the log.")
def test_the_head_counts_events_of_others(
    alice: Person, charlie: Person, world: World, publish: Publisher, kind: str
) -> None:
    hidden = publish(kind, audience=f"user:{alice.name}")
    assert listed(world, charlie, limit=1)["meta"]["head"] >= hidden


@holds(LIMIT)
def test_a_page_holds_100_unless_asked_otherwise(alice: Person, world: World, publish: Publisher, kind: str) -> None:
    before = publish.many(kind, 101)[0]
    assert len(listed(world, alice, after=before - 1)["data"]) == 100


@holds(LIMIT)
def test_a_page_holds_as_few_and_as_many_as_asked(alice: Person, world: World, publish: Publisher, kind: str) -> None:
    before = publish.many(kind, 1_000)[0] - 1
    assert len(listed(world, alice, after=before, limit=1)["data"]) == 1
    assert len(listed(world, alice, after=before, limit=1_000)["data"]) == 1_000


@holds(LIMIT)
def test_nothing_and_too_much_are_no_limit(alice: Person, world: World) -> None:
    for limit in ("0", "1001", "-1"):
        names(world.ask("GET", f"/api/events?limit={limit}", alice.bearer()), "limit")


@holds(MALFORMED)
def test_a_word_is_no_cursor_of_a_list(alice: Person, world: World) -> None:
    names(world.ask("GET", "/api/events?after=abc", alice.bearer()), "after")


@holds(MALFORMED)
def test_negative_and_broken_numbers_are_no_cursor_of_a_list(alice: Person, world: World) -> None:
    for text in ("-1", "1.5", "1e3", "%2B1", "0x10", "%D9%A1"):
        names(world.ask("GET", f"/api/events?after={text}", alice.bearer()), "after")


@holds(MALFORMED)
def test_a_word_is_no_limit(alice: Person, world: World) -> None:
    for text in ("all", "1.5", "", "%D9%A1"):
        names(world.ask("GET", f"/api/events?limit={text}", alice.bearer()), "limit")


@holds(LIST_RESET)
def test_a_good_cursor_needs_no_reset(alice: Person, world: World) -> None:
    assert listed(world, alice, after=world.head())["meta"]["reset"] is None


@holds(LIST_RESET)
def test_a_cursor_from_the_future_says_so(alice: Person, world: World) -> None:
    assert listed(world, alice, after=world.head() + FAR)["meta"]["reset"] == "future"


@holds(LIST_RESET)
def test_a_cursor_that_was_pruned_says_so(alice: Person, world: World) -> None:
    reset = listed(world, alice, after=0, limit=1)["meta"]["reset"]
    if reset is None:
        pytest.skip("nothing has been pruned from this log yet")
    assert reset == "pruned"


@holds(LIST_SCOPE)
def test_the_anonymous_list_nothing(world: World) -> None:
    problem(world.ask("GET", "/api/events"), 401)


@holds(LIST_SCOPE)
def test_a_token_that_may_only_stream_lists_nothing(alice: Person, world: World) -> None:
    assert problem(world.ask("GET", "/api/events", alice.bearer("stream")), 403)["reason"] == "scope"


@holds(LIST_SCOPE)
def test_a_made_up_token_lists_nothing(world: World) -> None:
    problem(world.ask("GET", "/api/events", bearer("bcn_made-up")), 401)
