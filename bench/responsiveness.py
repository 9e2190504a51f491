"""What people feel of a server that has other work: how long a page takes, how late heartbeats are."""

import threading
import time
from itertools import pairwise

import requests

from bench.figure import Values, quantile
from bench.figures.page import p99_ms
from bench.watching import HEARTBEAT_S, Watching

LOADS = 200
STREAMS = 20


class Responsiveness:
    """Of a server that has just been started: somebody reads pages, and 20 streams hear a heartbeat a second."""

    def __init__(self, server: Watching, quick: bool) -> None:
        self._url = server.beacon.url
        self._browser = server.beacon.log_in("alice")
        self._streams = [HeartbeatStream(server) for _ in range(STREAMS)]
        self._loads = LOADS // 5 if quick else LOADS

    def measure(self, when: str) -> dict[str, float]:
        for stream in self._streams:
            stream.begin()
        page_ms = p99_ms(self._browser, self._url, self._loads)
        late = [gap for stream in self._streams for gap in stream.late_s()]
        return {f"page_{when}_ms": page_ms, f"beat_{when}_ms": quantile(late, 0.99) * 1000}


class HeartbeatStream:
    """One stream whose heartbeats are timed."""

    def __init__(self, server: Watching) -> None:
        token = server.beacon.token("alice", "stream")
        self._answer = requests.get(
            f"{server.beacon.url}{server.path}",
            headers={"Authorization": f"Bearer {token}"},
            stream=True,
            timeout=30,
        )
        self._at: list[float] = []
        threading.Thread(target=self._read, daemon=True).start()

    def begin(self) -> None:
        self._at = []

    def late_s(self) -> list[float]:
        """How far the time between each two heartbeats was from what it should be."""
        heard = list(self._at)
        return [abs(late - early - HEARTBEAT_S) for early, late in pairwise(heard)]

    def _read(self) -> None:
        for line in self._answer.iter_lines(chunk_size=1):
            if line == b"event: heartbeat":
                self._at.append(time.monotonic())


def in_words(v: Values, prefix: str = "") -> str:
    page, beat = ([v[f"{prefix}{what}_{when}_ms"] for when in ("alone", "beside")] for what in ("page", "beat"))
    return f"{page[0]:.0f} -> {page[1]:.0f} ms / {beat[0]:.0f} -> {beat[1]:.0f} ms"
