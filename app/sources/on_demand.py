"""One question to a service on behalf of a person who waits: a source of its own, a deadline, a bound on how many.

Whatever a kind of source does, the one who asked has an answer in time. A question that takes longer is left to end by
itself; it holds its place until then, so that a service which hangs cannot gather threads.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

from app.sources.protocol import Source, SourceError

REQUEST_TIMEOUT_S = 5.0
MAX_CONCURRENT_REQUESTS = 16
# A kind has bounds of its own, which may run out a moment before this one: that is the same silence.
NEAR_TIMEOUT_SHARE = 0.9

log = logging.getLogger(__name__)
T = TypeVar("T")
_request_slots = threading.BoundedSemaphore(MAX_CONCURRENT_REQUESTS)


class TooSlow(SourceError):
    """It did not answer in time."""


class TooMany(Exception):
    """So many questions are waiting for their services that this one was not asked."""


def ask(make: Callable[[], Source], question: Callable[[Source], T], within_s: float = REQUEST_TIMEOUT_S) -> T:
    """The answer of a source that is made for this and closed after it. Raises `SourceError`, `TooSlow`, `TooMany`.

    Hold no database connection meanwhile.
    """
    if not _request_slots.acquire(blocking=False):
        raise TooMany
    asking, began = _Request(make, question), time.monotonic()
    # A thread, which is a greenlet where this process has an event loop: that goes on meanwhile.
    threading.Thread(target=asking.run, name="ask", daemon=True).start()
    if not asking.done.wait(within_s):
        raise TooSlow(f"did not answer within {within_s:g} s")
    if asking.error is not None:
        is_late = time.monotonic() - began >= NEAR_TIMEOUT_SHARE * within_s
        raise TooSlow(asking.error.reason) if is_late else asking.error
    return asking.answer[0]


class _Request(Generic[T]):
    def __init__(self, make: Callable[[], Source], question: Callable[[Source], T]) -> None:
        self._make, self._question = make, question
        self.done = threading.Event()
        self.answer: list[T] = []
        self.error: SourceError | None = None

    def run(self) -> None:
        source = None
        try:
            source = self._make()
            self.answer.append(self._question(source))
        except SourceError as error:
            self.error = error
        except Exception as error:  # noqa: BLE001 -- whatever a kind of source gets wrong, somebody waits for a word
            # Only its type: what it says may hold a password.
            log.error("a source failed in a way of its own: %s", type(error).__name__)
            self.error = SourceError("gave an answer that Beacon could not handle")
        finally:
            self.done.set()
            if source is not None:
                with suppress(Exception):
                    source.close()
            _request_slots.release()
