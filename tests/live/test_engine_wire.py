"""The very bytes of a stream: whatever a client or a proxy does with its connection, only frames follow the head."""

import re
from collections.abc import Iterator

import pytest

from app.stream.socket_transport import ACK_TIMEOUT_MS, SEND_BUFFER_BYTES
from tests.live import probe
from tests.live.fleet import EVENTS, fleet_of
from tests.live.raw import Credential, Raw, dechunked, frames_only, publish_and_see
from tests.support.beacon_server import Beacon


@pytest.fixture(scope="module")
def beacon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beacon]:
    running = Beacon(
        tmp_path_factory.mktemp("wire"), config=probe.CONFIG, background=0, HEARTBEAT_S=0.3, MAX_STREAMS_PER_USER=1_000
    )
    running.start()
    yield running
    running.end()
    assert_no_error_but_the_wanted(running.log_text())


def assert_no_error_but_the_wanted(log: str) -> None:
    raised = [line for line in log.splitlines() if re.match(r"^(\w+\.)*\w*(Error|Exception)\b", line)]
    assert [line for line in raised if "a teardown that raises" not in line] == []


def open_stream(beacon: Beacon, raw: Raw, sent: bytes) -> None:
    raw.send(sent)
    raw.until(b"event: hello\n")
    assert raw.head.startswith(b"HTTP/1.1 200 OK\r\n")


def check_stream_to_its_end(beacon: Beacon, raw: Raw, credential: Credential) -> None:
    """An event, a heartbeat, the goodbye, the last chunk; then the connection is over, and every byte was theirs."""
    event_id = publish_and_see(beacon, raw)
    raw.until(b"event: heartbeat\n")
    credential.revoke()
    raw.to_the_end()
    frames = frames_only(raw.stream())
    assert frames[0].event == "hello"
    assert [frame.id for frame in frames if frame.id] == [str(event_id)]
    assert (frames[-1].event, frames[-1].json()["reason"]) == ("bye", "revoked")
    assert {frame.event for frame in frames} <= {"hello", "wire.check", "heartbeat", "bye"}


def check_head(raw: Raw, *, chunked: bool = True) -> None:
    """Its end is the connection's, and it says so; nothing in it is a browser's."""
    lines = raw.head.lower().split(b"\r\n")[1:]
    headers = dict(line.split(b": ", 1) for line in lines)
    assert len(headers) == len(lines), "a header twice"
    assert headers[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert headers[b"connection"] == b"close"
    assert headers[b"cache-control"] == b"no-cache, no-store, no-transform"
    assert headers.get(b"transfer-encoding") == (b"chunked" if chunked else None)
    assert not {b"content-length", b"set-cookie", b"keep-alive"} & headers.keys()


def nobody_streams(beacon: Beacon) -> None:
    (pid,) = beacon.worker_pids()
    probe.settled(pid, lambda report: report.streams == {0}, "no open stream")


def test_a_request_in_the_same_segment_is_never_answered_inside_the_stream(beacon: Beacon) -> None:
    credential = Credential.of(beacon)
    with Raw(beacon) as raw:
        open_stream(beacon, raw, credential.request(EVENTS) + credential.request("/healthz") * 3)
        check_head(raw)
        check_stream_to_its_end(beacon, raw, credential)
    nobody_streams(beacon)


def test_a_request_that_comes_later_is_never_answered_inside_the_stream(beacon: Beacon) -> None:
    credential = Credential.of(beacon)
    with Raw(beacon) as raw:
        open_stream(beacon, raw, credential.request(EVENTS))
        publish_and_see(beacon, raw)
        raw.received = raw.head + b"\r\n\r\n"
        raw.send(credential.request("/healthz"))
        raw.until(b"event: heartbeat\n")
        raw.until(b"\n\n")
        raw.send(credential.request(EVENTS) * 100)
        event_id = publish_and_see(beacon, raw)
        credential.revoke()
        raw.to_the_end()
    frames = frames_only(raw.stream())
    assert [frame.id for frame in frames if frame.id] == [str(event_id)]
    assert frames[-1].event == "bye"
    nobody_streams(beacon)


def test_a_stream_behind_a_page_on_a_kept_connection_is_clean_and_is_the_last(beacon: Beacon) -> None:
    """As a proxy does that keeps its upstream connections: a page, the stream, and then a page for someone else."""
    credential = Credential.of(beacon)
    with Raw(beacon) as raw:
        for _ in range(5):
            raw.received = b""
            raw.send(credential.request("/healthz"))
            raw.until(b'{"status":"ok"}\n')
        raw.received = b""
        open_stream(beacon, raw, credential.request(EVENTS))
        check_head(raw)
        raw.send(credential.request("/api/events?limit=1"))
        check_stream_to_its_end(beacon, raw, credential)


def test_head_gets_the_head_and_opens_nothing(beacon: Beacon) -> None:
    credential = Credential.of(beacon)
    (pid,) = beacon.worker_pids()
    with Raw(beacon) as raw:
        raw.send(credential.request(EVENTS, method="HEAD"))
        raw.until(b"\r\n\r\n")
        assert raw.head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"text/event-stream" in raw.head
        beacon.publish([{"type": "wire.check", "data": {}}])
        raw.for_a_while(0.7)
        assert raw.body == b""
        assert probe.ask(pid).streams == {0}
    opened = [line for line in beacon.log_text().splitlines() if "[SSE] open" in line]
    nobody_streams(beacon)
    assert len(opened) == len([line for line in beacon.log_text().splitlines() if "[SSE] open" in line])


def test_a_head_request_leaves_the_connection_to_the_next_request(beacon: Beacon) -> None:
    credential = Credential.of(beacon)
    with Raw(beacon) as raw:
        raw.send(credential.request(EVENTS, method="HEAD") + credential.request("/healthz"))
        raw.for_a_while(0.5)
        # Either it goes on, and the answer is the page's, or it is over: nothing else.
        assert raw.body == b"" or raw.body.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"event:" not in raw.body


@pytest.mark.parametrize("lines", [(), ("Connection: keep-alive",)])
def test_http_1_0_gets_the_same_frames_and_the_end_of_the_connection(beacon: Beacon, lines: tuple[str, ...]) -> None:
    credential = Credential.of(beacon)
    with Raw(beacon) as raw:
        open_stream(beacon, raw, credential.request(EVENTS, *lines, version="1.0"))
        check_head(raw, chunked=False)
        check_stream_to_its_end(beacon, raw, credential)


BODY = b"event: forged\ndata: {}\n\n"


@pytest.mark.parametrize(
    ("line", "body"),
    [
        (f"Content-Length: {len(BODY)}", BODY),
        ("Transfer-Encoding: chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)),
    ],
)
def test_a_get_with_a_body_gets_whole_chunks_and_no_byte_of_its_body_back(
    beacon: Beacon, line: str, body: bytes
) -> None:
    """gunicorn keeps that connection, so its chunks say where the stream ends."""
    credential = Credential.of(beacon)
    with Raw(beacon) as raw:
        open_stream(beacon, raw, credential.request(EVENTS, line) + body)
        assert b"transfer-encoding: chunked" in raw.head.lower()
        event_id = publish_and_see(beacon, raw)
        raw.until(b"event: heartbeat\n")
        credential.revoke()
        raw.until(b"\r\n0\r\n\r\n")
        stream, rest = dechunked(raw.body)
    frames = frames_only(stream)
    assert rest == b""
    assert [frame.id for frame in frames if frame.id] == [str(event_id)]
    assert frames[-1].event == "bye"
    nobody_streams(beacon)


def test_a_body_that_never_comes_enters_no_stream(beacon: Beacon) -> None:
    """A Content-Length that promises more than is sent: what is sent later is body, not a request and not a frame."""
    credential = Credential.of(beacon)
    with Raw(beacon) as raw:
        open_stream(beacon, raw, credential.request(EVENTS, "Content-Length: 1000") + BODY)
        raw.send(credential.request("/healthz"))
        publish_and_see(beacon, raw)
        credential.revoke()
        raw.until(b"event: bye\n")
        raw.for_a_while(0.3)
        assert raw.received.count(b"HTTP/1.") == 1 + raw.received.count(b'HTTP/1.1 200 OK"}')
        assert b"forged" not in raw.received


def test_content_length_zero_is_no_body(beacon: Beacon) -> None:
    credential = Credential.of(beacon)
    with Raw(beacon) as raw:
        open_stream(beacon, raw, credential.request(EVENTS, "Content-Length: 0"))
        check_head(raw)
        check_stream_to_its_end(beacon, raw, credential)


@pytest.mark.parametrize("where", ["teardown", "teardown-later"])
def test_a_teardown_that_raises_gives_an_error_or_a_clean_stream_and_nothing_between(
    beacon: Beacon, where: str
) -> None:
    credential = Credential.of(beacon)
    with Raw(beacon) as raw:
        raw.send(credential.request(EVENTS, f"X-Raise: {where}", "Connection: close"))
        raw.until(b"\r\n\r\n")
        if raw.head.startswith(b"HTTP/1.1 200 "):
            check_stream_to_its_end(beacon, raw, credential)
        else:
            assert raw.head.startswith(b"HTTP/1.1 500 ")
            beacon.publish([{"type": "wire.check", "data": {}}])
            raw.to_the_end()
            assert b"event:" not in raw.received
    nobody_streams(beacon)


def test_what_a_browser_sent_by_cookie_is_not_answered_with_a_cookie(beacon: Beacon) -> None:
    browser = beacon.log_in("alice")
    cookie = f"Cookie: beacon={browser.cookies['beacon']}"
    with Raw(beacon) as raw:
        raw.send(f"GET {EVENTS} HTTP/1.1\r\nHost: 127.0.0.1\r\n{cookie}\r\n\r\n".encode())
        raw.until(b"event: hello\n")
        check_head(raw)


def test_a_socket_is_bounded_and_notices_a_silent_peer(beacon: Beacon) -> None:
    """TCP_USER_TIMEOUT with a heartbeat every 15 s: a vanished peer is closed within 45 s."""
    (pid,) = beacon.worker_pids()
    with fleet_of(beacon) as fleet:
        fleet.open("alice", 3)
        fleet.all_open()
        report = probe.settled(pid, lambda found: len(found.options) == 3, "three wires")
    for user_timeout_ms, send_buffer, no_delay in report.options:
        assert user_timeout_ms == ACK_TIMEOUT_MS == 29_000
        assert send_buffer == 2 * SEND_BUFFER_BYTES  # Linux doubles it, for its own bookkeeping
        assert no_delay
    nobody_streams(beacon)
