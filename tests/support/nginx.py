"""A real nginx in front of a server, with the lines that usual guides give, on ports of its own."""

import os
import shutil
import subprocess
from pathlib import Path

from scripts.bootstrap import NGINX_PATH
from tests.support.front import Front

PROGRAM = shutil.which("nginx", path=NGINX_PATH)
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
# Beacon below a path: nginx takes it off where `proxy_pass` ends with a slash.
PREFIXED_LINES = f"{USUAL_LINES}proxy_set_header X-Forwarded-Prefix /beacon;\n"
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
        (folder / "nginx.conf").write_text(CONFIGURATION.format(**values))

    def _start(self) -> "subprocess.Popen[bytes]":
        assert PROGRAM
        place = ["-p", str(self._folder), "-c", str(self._folder / "nginx.conf"), "-e", str(self._log)]
        return subprocess.Popen([PROGRAM, *place])
