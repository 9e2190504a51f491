"""Requests to a service for a waiting person: each with its own source and a deadline, limited in number.

The caller gets an answer in time whatever the source does. A request that takes longer is left to end by itself. It
occupies its slot until then, so that a hanging service cannot accumulate threads.
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
# A kind's own time-outs may expire just before this one; such an error counts as a time-out too.
NEAR_TIMEOUT_SHARE = 0.9

log = logging.getLogger(__name__)
T = TypeVar("T")
_request_slots = threading.BoundedSemaphore(MAX_CONCURRENT_REQUESTS)


class TooSlow(SourceError):
    """The service did not answer in time."""


class TooManyRequests(Exception):
    """Too many requests are waiting for their services, so this one was not sent."""


def query_source(
    make: Callable[[], Source],
    question: Callable[[Source], T],
    within_s: float = REQUEST_TIMEOUT_S,
    *,
    service_id: str = "",
) -> T:
    """Create a source, ask it and close it. Raises `SourceError`, `TooSlow`, `TooManyRequests`.

    The caller must not hold a database connection while it waits. `service_id` is for the log.
    """
    if not _request_slots.acquire(blocking=False):
        raise TooManyRequests
    request, began = _PendingQuery(make, question, service_id), time.monotonic()
    # In a process with an event loop this thread is a greenlet, so the loop keeps running.
    threading.Thread(target=request.run, name="query-source", daemon=True).start()
    if not request.done.wait(within_s):
        raise TooSlow(f"did not answer within {within_s:g} s")
    if request.error is not None:
        is_late = time.monotonic() - began >= NEAR_TIMEOUT_SHARE * within_s
        raise TooSlow(request.error.reason) if is_late else request.error
    return request.answer[0]


class _PendingQuery(Generic[T]):
    def __init__(self, make: Callable[[], Source], question: Callable[[Source], T], service_id: str) -> None:
        self._make, self._question, self._service_id = make, question, service_id
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
        except Exception as error:  # noqa: BLE001 -- a bug in one kind must not leave the caller without an answer
            # Only the type: the message may contain a password.
            log.error("unexpected exception in a source, service_id=%s: %s", self._service_id, type(error).__name__)
            self.error = SourceError("gave an answer that Beacon could not handle")
        finally:
            self.done.set()
            if source is not None:
                with suppress(Exception):
                    source.close()
            _request_slots.release()
