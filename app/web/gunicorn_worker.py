"""gunicorn's gevent worker, extended by handed-off stream sockets and a graceful shutdown."""

from contextlib import suppress
from types import FrameType
from typing import Any

import gevent
from gunicorn.workers.ggevent import GeventWorker

from app.background import StreamServices
from app.components import components
from app.stream.handoff import HandedOffBody
from app.web.malformed_requests import CapturedResponse

# Time limit for sending one piece of a response, however large: a page, or one piece of an export.
WRITE_TIMEOUT_S = 60.0


class BeaconWorker(GeventWorker):
    """Handed-off streams are outside gunicorn's pool: gunicorn neither waits for them nor closes them."""

    _is_leaving = False

    def is_already_handled(self, respiter: Any) -> bool:
        """Drop the connection of a handed-off stream at once: gunicorn would wait for the next request on it."""
        if isinstance(respiter, HandedOffBody):
            raise StopIteration
        return bool(super().is_already_handled(respiter))

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> bool:
        """Limit the time to send each piece, so that a client that does not read its response blocks nothing."""
        sock.settimeout(WRITE_TIMEOUT_S)
        try:
            return bool(super().handle_request(listener_name, req, sock, addr))
        except TimeoutError:
            self.log.info("closed a connection: client=%s did not read its response for %d s", addr, WRITE_TIMEOUT_S)
            raise StopIteration from None

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Let gunicorn classify and log the error, but answer with problem+json instead of gunicorn's HTML page."""
        said = CapturedResponse()
        stand_in: Any = said  # for the socket that it writes to
        super().handle_error(req, stand_in, addr, exc)
        with suppress(OSError):
            client.sendall(said.as_problem(exc))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Shut down in a greenlet, because a signal handler must not block; the worker still accepts requests.

        `run` keeps notifying the arbiter until `alive` is False, which gunicorn's own handler sets.
        """
        if not self._is_leaving:
            self._is_leaving = True
            gevent.spawn(self._shut_down, sig, frame)

    def _shut_down(self, sig: int, frame: FrameType | None) -> None:
        try:
            background = self._background()
            if background is not None:
                background.drain()
        finally:
            super().handle_exit(sig, frame)

    def _background(self) -> StreamServices | None:
        """None while the application is still loading."""
        app = getattr(self, "wsgi", None)
        return None if app is None else components(app).background
