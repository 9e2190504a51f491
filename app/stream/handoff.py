"""Takes the request's socket from gunicorn when the response is ready, so that a stream costs no greenlet.

This is a WSGI wrapper outside Flask: the request's context and database session have been released before the socket
changes hands, and an error before that is still an ordinary response.
"""

import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, Protocol

from app.stream.control import Opening
from app.stream.socket_transport import SLOW_READER_TIMEOUT_S, Connection, set_kernel_limits

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PENDING_KEY = "beacon.stream"
# Hop-by-hop headers that are set here, and `Set-Cookie`, which a stream must not send.
_NOT_IN_HEAD = frozenset({"connection", "content-length", "date", "keep-alive", "set-cookie", "transfer-encoding"})


class HandedOffBody:
    """The body of a response whose socket was handed off: gunicorn's worker drops its connection when it sees one."""

    def __iter__(self) -> "HandedOffBody":
        return self

    def __next__(self) -> bytes:
        raise StopIteration


@dataclass(slots=True)
class PendingStream:
    """An admitted stream, left in the request's environ by the route. `release` frees its slot; it is called once."""

    opening: Opening
    release: Callable[[], None]
    is_taken: bool = False

    def abandon(self) -> None:
        """The response has ended: nobody took over the stream, or its generator is done."""
        if not self.is_taken:
            self.is_taken = True
            self.release()


class SocketOwner(Protocol):
    """Owns handed-off sockets."""

    def open(
        self,
        connection: Connection,
        head: bytes,
        opening: Opening,
        on_end: Callable[[], None],
        *,
        in_http_chunks: bool,
    ) -> object: ...


class HandOff:
    """`taker` returns the owner of sockets, or None without an event loop (development server, tests)."""

    def __init__(self, application: "WSGIApplication", taker: Callable[[], SocketOwner | None]) -> None:
        self._application, self._taker = application, taker

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        heads: list[tuple[str, list[tuple[str, str]]]] = []

        def begin(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            if PENDING_KEY not in environ:
                return start_response(status, headers, exc_info)
            heads.append((status, headers))
            return _refuse_write

        try:
            body = self._application(environ, begin)
        except BaseException:
            _abandon(environ)
            raise
        pending: PendingStream | None = environ.get(PENDING_KEY)
        if pending is None or not heads:
            _abandon(environ)
            return body
        status = heads[-1][0]
        if not status.startswith("200 "):
            _abandon(environ)  # something after the route failed: another response replaced the stream's
        taker = self._taker() if _can_hand_off(environ, status) else None
        if taker is None:
            _limit_socket(environ)
            start_response(*heads[-1])
            return body
        pending.is_taken = True
        _hand_off(taker, environ, heads[-1], pending)
        return HandedOffBody()


def build_disconnect(environ: "WSGIEnvironment") -> Callable[[], None]:
    """Build a function that closes the request's connection while its greenlet waits for a peer that does not read."""
    held = environ.get("gunicorn.socket")

    def cut() -> None:
        with suppress(OSError):  # the peer has already closed it
            if held is not None:
                held.shutdown(socket.SHUT_RDWR)

    return cut


def _limit_socket(environ: "WSGIEnvironment") -> None:
    """Give a stream that keeps its greenlet the same timeout and kernel limits as a handed-off one."""
    held = environ.get("gunicorn.socket")
    if held is not None:
        held.settimeout(SLOW_READER_TIMEOUT_S)
        set_kernel_limits(held)


def _hand_off(
    taker: SocketOwner, environ: "WSGIEnvironment", head: tuple[str, list[tuple[str, str]]], pending: PendingStream
) -> None:
    held = environ["gunicorn.socket"]
    family, kind, protocol = held.family, held.type, held.proto
    # Detaching stops gevent's watchers. The plain socket needs none, and nothing else holds the descriptor.
    connection = Connection(family, kind, protocol, fileno=held.detach())
    try:
        chunked = environ["SERVER_PROTOCOL"] == "HTTP/1.1"
        taker.open(
            connection,
            _encode_head(*head, chunked=chunked),
            pending.opening,
            pending.release,
            in_http_chunks=chunked,
        )
    except BaseException:
        connection.close()
        pending.release()
        raise


def _can_hand_off(environ: "WSGIEnvironment", status: str) -> bool:
    """True for a GET without a body over plain HTTP/1: TLS and HTTP/2 need their own layers on the socket."""
    held = environ.get("gunicorn.socket")
    return (
        held is not None
        and status.startswith("200 ")
        and environ["REQUEST_METHOD"] == "GET"
        and environ.get("CONTENT_LENGTH", "0") in ("", "0")
        and "HTTP_TRANSFER_ENCODING" not in environ
        and environ["SERVER_PROTOCOL"] in ("HTTP/1.0", "HTTP/1.1")
        and not hasattr(held, "cipher")
    )


def _encode_head(status: str, headers: list[tuple[str, str]], *, chunked: bool) -> bytes:
    """Encode the head without a length: the stream ends with its last chunk, or for HTTP/1.0 with its connection."""
    kept = [(name, value) for name, value in headers if name.lower() not in _NOT_IN_HEAD]
    kept += [("Date", formatdate(usegmt=True)), ("Connection", "close")]
    if chunked:
        kept.append(("Transfer-Encoding", "chunked"))
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in kept)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _abandon(environ: "WSGIEnvironment") -> None:
    pending: PendingStream | None = environ.get(PENDING_KEY)
    if pending is not None:
        pending.abandon()


def _refuse_write(_data: bytes) -> None:
    raise RuntimeError("a stream's response body must be an iterable, not written by hand")
