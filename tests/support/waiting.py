"""Waiting for a condition: over as soon as it holds, bounded, and scaled by the machine."""

import time
from collections.abc import Callable
from typing import TypeVar

from tests.support.machine import scaled

T = TypeVar("T")


def wait_for(look: Callable[[], T], what: str = "the condition", within_s: float = 10.0, every_s: float = 0.02) -> T:
    """The first truthy answer of `look`, or a failure that says what was waited for.

    `within_s` is written for a quiet machine; on a slower one it is longer (`tests/support/machine.py`).
    """
    limit_s = scaled(within_s)
    deadline = time.monotonic() + limit_s
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited {limit_s:.1f} s in vain for {what}"
        time.sleep(every_s)
    return found
