"""A real nginx in front of a server, with the lines that usual guides give, on ports of its own."""

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from scripts.bootstrap import find_program
from tests.support.front import Front
from tests.support.processes import children
from tests.support.waiting import wait_for

PROGRAM = find_program("nginx")
# Where it comes from, which is not where its clients in the tests come from.
ADDRESS = "127.0.0.2"
# What the guides of nginx, Flask and gunicorn tell to write.
USUAL_LINES = """
proxy_set_header Host $host;
proxy_set_header X-Real-IP $remote_addr;
proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
proxy_set_header X-Forwarded-Proto $scheme;
"""
# What they tell to write where there are streams.
FOR_STREAMS = """
proxy_http_version 1.1;
proxy_buffering off;
"""
# What holds back the first 700 kB of a stream, although Beacon asks not to. By HTTP/1.0, as nginx asks by default: of a
# body in chunks nginx passes on each.
HOLDING_BACK = """
proxy_ignore_headers X-Accel-Buffering;
proxy_buffer_size 700k;
proxy_buffers 2 700k;
proxy_busy_buffers_size 700k;
"""
# Publishers send up to 8 MiB. More must be refused by nginx: it takes an early refusal of Beacon's for a failure (502).
BODY_LINE = "client_max_body_size 8m;\n"
# Every header that counts is set or removed, so that nothing a client sends is passed on (docs/deployment.md).
STRICT_LINES = """
proxy_set_header Host $http_host;
proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
proxy_set_header X-Forwarded-Proto $scheme;
proxy_set_header X-Forwarded-Host $http_host;
proxy_set_header X-Forwarded-Port $server_port;
"""
ROOT_LINES = f'{STRICT_LINES}proxy_set_header X-Forwarded-Prefix "";\n{BODY_LINE}'
PREFIXED_LINES = f"{STRICT_LINES}proxy_set_header X-Forwarded-Prefix /beacon;\n{BODY_LINE}"
CONFIGURATION = """
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port}{tls};
    location {below}/ {{
      proxy_pass http://127.0.0.1:{upstream}{stripped};
      proxy_bind {address};
      {upstream_lines}
      {lines}
    }}
  }}
}}
"""


class Nginx(Front):
    """`with Nginx(folder, upstream_port) as nginx`: ended with the block. `certificate` makes it speak TLS and HTTP/2;
    `below` is the path below which Beacon is found, and `strips` says whether nginx removes it."""

    def __init__(
        self,
        folder: Path,
        upstream: int,
        *,
        lines: str = USUAL_LINES,
        upstream_lines: str = FOR_STREAMS,
        certificate: tuple[Path, Path] | None = None,
        http2: bool = True,
        below: str = "",
        strips: bool = True,
    ) -> None:
        super().__init__(folder, "error.log")
        if certificate:
            self.scheme, self.trusted = "https", str(certificate[0])
        self.below = below
        protocols = " ssl http2" if http2 else " ssl"
        tls = (
            f"{protocols};\n    ssl_certificate {certificate[0]};\n    ssl_certificate_key {certificate[1]}"
            if certificate
            else ""
        )
        user = "user root;" if os.geteuid() == 0 else ""
        values = {
            "folder": folder,
            "port": self.port,
            "upstream": upstream,
            "tls": tls,
            "user": user,
            "lines": lines,
            "upstream_lines": upstream_lines,
            "address": ADDRESS,
            "below": below,
            "stripped": "/" if below and strips else "",
        }
        self._values = values
        self._write()

    def change(self, *, upstream_lines: str) -> None:
        """Of connections that are opened from now on; those that are open end."""
        assert self._process
        self._values["upstream_lines"] = upstream_lines
        self._write()
        before = children(self._process.pid)
        self._process.send_signal(signal.SIGHUP)
        wait_for(lambda: self._process and set(children(self._process.pid)) - set(before), "a new worker of nginx")
        for pid in before:  # it would wait for its streams
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        wait_for(lambda: self._process and not set(children(self._process.pid)) & set(before), "the end of the old one")

    def _write(self) -> None:
        (self._folder / "nginx.conf").write_text(CONFIGURATION.format(**self._values))

    def _start(self) -> "subprocess.Popen[bytes]":
        assert PROGRAM
        place = ["-p", str(self._folder), "-c", str(self._folder / "nginx.conf"), "-e", str(self._log)]
        return subprocess.Popen([PROGRAM, *place])
