"""The load client (client.c) from Python: compiled when it has changed, driven over a pipe."""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parent.parent
SOURCE = Path(__file__).with_suffix(".c")
CACHE = ROOT / ".cache" / "bench"
SATURATED = 0.9
OPEN_AT_ONCE = 64
OPEN_S = 120.0


@dataclass(frozen=True, slots=True)
class Window:
    """What all streams together received in one measuring window. A delivery is one event at one client.

    `byes`: streams that were told that the flag is off. Where there were no events, the times are those from the
    beginning of the window to these goodbyes.
    """

    seconds: float
    deliveries: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    client_cpu_s: float
    byes: int = 0

    @property
    def per_s(self) -> float:
        return self.deliveries / self.seconds

    @property
    def client_share(self) -> float:
        """Of one core, over the window."""
        return self.client_cpu_s / self.seconds

    @property
    def saturated(self) -> bool:
        """The client itself was the limit: such a run does not count."""
        return self.client_share >= SATURATED


@dataclass(frozen=True, slots=True)
class Status:
    """The streams of a client. `lost` and `repeated` are counted over all of them, from the start."""

    streaming: int
    complete: int
    lost: int
    repeated: int
    closed: int
    refused: int
    last_status: int
    seconds: float


def compiled() -> Path:
    """The client's program; `cc` runs only when the source is new."""
    program = CACHE / f"client-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]}"
    if not program.exists():
        compiler = shutil.which("cc")
        if compiler is None:
            raise SystemExit("the benchmarks need a C compiler named cc (Debian: sudo apt-get install gcc libc6-dev)")
        CACHE.mkdir(parents=True, exist_ok=True)
        fresh = program.with_suffix(".new")
        subprocess.run([compiler, "-O2", "-o", str(fresh), str(SOURCE)], check=True)
        fresh.rename(program)
    return program


class Client:
    """Used by `with`; ending it closes all its streams. `headers`: a header line a stream, used in turns."""

    def __init__(self, port: int, path: str, headers: Sequence[str] = (), folder: Path | None = None) -> None:
        self._command = [str(compiled()), "127.0.0.1", str(port), path]
        if headers:
            assert folder is not None, "the headers need a folder to lie in"
            file = folder / "headers.txt"
            file.write_text("".join(f"{line}\n" for line in headers))
            self._command.append(str(file))
        self.windows: list[Window] = []

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        process = self._process
        process.kill()
        process.wait(10)
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def open(self, count: int, *, until: str = "head", at_once: int = OPEN_AT_ONCE, within_s: float = OPEN_S) -> Status:
        """Open `count` more streams; `until` is `head` (of the answer) or `sent` (the request)."""
        status = _status(self._ask(f"open {count} {at_once} {until} {within_s}"))
        if until == "head" and status.streaming < count:
            raise RuntimeError(f"only {status.streaming} of {count} streams opened; last status {status.last_status}")
        return status

    def start(self) -> None:
        self._ask("start")

    def stop(self) -> Window:
        found = self._ask("stop")
        window = Window(**{name: found[name] for name in Window.__slots__})
        self.windows.append(window)
        return window

    def status(self) -> Status:
        return _status(self._ask("status"))

    def wait(self, seq: int, within_s: float) -> Status:
        """Until every stream has the event `seq`; `complete` says how many do."""
        return _status(self._ask(f"wait {seq} {within_s}"))

    def small_buffers(self, count: int, size: int) -> None:
        """The first `count` streams get receive buffers of `size` bytes; before they are opened."""
        self._ask(f"buffers {count} {size}")

    def stall(self, count: int) -> None:
        """The first `count` streams stop reading; from now on their latencies do not count."""
        self._ask(f"stall {count}")

    def read_again(self) -> None:
        self._ask("read")

    def reconnect(self) -> None:
        """From now on every stream that ends comes back with its cursor."""
        self._ask("reconnect on")

    def churn(self, cycles: int, *, at_once: int = 8, within_s: float = 120.0) -> tuple[int, int, float]:
        """Connect, wait for the first frame, close; returns cycles done, cycles failed, seconds."""
        found = self._ask(f"churn {cycles} {at_once} {within_s}")
        return found["cycles"], found["failed"], found["seconds"]

    def _ask(self, command: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the load client ended ({self._process.wait(5)}) at: {command}")
        found: dict[str, Any] = json.loads(line)
        return found


def _status(found: dict[str, Any]) -> Status:
    return Status(**{name: found[name] for name in Status.__slots__})
