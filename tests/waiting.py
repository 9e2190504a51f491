"""Waiting for what other threads do: bounded, and over as soon as it holds."""

import time
from collections.abc import Callable


def eventually(holds: Callable[[], bool], timeout_s: float = 5.0) -> None:
    """Return once `holds()` is true; fail after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"still not so after {timeout_s} s"
        time.sleep(0.01)
