"""Control frames: `hello`, `reset`, `heartbeat`, `bye`. Only `reset` has an id, which is the head's."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.eventlog.cursor import StartPosition
from app.infra.clock import utc_text
from app.stream import sse
from app.stream.subscriber import CloseReason, Reader

RETRY_RANGE_MS = (1_500, 3_000)


@dataclass(frozen=True, slots=True)
class Opening:
    """An admitted stream: its reader, its start position and the content of `hello`.

    `flag_version` is the hub's version from before the flag was evaluated for this stream.
    """

    reader: Reader
    start: StartPosition
    hello: Mapping[str, Any]
    flag_version: int = -1

    def frames(self) -> bytes:
        """The first bytes of the stream."""
        retry_ms = random.randint(*RETRY_RANGE_MS)  # noqa: S311 -- spreads reconnects
        first = sse.json_frame(dict(self.hello), event="hello", retry_ms=retry_ms)
        return first if self.start.reset is None else first + reset_frame(self.start)

    @property
    def outcome(self) -> str:
        """How the stream resumes: `none` (nothing was missed), `replayed` or `reset`."""
        if self.start.reset is not None:
            return "reset"
        return "replayed" if self.start.after < self.start.head else "none"


def reset_frame(start: StartPosition) -> bytes:
    """Tells a client that its cursor is unusable. The id is the head's, so the client continues from there."""
    return sse.json_frame({"reason": start.reset, "head": start.head}, event="reset", id=start.head)


def heartbeat_frame(head: int, *, degraded: bool) -> bytes:
    return sse.json_frame({"head": head, "timestamp": utc_text(), "degraded": degraded}, event="heartbeat")


def bye_frame(reason: CloseReason | None) -> bytes:
    """Sent before closing as a courtesy; clients must not depend on it."""
    return sse.json_frame({"reason": reason, "poll": reason == "flag-off"}, event="bye")
