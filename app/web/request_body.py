"""Reads the body of a request, whole and within a time, before the request opens anything that is scarce.

A client that stops sending holds a greenlet and its own bytes: no database connection and no lock. How many bodies one
sender may have under way is bounded, so that nobody fills the memory of a worker either.
"""

import contextlib
import hashlib
import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import gevent
from flask import Flask, Response, current_app, request, session
from werkzeug.exceptions import RequestEntityTooLarge

from app.audit.attempt_log import network
from app.infra.problems import Problem, build_retry_after
from app.web.errors import answer

# Under way at once from one sender, in one worker.
MAX_BODIES_PER_SENDER = 32
MAX_BYTES_PER_SENDER = 32 * 1024 * 1024
# A body has this long, and a second more for each piece of this many bytes that it announces.
BODY_S, BYTES_PER_S = 10.0, 65_536
# A body in chunks announces nothing.
CHUNKED_BODY_S = 60.0
MAX_KNOWN_TOKENS = 10_000
_PIECE_BYTES = 1024 * 1024

P = ParamSpec("P")
R = TypeVar("R")


def limit_body(max_bytes: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Give a view a smaller bound than the whole application has; a longer body is answered with 413."""

    def mark(view: Callable[P, R]) -> Callable[P, R]:
        view.max_body_bytes = max_bytes  # type: ignore[attr-defined]  # functions take any attribute
        return view

    return mark


class BodyTooSlow(Exception):
    """The body was not there in time."""


@dataclass(slots=True)
class _UnderWay:
    bodies: int = 0
    bytes: int = 0


class Bodies:
    """The bodies that this worker is waiting for, by sender; and which bearer tokens were good lately.

    A sender is a login or a token that is known, otherwise a network address: strangers do not use up the places of
    people and programs at the same address.
    """

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._under_way: dict[str, _UnderWay] = {}
        self._tokens: OrderedDict[str, None] = OrderedDict()

    @contextlib.contextmanager
    def hold(self, sender: str, size: int) -> Iterator[None]:
        """A place for one body while it is read. Raises `Problem` 429 where the sender has too many under way."""
        with self._changing:
            mine = self._under_way.setdefault(sender, _UnderWay())
            # One body always fits, however large it may be.
            if mine.bodies >= MAX_BODIES_PER_SENDER or (mine.bodies and mine.bytes + size > MAX_BYTES_PER_SENDER):
                raise _refusal()
            mine.bodies += 1
            mine.bytes += size
        try:
            yield
        finally:
            with self._changing:
                mine.bodies -= 1
                mine.bytes -= size
                if not mine.bodies:
                    del self._under_way[sender]

    def remember(self, token: str) -> None:
        """This bearer token was good just now. It gives no right: only a place of its own for its next bodies."""
        with self._changing:
            digest = _digest(token)
            self._tokens[digest] = None
            self._tokens.move_to_end(digest)
            if len(self._tokens) > MAX_KNOWN_TOKENS:
                self._tokens.popitem(last=False)

    def sender(self, login_id: str | None, token: str | None, address: str) -> str:
        if token is not None and _digest(token) in self._tokens:
            return f"token {_digest(token)}"
        return f"login {login_id}" if login_id and token is None else f"address {network(address)}"


def init_app(app: Flask) -> None:
    app.before_request(_receive)
    app.register_error_handler(BodyTooSlow, _too_slow)


def bodies() -> Bodies:
    """Those of the current application."""
    found: Bodies = current_app.extensions["beacon_bodies"]
    return found


def _receive() -> None:
    """Put the whole body in the place of the client's socket. A body that no route reads is left there."""
    if request.method in ("GET", "HEAD", "OPTIONS") or request.routing_exception is not None:
        return
    limit = _limit()
    size = request.content_length
    is_framed = bool(request.environ.get("wsgi.input_terminated"))
    if size is None and not is_framed:
        return
    if size is not None and size > limit:
        raise RequestEntityTooLarge
    expected = limit if size is None else size
    if not expected:
        return
    # The session's cookie is signed, so its content can be believed without looking anything up.
    who = bodies().sender(session.get("login"), _bearer(), request.remote_addr or "")
    with bodies().hold(who, expected), _time_limit(size):
        data = _read(request.environ["wsgi.input"], size, limit)
    request.environ["wsgi.input"] = io.BytesIO(data)
    request.environ["CONTENT_LENGTH"] = str(len(data))
    request.environ.pop("HTTP_TRANSFER_ENCODING", None)


def _limit() -> int:
    view = current_app.view_functions.get(request.endpoint or "")
    whole: int = current_app.config["MAX_CONTENT_LENGTH"]
    limit: int = getattr(view, "max_body_bytes", whole)
    return limit


def _bearer() -> str | None:
    """What calls itself a bearer credential switches the cookie off, as it does when it is looked up."""
    kind, _, text = request.headers.get("Authorization", "").partition(" ")
    return text.strip() if kind.lower() == "bearer" else None


def _read(source: Any, size: int | None, limit: int) -> bytes:
    """`size` is None for a body in chunks, which may turn out too long."""
    wanted = limit + 1 if size is None else size
    pieces: list[bytes] = []
    while wanted and (piece := source.read(min(wanted, _PIECE_BYTES))):
        pieces.append(piece)
        wanted -= len(piece)
    if size is None and not wanted:
        raise RequestEntityTooLarge
    if size is not None and wanted:
        raise Problem(400, "Malformed request", f"The body ends {wanted} bytes before its Content-Length.")
    return b"".join(pieces)


def _time_limit(size: int | None) -> contextlib.AbstractContextManager[object]:
    """Only a server's socket can keep one waiting; gunicorn's is gevent's."""
    if "gunicorn.socket" not in request.environ:
        return contextlib.nullcontext()
    seconds = CHUNKED_BODY_S if size is None else BODY_S + size / BYTES_PER_S
    return gevent.Timeout(seconds, BodyTooSlow)


def _too_slow(_error: Exception) -> Response:
    """gunicorn closes the connection afterwards: where the next request would begin is unknown."""
    return answer(Problem(408, "Too slow", "The body did not arrive in time. Send it again, without a pause."))


def _refusal() -> Problem:
    detail = (
        f"At most {MAX_BODIES_PER_SENDER} requests of one sender may wait for their bodies at once. "
        "Wait as long as Retry-After says, and send each body without a pause."
    )
    return Problem(429, "Too many requests", detail, headers=build_retry_after(1, 3), reason="bodies")


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
