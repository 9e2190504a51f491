"""A real nginx in front of a server, with the lines that usual guides give, on ports of its own."""

import os
import subprocess
from pathlib import Path

from scripts.bootstrap import find_program
from tests.support.front import Front

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
    location / {{
      proxy_pass http://127.0.0.1:{upstream};
      proxy_bind {address};
      {upstream_lines}
      {lines}
    }}
  }}
}}
"""


class Nginx(Front):
    """`with Nginx(folder, upstream_port) as nginx`: ended with the block. `certificate` makes it speak TLS."""

    def __init__(
        self,
        folder: Path,
        upstream: int,
        *,
        lines: str = USUAL_LINES,
        upstream_lines: str = FOR_STREAMS,
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        super().__init__(folder, "error.log")
        if certificate:
            self.scheme, self.trusted = "https", str(certificate[0])
        tls = (
            f" ssl;\n    ssl_certificate {certificate[0]};\n    ssl_certificate_key {certificate[1]}"
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
        }
        (folder / "nginx.conf").write_text(CONFIGURATION.format(**values))

    def _start(self) -> "subprocess.Popen[bytes]":
        assert PROGRAM
        place = ["-p", str(self._folder), "-c", str(self._folder / "nginx.conf"), "-e", str(self._log)]
        return subprocess.Popen([PROGRAM, *place])
