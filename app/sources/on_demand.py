"""Requests to a service for a waiting person: each with its own source and a deadline, limited in number.

The caller gets an answer in time whatever the source does. A request that takes longer is left to end by itself. It
occupies its slot until then, so that a hanging service cannot accumulate threads.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeVar

from app.sources.protocol import Source, SourceError

REQUEST_TIMEOUT_S = 5.0
MAX_CONCURRENT_REQUESTS = 16
# A kind's own time-outs may expire just before this one; such an error counts as a time-out too.
NEAR_TIMEOUT_SHARE = 0.9

log = logging.getLogger(__name__)
T = TypeVar("T")
_request_slots = threading.BoundedSemaphore(MAX_CONCURRENT_REQUESTS)
_pending: Counter[str] = Counter()
_pending_lock = threading.Lock()


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
    max_pending: int = MAX_CONCURRENT_REQUESTS,
) -> T:
    """Create a source, ask it and close it. Raises `SourceError`, `TooSlow`, `TooManyRequests`.

    The caller must not hold a database connection while it waits. `max_pending`: the request is not sent if this
    service already has that many pending. Callers that wait only briefly set it, or one service that hangs would soon
    occupy every slot.
    """
    if not _take_slot(service_id, max_pending):
        raise TooManyRequests
    answer, began = Future[T](), time.monotonic()
    # In a process with an event loop this thread is a greenlet, so the loop keeps running.
    arguments = (answer, make, question, service_id)
    threading.Thread(target=_ask, args=arguments, name="query-source", daemon=True).start()
    try:
        return answer.result(within_s)
    except TimeoutError:
        raise TooSlow(f"did not answer within {within_s:g} s") from None
    except SourceError as error:
        if time.monotonic() - began >= NEAR_TIMEOUT_SHARE * within_s:
            raise TooSlow(error.reason) from error
        raise


def _take_slot(service_id: str, max_pending: int) -> bool:
    with _pending_lock:
        if _pending[service_id] >= max_pending or not _request_slots.acquire(blocking=False):
            return False
        _pending[service_id] += 1
    return True


def _return_slot(service_id: str) -> None:
    with _pending_lock:
        _pending[service_id] -= 1
        if not _pending[service_id]:
            del _pending[service_id]
    _request_slots.release()


def _ask(answer: Future[T], make: Callable[[], Source], question: Callable[[Source], T], service_id: str) -> None:
    source = None
    try:
        source = make()
        answer.set_result(question(source))
    except SourceError as error:
        answer.set_exception(error)
    except Exception as error:  # noqa: BLE001 -- a bug in one kind must not leave the caller without an answer
        # Only the type: the message may contain a password.
        log.error("unexpected exception in a source, service_id=%s: %s", service_id, type(error).__name__)
        answer.set_exception(SourceError("gave an answer that Beacon could not handle"))
    finally:
        if source is not None:
            with suppress(Exception):
                source.close()
        _return_slot(service_id)
