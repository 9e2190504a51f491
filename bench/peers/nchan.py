"""nginx with the nchan module: events in its shared memory, no log, no credentials."""

import os
import shutil
import subprocess
from pathlib import Path

from bench import processes
from bench.client import Client
from bench.peers.ours import VENV_PYTHON
from bench.peers.server import Server
from bench.publishing import Publisher
from tests.support.ports import free_port

MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
HOW_TO = "nginx with nchan is not installed (Debian: sudo apt-get install nginx libnginx-mod-nchan)"
CONFIGURATION = """
load_module {module};
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 16000; }}
http {{
  access_log off;
  keepalive_requests 100000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  nchan_shared_memory_size 256M;
  nchan_message_buffer_length 5000;
  nchan_message_timeout 60s;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location = /publish {{ nchan_publisher; nchan_channel_id bench; }}
    location = /events {{
      nchan_subscriber eventsource;
      nchan_channel_id bench;
      nchan_subscriber_first_message newest;
      nchan_eventsource_ping_interval 15;
    }}
  }}
}}
"""


class Nchan(Server):
    name = "nchan"

    def start(self) -> None:
        self.port = free_port()
        file = self.folder / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""
        file.write_text(CONFIGURATION.format(module=MODULE, user=user, folder=self.folder, port=self.port))
        command = [_nginx(), "-p", str(self.folder), "-c", str(file), "-e", str(self.folder / "error.log")]
        self.worker = processes.wait_for_child(self._spawn(command, self.port))

    @classmethod
    def missing(cls) -> str:
        return "" if _nginx() and MODULE.exists() else HOW_TO

    def client(self) -> Client:
        return Client(self.port, "/events")

    def publisher(self) -> Publisher:
        return Publisher(VENV_PYTHON, ["nchan", str(self.port)])


def _nginx() -> str:
    return shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin") or ""


def install() -> None:
    """As root on Debian: nginx with nchan, not left running; elsewhere nothing happens."""
    if not Nchan.missing() or os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    packages = ["nginx", "libnginx-mod-nchan"]
    for command in (
        ["apt-get", "-qq", "update"],
        ["apt-get", "-qq", "install", "-y", "--no-install-recommends", *packages],
        ["service", "nginx", "stop"],
    ):
        subprocess.run(command, check=False, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
