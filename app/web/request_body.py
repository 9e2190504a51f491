"""Reads the whole request body within a time limit, before the request takes any scarce resource.

A client that stops sending holds only a greenlet and its own bytes, but no database connection and no lock. The number
of pending bodies per sender is limited, so that nobody can fill the memory of a worker.
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

from app.audit.attempt_log import network_of
from app.components import components
from app.infra.problems import Problem, build_retry_after
from app.web import known_browser
from app.web.errors import problem_response

# Limits on the pending bodies of one sender in one worker.
MAX_BODIES_PER_SENDER = 32
MAX_BYTES_PER_SENDER = 32 * 1024 * 1024
# The time limit of a body, plus one second for each `MIN_BYTES_PER_S` of its Content-Length.
MIN_BODY_TIMEOUT_S, MIN_BYTES_PER_S = 10.0, 65_536
# A chunked body has no Content-Length.
CHUNKED_BODY_TIMEOUT_S = 60.0
MAX_KNOWN_TOKENS = 10_000
_PIECE_BYTES = 1024 * 1024

P = ParamSpec("P")
R = TypeVar("R")


def limit_body(max_bytes: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Give a view a smaller body limit than the application's; a longer body is answered with 413."""

    def mark(view: Callable[P, R]) -> Callable[P, R]:
        view.max_body_bytes = max_bytes  # type: ignore[attr-defined]  # functions take any attribute
        return view

    return mark


class BodyTooSlow(Exception):
    """The body did not arrive in time."""


@dataclass(slots=True)
class _SenderUsage:
    bodies: int = 0
    bytes: int = 0


class BodySlots:
    """The pending bodies of this worker by sender, and the bearer tokens that were valid recently.

    A sender is a login, a known token, a known browser, or otherwise a network address, so that strangers do not use up
    the slots of users and programs at the same address, not even those of the next login.
    """

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._usage: dict[str, _SenderUsage] = {}
        self._tokens: OrderedDict[str, None] = OrderedDict()

    @contextlib.contextmanager
    def acquire(self, sender: str, size: int) -> Iterator[None]:
        """Hold a slot for one body while it is read. Raises `Problem` 429 if the sender has too many pending."""
        with self._changing:
            mine = self._usage.setdefault(sender, _SenderUsage())
            # One body is always allowed, whatever its size.
            if mine.bodies >= MAX_BODIES_PER_SENDER or (mine.bodies and mine.bytes + size > MAX_BYTES_PER_SENDER):
                raise _too_many_bodies()
            mine.bodies += 1
            mine.bytes += size
        try:
            yield
        finally:
            with self._changing:
                mine.bodies -= 1
                mine.bytes -= size
                if not mine.bodies:
                    del self._usage[sender]

    def remember_token(self, token: str) -> None:
        """Remember a valid bearer token. It grants no access, only a slot of its own for its next bodies."""
        with self._changing:
            digest = _digest(token)
            self._tokens[digest] = None
            self._tokens.move_to_end(digest)
            if len(self._tokens) > MAX_KNOWN_TOKENS:
                self._tokens.popitem(last=False)

    def identify_sender(
        self,
        login_id: str | None,
        token: str | None,
        address: str,
        find_browser: Callable[[], str | None] = lambda: None,
    ) -> str:
        """`find_browser` returns the key of a known browser; it is only called if nothing else is known."""
        if token is not None:
            is_known = _digest(token) in self._tokens
            return f"token {_digest(token)}" if is_known else f"address {network_of(address)}"
        if login_id:
            return f"login {login_id}"
        browser = find_browser()
        return f"browser {browser}" if browser else f"address {network_of(address)}"


def init_app(app: Flask) -> None:
    app.before_request(_receive_body)
    app.register_error_handler(BodyTooSlow, _handle_too_slow)


def body_slots() -> BodySlots:
    return components().body_slots


def _receive_body() -> None:
    """Read the whole body and put it in place of the client's socket. A body that no route reads is left unread."""
    if request.method in ("GET", "HEAD", "OPTIONS") or request.routing_exception is not None:
        return
    limit = _max_body_bytes()
    size = request.content_length
    is_framed = bool(request.environ.get("wsgi.input_terminated"))
    if size is None and not is_framed:
        return
    if size is not None and size > limit:
        raise RequestEntityTooLarge
    expected = limit if size is None else size
    if not expected:
        return
    # The cookies are signed, so their content is trusted without a query.
    address = request.remote_addr or ""
    find_browser = known_browser.find_browser_key
    who = body_slots().identify_sender(session.get("login"), _claimed_bearer(), address, find_browser)
    with body_slots().acquire(who, expected), _time_limit(size):
        data = _read_body(request.environ["wsgi.input"], size, limit)
    request.environ["wsgi.input"] = io.BytesIO(data)
    request.environ["CONTENT_LENGTH"] = str(len(data))
    request.environ.pop("HTTP_TRANSFER_ENCODING", None)


def _max_body_bytes() -> int:
    view = current_app.view_functions.get(request.endpoint or "")
    whole: int = current_app.config["MAX_CONTENT_LENGTH"]
    limit: int = getattr(view, "max_body_bytes", whole)
    return limit


def _claimed_bearer() -> str | None:
    """The bearer credential, valid or not. As in authentication, it disables the cookie."""
    kind, _, text = request.headers.get("Authorization", "").partition(" ")
    return text.strip() if kind.lower() == "bearer" else None


def _read_body(source: Any, size: int | None, limit: int) -> bytes:
    """Read the body. `size` is None for a chunked body, which may turn out to be too long."""
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
    """A gevent timeout under gunicorn; without a real socket nothing can block, so there is no limit."""
    if "gunicorn.socket" not in request.environ:
        return contextlib.nullcontext()
    seconds = CHUNKED_BODY_TIMEOUT_S if size is None else MIN_BODY_TIMEOUT_S + size / MIN_BYTES_PER_S
    return gevent.Timeout(seconds, BodyTooSlow)


def _handle_too_slow(_error: Exception) -> Response:
    """Answer with 408. gunicorn then closes the connection, because the start of the next request is unknown."""
    return problem_response(Problem(408, "Too slow", "The body did not arrive in time. Send it again without pauses."))


def _too_many_bodies() -> Problem:
    detail = (
        f"At most {MAX_BODIES_PER_SENDER} requests of one sender may wait for their bodies at once. "
        "Wait for the time in Retry-After, and send each body without pauses."
    )
    return Problem(429, "Too many requests", detail, headers=build_retry_after(1, 3), reason="bodies")


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
