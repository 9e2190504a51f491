"""Starts and drives `publisher.py`."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

SCRIPT = Path(__file__).with_name("publisher.py")
BATCH_EVERY_S = 0.1
EVENT_BYTES = 150


@dataclass(frozen=True, slots=True)
class Published:
    """`last` is the newest event's number; `late_s` how far behind its moment the latest batch went out."""

    last: int
    late_s: float


class Publisher:
    """Used by `with`. Events are numbered on from run to run."""

    def __init__(self, python: str, target: Sequence[str]) -> None:
        self._command = [python, str(SCRIPT), *target]
        self.last = 0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._process.kill()
        self._process.wait(10)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def begin(self, rate: float, seconds: float, *, size: int = EVENT_BYTES, every_s: float = BATCH_EVERY_S) -> None:
        """`rate` events a second for `seconds`, in batches; goes on by itself until `finish` is asked."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"run {rate} {size} {seconds} {every_s} {self.last + 1}\n")
        self._process.stdin.flush()

    def finish(self) -> Published:
        """Wait for the end of what was begun."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the publisher ended with {self._process.wait(5)}")
        found = Published(**json.loads(line))
        self.last = int(found.last)
        return found

    def publish(self, count: int) -> Published:
        """`count` events in one batch, now."""
        self.begin(count / BATCH_EVERY_S, BATCH_EVERY_S / 2)
        return self.finish()
