"""gunicorn's gevent worker, which says goodbye to open streams before it stops."""

import time
from types import FrameType

import gevent
from gunicorn.workers.ggevent import GeventWorker

from app.lifecycle import Live

STREAMS_CLOSE_S = 2.0


class BeaconWorker(GeventWorker):
    """On SIGTERM the stock worker waits out the whole grace period for streams that never end by themselves."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal handler may not block: a greenlet does the rest, and the worker accepts requests meanwhile."""
        gevent.spawn(self._leave, sig, frame)

    def _leave(self, sig: int, frame: FrameType | None) -> None:
        live = self._live()
        if live is not None:
            live.hub.drain()
            deadline = time.monotonic() + STREAMS_CLOSE_S
            while len(live.hub) and time.monotonic() < deadline:
                gevent.sleep(0.02)
        super().handle_exit(sig, frame)

    def _live(self) -> Live | None:
        """None while the application is still loading."""
        app = getattr(self, "wsgi", None)
        extensions = getattr(app, "extensions", {})
        found: Live | None = extensions.get("beacon_live")
        return found
