"""What the benchmarks ask of every server, and where the peers' environment is."""

import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Literal, Self

from bench import processes
from bench.client import Client
from bench.publishing import Publisher

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / ".cache" / "peers"  # scripts/bootstrap.py makes it from requirements/bench.lock
PYTHON = PEERS / "bin" / "python"


class Server(ABC):
    """Started by `with`; `folder` is its own and temporary."""

    name: ClassVar[str]
    until: ClassVar[Literal["head", "sent"]] = "head"
    port: int
    worker: int
    """The process that serves: its CPU and memory are measured."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:  # Ctrl-C too: half a server must not stay behind
            self.stop()
            raise
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop()

    @classmethod
    def missing(cls) -> str:
        """Why it cannot run here, as a sentence for the reader; empty where it can."""
        return ""

    @abstractmethod
    def start(self) -> None: ...

    def stop(self) -> None:
        while self._started:
            processes.end(self._started.pop())

    @abstractmethod
    def client(self) -> Client: ...

    @abstractmethod
    def publisher(self) -> Publisher: ...

    def open(self, client: Client, publisher: Publisher, count: int) -> None:  # noqa: ARG002 -- one of them needs it
        """Open `count` streams, all of them ready for events when this returns."""
        client.open(count, until=self.until)

    def _spawn(self, command: Sequence[str], port: int, **environment: str) -> int:
        """Start a process that is to listen on `port`; its pid, once it does."""
        log = self.folder / f"{Path(command[0]).name}.log"
        process = processes.start(command, log, environment)
        self._started.append(process)
        processes.wait_for_port(port, process, log)
        return process.pid


def peers_missing() -> str:
    return "" if PYTHON.exists() else "its packages are not installed (make bench installs them)"
