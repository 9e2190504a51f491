"""Keeps the garbage collector away from jobs by the hundred thousand: one look through them holds the event loop 70 ms.

Jobs are in no cycle, so counting their references is enough to free them. While a large look is in memory the collector
waits; what of it is believed from then on is frozen, as `gunicorn.conf.py` freezes what was loaded at the start.
"""

import contextlib
import gc
import threading
import time
from collections.abc import Iterator

# Jobs of a service from which on it counts as large, and new ones that are frozen together.
LARGE_JOB_COUNT = 20_000
# Other work leaves cycles meanwhile: so long may looks that overlap keep the collector waiting.
MAX_GC_PAUSE_S = 30.0

_lock = threading.Lock()
_large_observations = 0
_since = 0.0
_unfrozen = 0


@contextlib.contextmanager
def pause_gc(jobs: int) -> Iterator[None]:
    """During an observation of a service of which so many jobs are known."""
    if jobs < LARGE_JOB_COUNT or not _begin():
        yield
        return
    try:
        yield
    finally:
        _end()


def freeze_new_jobs(jobs: int) -> None:
    """So many jobs were added to a belief. Cycles that lie about just now would be kept for ever: they go first."""
    global _unfrozen  # noqa: PLW0603 -- the collector is one for the process, and so is this number
    with _lock:
        _unfrozen += jobs
        if _unfrozen < LARGE_JOB_COUNT:
            return
        _unfrozen = 0
    if gc.isenabled():
        gc.collect(0)
    gc.freeze()


def _begin() -> bool:
    global _large_observations, _since  # noqa: PLW0603 -- see above
    with _lock:
        if _large_observations == 0:
            _since = time.monotonic()
        elif time.monotonic() - _since > MAX_GC_PAUSE_S:
            return False
        _large_observations += 1
        gc.disable()
        return True


def _end() -> None:
    global _large_observations  # noqa: PLW0603 -- see above
    with _lock:
        _large_observations -= 1
        if _large_observations == 0:
            gc.enable()
