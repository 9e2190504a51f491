"""The proxy examples of deploy/ as they stand, on ports of the tests: only names, addresses and paths are replaced."""

import os
import subprocess
import sysconfig
from pathlib import Path

from scripts.bootstrap import DEBIAN, find_program
from tests.support.beacon_server import ROOT
from tests.support.front import Front
from tests.support.ports import free_port

PROXIES = ROOT / "deploy" / "proxies"
NGINX, HAPROXY = find_program("nginx"), find_program("haproxy")
CADDY = Path(sysconfig.get_path("scripts")) / "caddy"
UPSTREAM = "127.0.0.1:8000"
NGINX_AROUND = """
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/log warn;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  include {folder}/beacon.conf;
}}
"""


# Its own options, which allow no second Caddy on this machine, and a certificate in place of a public one.
CADDY_SITE = """{{
  admin off
  persist_config off
  auto_https disable_redirects
  storage file_system {folder}
}}
https://127.0.0.1:{port} {{
  bind 127.0.0.1
  tls {cert} {key}"""


class Example(Front):
    """An example with `changes`, each of which must be in it, over TLS."""

    scheme = "https"
    file = ""

    def __init__(self, folder: Path, upstream: int, certificate: tuple[Path, Path]) -> None:
        super().__init__(folder, "log")
        self.trusted = str(certificate[0])
        self._plain = free_port()
        text = (PROXIES / self.file).read_text()
        for old, new in {UPSTREAM: f"127.0.0.1:{upstream}", **self._changes(certificate)}.items():
            assert old in text, f"{self.file} has no {old!r}"
            text = text.replace(old, new)
        (folder / self.file).write_text(text)

    def _changes(self, certificate: tuple[Path, Path]) -> dict[str, str]:
        raise NotImplementedError

    def _spawn(self, *command: str | Path, **environment: str) -> "subprocess.Popen[bytes]":
        with self._log.open("wb") as log:
            return subprocess.Popen(list(map(str, command)), stdout=log, stderr=log, env={**os.environ, **environment})


class Nginx(Example):
    file = "nginx.conf"

    def _changes(self, certificate: tuple[Path, Path]) -> dict[str, str]:
        user = "user root;" if os.geteuid() == 0 else ""
        (self._folder / "around.conf").write_text(NGINX_AROUND.format(user=user, folder=self._folder))
        return {
            "listen 80;": f"listen 127.0.0.1:{self._plain};",
            "listen 443 ssl": f"listen 127.0.0.1:{self.port} ssl",
            "/etc/ssl/beacon/cert.pem": str(certificate[0]),
            "/etc/ssl/beacon/key.pem": str(certificate[1]),
        }

    def _start(self) -> "subprocess.Popen[bytes]":
        (self._folder / "nginx.conf").rename(self._folder / "beacon.conf")
        place = ["-p", self._folder, "-c", self._folder / "around.conf", "-e", self._log]
        return self._spawn(str(NGINX), *place)


class Caddy(Example):
    file = "Caddyfile"

    def _changes(self, certificate: tuple[Path, Path]) -> dict[str, str]:
        cert, key = certificate
        values = {"folder": self._folder, "port": self.port, "cert": cert, "key": key}
        return {"beacon.example.com {": CADDY_SITE.format(**values)}

    def _start(self) -> "subprocess.Popen[bytes]":
        config = self._folder / self.file
        return self._spawn(CADDY, "run", "--adapter", "caddyfile", "--config", config, HOME=str(self._folder))


class HAProxy(Example):
    file = "haproxy.cfg"

    def _changes(self, certificate: tuple[Path, Path]) -> dict[str, str]:
        both = self._folder / "beacon.pem"
        both.write_text(certificate[0].read_text() + certificate[1].read_text())
        return {
            "bind :80": f"bind 127.0.0.1:{self._plain}",
            "bind :443": f"bind 127.0.0.1:{self.port}",
            "/etc/haproxy/certs/beacon.pem": str(both),
        }

    def _start(self) -> "subprocess.Popen[bytes]":
        libraries = os.pathsep.join(map(str, (DEBIAN / "haproxy" / "usr" / "lib").glob("*-linux-gnu")))
        return self._spawn(str(HAPROXY), "-f", self._folder / self.file, LD_LIBRARY_PATH=libraries)
