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

ASK_S = 5.0
ASKED_AT_ONCE = 16
# A kind has bounds of its own, which may run out a moment before this one: that is the same silence.
NEARLY = 0.9

log = logging.getLogger(__name__)
T = TypeVar("T")
_places = threading.BoundedSemaphore(ASKED_AT_ONCE)


class TooSlow(SourceError):
    """It did not answer in time."""


class TooMany(Exception):
    """So many questions are waiting for their services that this one was not asked."""


def ask(make: Callable[[], Source], question: Callable[[Source], T], within_s: float = ASK_S) -> T:
    """The answer of a source that is made for this and closed after it. Raises `SourceError`, `TooSlow`, `TooMany`.

    Hold no database connection meanwhile.
    """
    if not _places.acquire(blocking=False):
        raise TooMany
    asking, began = _Asking(make, question), time.monotonic()
    # A thread, which is a greenlet where this process has an event loop: that goes on meanwhile.
    threading.Thread(target=asking.run, name="ask", daemon=True).start()
    if not asking.done.wait(within_s):
        raise TooSlow(f"did not answer within {within_s:g} s")
    if asking.error is not None:
        is_late = time.monotonic() - began >= NEARLY * within_s
        raise TooSlow(asking.error.reason) if is_late else asking.error
    return asking.answer[0]


class _Asking(Generic[T]):
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
            _places.release()
