"""Turns of gevent's loop, the time between two switches of greenlets: the longest one, and where it ended.

Told in milliseconds of the processor, or in calls of functions, which are the same on every machine.
"""

import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

import greenlet


def processor_ms() -> float:
    return time.thread_time() * 1e3


class Calls:
    """How many functions this greenlet has called since it was made, Python's own and those in C."""

    def __init__(self) -> None:
        self._count = 0
        sys.setprofile(self._note)

    def __call__(self) -> float:
        return self._count

    def _note(self, _frame: object, event: str, _arg: object) -> None:
        if event in ("call", "c_call"):
            self._count += 1


class Turns:
    """The longest one since `begin`, and where it ended."""

    def __init__(self, spent: Callable[[], float]) -> None:
        self._spent = spent
        self.begin()
        greenlet.settrace(self._switched)

    def begin(self) -> None:
        self.longest, self.where, self._since = 0.0, "", self._spent()

    def _switched(self, _event: str, greenlets: Any) -> None:
        took = self._spent() - self._since
        if took > self.longest:
            frame = greenlets[0].gr_frame
            self.longest, self.where = took, "".join(traceback.format_stack(frame)[-4:]) if frame else ""
        self._since = self._spent()
