"""Threads that do one thing again and again, or once after a while, until they are told to stop."""

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class Ticker:
    def __init__(self, name: str, interval_s: float, action: Callable[[], object]) -> None:
        self._interval_s = interval_s
        self._action = action
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(timeout=0.5)

    def _run(self) -> None:
        while not self._stopped.wait(self._interval_s):
            try:
                self._action()
            except Exception:
                # One bad turn must not end the thread: the next may be good.
                log.exception("%s failed", self._thread.name)


class Delay(Ticker):
    """Does it once."""

    def _run(self) -> None:
        if not self._stopped.wait(self._interval_s):
            self._action()
