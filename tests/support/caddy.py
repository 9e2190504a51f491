"""A real Caddy in front of a server, which compresses whatever it may."""

import subprocess
import sysconfig
from pathlib import Path
from types import TracebackType
from typing import Self

import requests

from tests.support.beacon_server import free_port
from tests.support.machine import scaled
from tests.support.waiting import wait_for

PROGRAM = Path(sysconfig.get_path("scripts")) / "caddy"
CONFIGURATION = """{{
  admin off
  auto_https off
  persist_config off
  storage file_system {folder}
}}
http://127.0.0.1:{port} {{
  encode zstd gzip
  reverse_proxy 127.0.0.1:{upstream}
}}
"""


class Caddy:
    """`with Caddy(folder, upstream_port) as caddy`: ended with the block."""

    def __init__(self, folder: Path, upstream: int) -> None:
        self._folder = folder
        self.port = free_port()
        folder.mkdir()
        (folder / "Caddyfile").write_text(CONFIGURATION.format(folder=folder, port=self.port, upstream=upstream))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        command = [str(PROGRAM), "run", "--adapter", "caddyfile", "--config", str(self._folder / "Caddyfile")]
        with (self._folder / "caddy.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env={"HOME": str(self._folder)})
        wait_for(self._answers, "Caddy to answer")
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(scaled(10))

    def _answers(self) -> bool:
        assert self._process
        assert self._process.poll() is None, (self._folder / "caddy.log").read_text()
        try:
            return requests.get(f"{self.url}/healthz", timeout=scaled(5)).ok
        except requests.RequestException:
            return False
