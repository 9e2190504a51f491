"""A proxy that others wrote, in front of a server of a test: started and ended with the block."""

import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

import requests

from tests.support.machine import scaled
from tests.support.ports import free_port
from tests.support.waiting import wait_for


class Front(ABC):
    """`log` is where the program says why it ended; `trusted` is what `requests` takes as `verify`; `below` is the path
    below which Beacon is found."""

    scheme = "http"
    trusted: str | bool = True
    below = ""

    def __init__(self, folder: Path, log: str) -> None:
        folder.mkdir()
        self._folder, self._log = folder, folder / log
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}{self.below}"

    @abstractmethod
    def _start(self) -> "subprocess.Popen[bytes]": ...

    def __enter__(self) -> Self:
        self._process = self._start()
        wait_for(self._answers, f"{type(self).__name__} to answer")
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(scaled(10))

    def _answers(self) -> bool:
        assert self._process
        assert self._process.poll() is None, self._log.read_text()
        try:
            return requests.get(f"{self.url}/healthz", verify=self.trusted, timeout=scaled(5)).ok
        except requests.RequestException:
            return False
