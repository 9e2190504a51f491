"""Keeps the garbage collector away from large job tables: one pass over them blocks the event loop for 70 ms.

Jobs are in no cycle, so reference counting frees them. While a large snapshot is in memory, the collector is disabled;
the jobs that are kept afterwards are frozen, as `gunicorn.conf.py` freezes what was loaded at the start.
"""

import contextlib
import gc
import threading
import time
from collections.abc import Iterator

# A service with this many jobs is large; new jobs are frozen in groups of this size.
LARGE_JOB_COUNT = 20_000
# Maximum time that overlapping large checks may keep the collector disabled: other work leaves cycles.
MAX_GC_PAUSE_S = 30.0

_lock = threading.Lock()
_large_observations = 0
_since = 0.0
_unfrozen = 0


@contextlib.contextmanager
def pause_gc(jobs: int) -> Iterator[None]:
    """Disable the collector during the check of a service with this many known jobs, if it is large."""
    if jobs < LARGE_JOB_COUNT or not _begin():
        yield
        return
    try:
        yield
    finally:
        _end()


def freeze_new_jobs(jobs: int) -> None:
    """Count jobs that were added to a known state, and freeze once there are `LARGE_JOB_COUNT` of them.

    Garbage cycles that exist at that moment would be frozen for good, so they are collected first.
    """
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
