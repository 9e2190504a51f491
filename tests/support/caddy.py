"""A real Caddy in front of a server, which compresses whatever it may."""

import subprocess
import sysconfig
from pathlib import Path

from tests.support.front import Front

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


class Caddy(Front):
    """`with Caddy(folder, upstream_port) as caddy`: ended with the block."""

    def __init__(self, folder: Path, upstream: int) -> None:
        super().__init__(folder, "caddy.log")
        (folder / "Caddyfile").write_text(CONFIGURATION.format(folder=folder, port=self.port, upstream=upstream))

    def _start(self) -> "subprocess.Popen[bytes]":
        command = [str(PROGRAM), "run", "--adapter", "caddyfile", "--config", str(self._folder / "Caddyfile")]
        with self._log.open("wb") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env={"HOME": str(self._folder)})
