"""The edges of HTTP around a stream: other methods, old clients, bodies, and requests behind the request."""

from tests.contract.checks import problem
from tests.contract.conftest import Listen, Publisher, World
from tests.contract.holding import holds
from tests.contract.people import Person
from tests.contract.streams import EVENTS, MAIN, PATHS, RECONCILIATION, SSE, Stream
from tests.contract.wire import Answer, request_bytes

HEAD = "`HEAD` answers with the head alone and opens nothing."
OLD = "A client that speaks HTTP/1.0 gets the stream too, without chunks."
CHUNKS = "A client that speaks HTTP/1.1 gets the stream in chunks."
BODY = "A `GET` with a body gets the stream."
BEHIND = "Whatever a client sends behind its request, nothing but frames enters the stream."
METHODS = "Any method but `GET`, `HEAD` and `OPTIONS` is `405` on the stream paths, with `Allow`."
NOT_FOUND = "A path that does not exist is `404`."

MORE_THAN_A_CAP = 12


def refuses(answer: Answer) -> bool:
    problem(answer, 405)
    return "GET" in (answer.header("Allow") or "")


def holds_frames_alone(stream: Stream, publish: Publisher, kind: str) -> bool:
    """Two events arrive, each line before them is a frame's: the strict parser has seen them all."""
    first, second = publish(kind), publish(kind)
    stream.event(second)
    assert stream.ids_among([first, second]) == [first, second]
    assert b"HTTP/1." not in stream.body
    return {frame.event for frame in stream.frames if frame.id is None} <= {"hello", "heartbeat"}


@holds(HEAD)
def test_head_has_the_stream_s_headers_and_no_body(alice: Person, world: World) -> None:
    answer = world.ask("HEAD", MAIN, alice.bearer())
    assert answer.status == 200
    assert (answer.header("Content-Type") or "").startswith("text/event-stream")
    assert answer.body == b""


@holds(HEAD)
def test_head_is_answered_on_every_path(alice: Person, world: World) -> None:
    assert {world.ask("HEAD", path, alice.bearer()).status for path in PATHS} == {200}


@holds(HEAD)
def test_many_heads_leave_room_for_streams(world: World, listen: Listen) -> None:
    person = world.someone()
    for _ in range(MORE_THAN_A_CAP):
        assert world.ask("HEAD", MAIN, person.bearer()).status == 200
    assert listen(person).status == 200


@holds(HEAD)
def test_head_asks_the_anonymous_for_a_credential(world: World) -> None:
    assert world.ask("HEAD", MAIN).status == 401


@holds(OLD)
def test_an_old_client_gets_the_stream(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    stream = listen(alice, MAIN, version="1.0")
    assert not stream.head.is_chunked
    assert holds_frames_alone(stream, publish, kind)


@holds(OLD)
def test_an_old_client_gets_the_other_paths(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    for path in (EVENTS, SSE):
        stream = listen(alice, path, version="1.0")
        assert not stream.head.is_chunked
        assert holds_frames_alone(stream, publish, kind)


@holds(CHUNKS)
def test_every_path_comes_in_chunks(alice: Person, listen: Listen) -> None:
    for path in PATHS:
        assert listen(alice, path).head.is_chunked


@holds(CHUNKS)
def test_what_was_missed_comes_in_chunks_as_well(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    first, *missed = publish.many(kind, 300)
    stream = listen(alice, MAIN, {"Last-Event-ID": str(first)})
    assert stream.head.is_chunked
    stream.event(missed[-1])
    assert stream.ids_among(missed) == missed
    assert holds_frames_alone(stream, publish, kind)


@holds(BODY)
def test_a_get_with_a_body_gets_the_stream(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    assert holds_frames_alone(listen(alice, MAIN, body=b"hello"), publish, kind)


@holds(BODY)
def test_a_get_with_a_chunked_body_gets_the_stream(
    alice: Person, listen: Listen, publish: Publisher, kind: str
) -> None:
    chunked = {"Transfer-Encoding": "chunked"}
    stream = listen(alice, MAIN, chunked, body=b"5\r\nhello\r\n0\r\n\r\n")
    assert holds_frames_alone(stream, publish, kind)


@holds(BODY)
def test_a_get_with_a_body_that_looks_like_a_request_gets_the_stream_alone(
    alice: Person, listen: Listen, world: World, publish: Publisher, kind: str
) -> None:
    body = request_bytes(world.target, "GET", "/healthz")
    assert holds_frames_alone(listen(alice, MAIN, body=body), publish, kind)


@holds(BEHIND)
def test_a_request_sent_along_is_not_answered_inside_the_stream(
    alice: Person, listen: Listen, world: World, publish: Publisher, kind: str
) -> None:
    behind = request_bytes(world.target, "GET", "/healthz")
    assert holds_frames_alone(listen(alice, MAIN, behind=behind), publish, kind)


@holds(BEHIND)
def test_a_second_stream_sent_along_is_not_answered_inside_the_stream(
    alice: Person, listen: Listen, world: World, publish: Publisher, kind: str
) -> None:
    behind = request_bytes(world.target, "GET", SSE, alice.bearer())
    stream = listen(alice, MAIN, behind=behind)
    assert holds_frames_alone(stream, publish, kind)
    assert len(stream.named("hello")) == 1


@holds(BEHIND)
def test_a_request_sent_along_is_not_answered_inside_the_other_paths(
    alice: Person, listen: Listen, world: World, publish: Publisher, kind: str
) -> None:
    behind = request_bytes(world.target, "GET", "/healthz")
    for path in (EVENTS, SSE):
        assert holds_frames_alone(listen(alice, path, behind=behind), publish, kind)


@holds(BEHIND)
def test_a_broken_request_sent_along_is_not_answered_inside_the_stream(
    alice: Person, listen: Listen, publish: Publisher, kind: str
) -> None:
    assert holds_frames_alone(listen(alice, MAIN, behind=b"\x16\x03\x01 nonsense\r\n\r\n"), publish, kind)


@holds(BEHIND)
def test_a_request_sent_later_is_not_answered_inside_the_stream(
    alice: Person, listen: Listen, world: World, publish: Publisher, kind: str
) -> None:
    """The server may take it for the end of the client, and close; but it may not answer it there."""
    stream = listen(alice)
    stream.event(publish(kind))
    stream.send(request_bytes(world.target, "GET", "/healthz"))
    later = publish(kind)
    stream.wait(lambda: stream.with_id(later) or stream.ended, "the next event or the end")
    assert b"HTTP/1." not in stream.body
    assert b"status" not in stream.body


@holds(METHODS)
def test_the_stream_is_not_posted_to(alice: Person, world: World) -> None:
    assert refuses(world.ask("POST", MAIN, alice.bearer()))


@holds(METHODS)
def test_the_reconciliation_stream_is_not_posted_to(alice: Person, world: World) -> None:
    assert refuses(world.ask("POST", RECONCILIATION, alice.bearer()))


@holds(METHODS)
def test_the_events_stream_is_not_posted_to(alice: Person, world: World) -> None:
    assert refuses(world.ask("POST", EVENTS, alice.bearer()))


@holds(METHODS)
def test_the_sse_path_is_not_posted_to(alice: Person, world: World) -> None:
    assert refuses(world.ask("POST", SSE, alice.bearer()))


@holds(METHODS)
def test_no_other_method_opens_a_stream(alice: Person, world: World) -> None:
    for method in ("PUT", "PATCH", "DELETE"):
        for path in PATHS:
            assert refuses(world.ask(method, path, alice.bearer()))


@holds(NOT_FOUND)
def test_below_a_stream_there_is_nothing(alice: Person, world: World) -> None:
    for path in (f"{MAIN}/more", "/api/sse/none", "/api/streams", "/api/events/1"):
        problem(world.ask("GET", path, alice.bearer()), 404)
