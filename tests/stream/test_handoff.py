"""The request's socket changes hands, or the answer is an ordinary one; its seat is given back once either way."""

import socket
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from app.eventlog.cursor import StartPosition
from app.stream.control import Opening
from app.stream.handoff import PENDING_KEY, HandedOffBody, HandOff, PendingStream, _limit_socket
from app.stream.socket_transport import ACK_TIMEOUT_MS, SEND_BUFFER_BYTES, SLOW_READER_TIMEOUT_S, Connection
from tests.stream.readers import opening, reader

HEADERS = [
    ("Content-Type", "text/event-stream; charset=utf-8"),
    ("X-Build", "b1"),
    ("Set-Cookie", "session=secret"),
    ("Transfer-Encoding", "chunked"),
    ("Content-Length", "7"),
    ("Connection", "keep-alive"),
    ("Keep-Alive", "timeout=5"),
    ("Date", "yesterday"),
]


class Taker:
    """Keeps what it is given; may fail."""

    def __init__(self, fails: BaseException | None = None) -> None:
        self.fails = fails
        self.taken: list[tuple[Connection, bytes, Opening]] = []
        self.on_end: Callable[[], None] = lambda: None
        self.in_http_chunks: bool | None = None

    def open(
        self,
        connection: Connection,
        head: bytes,
        opening: Opening,
        on_end: Callable[[], None],
        *,
        in_http_chunks: bool,
    ) -> None:
        if self.fails:
            raise self.fails
        self.in_http_chunks = in_http_chunks
        self.taken.append((connection, head, opening))
        self.on_end = on_end


class Seat:
    def __init__(self) -> None:
        self.released = 0

    def release(self) -> None:
        self.released += 1


class Body:
    """What Flask answers with: closing it calls what was registered."""

    def __init__(self, on_close: Callable[[], None] = lambda: None) -> None:
        self._on_close = on_close

    def __iter__(self) -> Iterator[bytes]:
        yield b"body"

    def close(self) -> None:
        self._on_close()


class Stream:
    """A route that admits a stream, with the response Flask would make of it."""

    def __init__(self, seat: Seat, status: str = "200 OK") -> None:
        self._seat, self._status = seat, status
        self.opening = opening(reader(), StartPosition(3, 3))
        self.raises: BaseException | None = None
        self.answers = True

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        pending = environ[PENDING_KEY] = PendingStream(self.opening, self._seat.release)
        if self.raises:
            raise self.raises
        if self.answers:
            start_response(self._status, list(HEADERS))
        # Another answer has hooks of its own.
        return Body(pending.abandon) if self._status.startswith("200") else Body()


class Server:
    """One request of gunicorn's, over a socket pair."""

    def __init__(self, **environ: Any) -> None:
        self.ours, self.client = socket.socketpair()
        self.environ: dict[str, Any] = {
            "REQUEST_METHOD": "GET",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "gunicorn.socket": self.ours,
            **environ,
        }
        self.began: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(self, status: str, headers: list[tuple[str, str]], _exc_info: Any = None) -> None:
        self.began.append((status, headers))

    def ask(self, application: Any, taker: Taker | None) -> Any:
        return HandOff(application, lambda: taker)(self.environ, self.start_response)

    def answer(self, application: Any, taker: Taker | None) -> bytes:
        """As a server does: read the body, then close it."""
        body = self.ask(application, taker)
        try:
            return b"".join(body)
        finally:
            getattr(body, "close", lambda: None)()

    def close(self) -> None:
        self.ours.close()
        self.client.close()


@pytest.fixture
def seat() -> Seat:
    return Seat()


@pytest.fixture
def stream(seat: Seat) -> Stream:
    return Stream(seat)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def taker() -> Iterator[Taker]:
    made = Taker()
    yield made
    for connection, _, _ in made.taken:
        connection.close()


def header_names(head: bytes) -> list[str]:
    return [line.split(":")[0].lower() for line in head.decode().split("\r\n")[1:] if line]


class TestTaken:
    def test_the_socket_is_the_takers_and_nobody_elses(self, server: Server, stream: Stream, taker: Taker) -> None:
        number = server.ours.fileno()
        body = server.ask(stream, taker)
        ((connection, _, opened),) = taker.taken
        assert isinstance(body, HandedOffBody)
        assert list(body) == []
        assert (connection.fileno(), server.ours.fileno()) == (number, -1)
        assert opened is stream.opening
        connection.send(b"hello")
        assert server.client.recv(5) == b"hello"

    def test_the_server_is_told_of_no_answer(self, server: Server, stream: Stream, taker: Taker) -> None:
        server.answer(stream, taker)
        assert server.began == []

    def test_the_head_is_the_responses_without_what_is_the_connections_or_the_browsers(
        self, server: Server, stream: Stream, taker: Taker
    ) -> None:
        server.ask(stream, taker)
        head = taker.taken[0][1]
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert head.endswith(b"\r\n\r\n")
        assert header_names(head) == ["content-type", "x-build", "date", "connection", "transfer-encoding"]
        assert b"Connection: close\r\n" in head
        assert b"yesterday" not in head
        assert b"GMT\r\n" in head

    @pytest.mark.parametrize(("version", "chunked"), [("HTTP/1.1", True), ("HTTP/1.0", False)])
    def test_chunks_are_for_http_1_1_and_the_head_says_so(
        self, stream: Stream, taker: Taker, version: str, chunked: bool
    ) -> None:
        server = Server(SERVER_PROTOCOL=version)
        server.ask(stream, taker)
        assert taker.in_http_chunks is chunked
        assert (b"\r\nTransfer-Encoding: chunked\r\n" in taker.taken[0][1]) is chunked
        server.close()

    def test_its_seat_is_released_once_when_the_stream_ends(
        self, server: Server, stream: Stream, taker: Taker, seat: Seat
    ) -> None:
        server.answer(stream, taker)
        assert seat.released == 0
        taker.on_end()
        assert seat.released == 1

    def test_its_seat_stays_taken_whatever_becomes_of_the_answers_body(
        self, server: Server, stream: Stream, taker: Taker, seat: Seat
    ) -> None:
        server.answer(stream, taker)
        server.environ[PENDING_KEY].abandon()
        assert seat.released == 0

    def test_a_taker_that_fails_closes_the_socket_and_gives_the_seat_back(
        self, server: Server, stream: Stream, seat: Seat
    ) -> None:
        with pytest.raises(OSError, match="no more"):
            server.answer(stream, Taker(OSError("no more")))
        assert (server.client.recv(1), seat.released) == (b"", 1)

    @pytest.mark.parametrize(
        "environ",
        [{"SERVER_PROTOCOL": "HTTP/1.0"}, {"CONTENT_LENGTH": "0"}, {"CONTENT_LENGTH": ""}],
        ids=str,
    )
    def test_a_get_without_a_body_over_http_1_is_taken(
        self, stream: Stream, taker: Taker, environ: dict[str, str]
    ) -> None:
        server = Server(**environ)
        server.ask(stream, taker)
        assert len(taker.taken) == 1
        server.close()


class TlsSocket:
    """Has a layer of its own above the plain socket."""

    family = socket.AF_INET

    def __init__(self) -> None:
        self.timeout: float | None = None
        self.options: list[tuple[int, int]] = []

    def settimeout(self, seconds: float) -> None:
        self.timeout = seconds

    def setsockopt(self, _level: int, option: int, value: int) -> None:
        self.options.append((option, value))

    def cipher(self) -> str:
        return "TLS_AES_256_GCM_SHA384"

    def detach(self) -> int:
        raise AssertionError("the layer above must not be cut off")


def test_a_stream_that_keeps_its_greenlet_is_bounded_like_one_that_does_not() -> None:
    held = TlsSocket()
    _limit_socket({"gunicorn.socket": held})
    assert held.timeout == SLOW_READER_TIMEOUT_S
    assert (socket.SO_SNDBUF, SEND_BUFFER_BYTES) in held.options
    assert (socket.TCP_USER_TIMEOUT, ACK_TIMEOUT_MS) in held.options


NOT_TAKEN: dict[str, dict[str, Any]] = {
    "HEAD": {"REQUEST_METHOD": "HEAD"},
    "POST": {"REQUEST_METHOD": "POST"},
    "a body": {"CONTENT_LENGTH": "5"},
    "a chunked body": {"HTTP_TRANSFER_ENCODING": "chunked"},
    "HTTP/2": {"SERVER_PROTOCOL": "HTTP/2"},
    "TLS": {"gunicorn.socket": TlsSocket()},
    "no socket": {"gunicorn.socket": None},
}


class TestOrdinaryAnswer:
    @pytest.mark.parametrize("environ", NOT_TAKEN)
    def test_what_cannot_be_handed_off_is_answered_by_the_generator(
        self, stream: Stream, taker: Taker, seat: Seat, environ: str
    ) -> None:
        server = Server(**NOT_TAKEN[environ])
        assert server.answer(stream, taker) == b"body"
        assert (taker.taken, server.began, seat.released) == ([], [("200 OK", HEADERS)], 1)
        server.close()

    def test_without_a_taker_too(self, server: Server, stream: Stream, seat: Seat) -> None:
        assert server.answer(stream, None) == b"body"
        assert (server.began, seat.released) == ([("200 OK", HEADERS)], 1)
        assert server.ours.fileno() >= 0

    def test_a_request_that_is_no_stream_passes_through(self, server: Server, taker: Taker) -> None:
        def application(_environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
            start_response("200 OK", HEADERS)
            return [b"page"]

        assert server.answer(application, taker) == b"page"
        assert (server.began, taker.taken) == ([("200 OK", HEADERS)], [])

    @pytest.mark.parametrize("status", ["500 INTERNAL SERVER ERROR", "304 NOT MODIFIED"])
    def test_another_answer_in_the_streams_place_gives_the_seat_back(
        self, server: Server, taker: Taker, seat: Seat, status: str
    ) -> None:
        assert server.answer(Stream(seat, status), taker) == b"body"
        assert (server.began, taker.taken, seat.released) == ([(status, HEADERS)], [], 1)

    def test_of_two_answers_the_last_counts(self, server: Server, taker: Taker, seat: Seat) -> None:
        """An error behind the route begins another one."""

        def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            Stream(seat)(environ, start_response)
            start_response("500 ERROR", [], ("an", "error", "info"))
            return [b"sorry"]

        assert server.answer(application, taker) == b"sorry"
        assert (server.began, seat.released) == ([("500 ERROR", [])], 1)

    def test_an_application_that_raises_gives_the_seat_back(
        self, server: Server, stream: Stream, taker: Taker, seat: Seat
    ) -> None:
        stream.raises = KeyError("mine")
        with pytest.raises(KeyError):
            server.answer(stream, taker)
        assert (taker.taken, seat.released) == ([], 1)

    def test_one_that_raises_before_a_stream_was_admitted_just_raises(self, server: Server, taker: Taker) -> None:
        def application(*_: Any) -> list[bytes]:
            raise KeyError("mine")

        with pytest.raises(KeyError):
            server.answer(application, taker)

    def test_an_answer_that_was_never_begun_is_not_handed_off_and_gives_the_seat_back_once(
        self, server: Server, stream: Stream, taker: Taker, seat: Seat
    ) -> None:
        stream.answers = False
        server.answer(stream, taker)
        assert (taker.taken, seat.released) == ([], 1)

    def test_a_stream_writes_nothing_by_hand(self, server: Server, taker: Taker, seat: Seat) -> None:
        def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            environ[PENDING_KEY] = PendingStream(opening(reader()), seat.release)
            start_response("200 OK", [])(b"early")
            return []

        with pytest.raises(RuntimeError, match="iterable"):
            server.answer(application, taker)
        assert seat.released == 1
