"""gunicorn's gevent worker, with streams on sockets of their own and an orderly end."""

from contextlib import suppress
from types import FrameType
from typing import Any

import gevent
from gunicorn.workers.ggevent import GeventWorker

from app.background import BackgroundServices
from app.stream.handoff import HandedOffBody
from app.web.malformed_requests import Captured

# For a piece of an answer, however large: a page or an export in pieces.
WRITE_TIMEOUT_S = 60.0


class BeaconWorker(GeventWorker):
    """Handed-off streams are outside gunicorn's pool: it neither waits for them nor tells them that it ends."""

    _is_leaving = False

    def is_already_handled(self, respiter: Any) -> bool:
        """For a handed-off stream drop the connection at once: gunicorn would look for the next request on it."""
        if isinstance(respiter, HandedOffBody):
            raise StopIteration
        return bool(super().is_already_handled(respiter))

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> bool:
        """A client that does not read its answer is not waited for: each piece has to leave in time."""
        sock.settimeout(WRITE_TIMEOUT_S)
        try:
            return bool(super().handle_request(listener_name, req, sock, addr))
        except TimeoutError:
            self.log.info("closed the connection of a client that did not read its answer for %d s", WRITE_TIMEOUT_S)
            raise StopIteration from None

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """gunicorn decides what it is and logs it; what it says is a problem like every other answer, not a page."""
        said = Captured()
        stand_in: Any = said  # for the socket that it writes to
        super().handle_error(req, stand_in, addr, exc)
        with suppress(OSError):
            client.sendall(said.as_problem(exc))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal handler may not block: a greenlet does the rest, and the worker accepts requests meanwhile.

        `run` goes on notifying the arbiter until `alive` is False, which the stock handler sets.
        """
        if not self._is_leaving:
            self._is_leaving = True
            gevent.spawn(self._leave, sig, frame)

    def _leave(self, sig: int, frame: FrameType | None) -> None:
        try:
            live = self._live()
            if live is not None:
                live.drain()
        finally:
            super().handle_exit(sig, frame)

    def _live(self) -> BackgroundServices | None:
        """None while the application is still loading."""
        app = getattr(self, "wsgi", None)
        extensions = getattr(app, "extensions", {})
        found: BackgroundServices | None = extensions.get("beacon_live")
        return found
