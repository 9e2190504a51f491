"""sse-starlette on uvicorn with uvloop: a queue in memory for each subscriber, no log, no credentials."""

from bench.client import Client
from bench.peers.server import PYTHON, ROOT, Server, peers_missing
from bench.publishing import Publisher
from tests.support.ports import free_port


class Starlette(Server):
    name = "sse-starlette"

    def start(self) -> None:
        self.port = free_port()
        options = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--backlog", "4096"]
        command = [str(PYTHON), "-m", "uvicorn", "--app-dir", str(ROOT), "--port", str(self.port), *options]
        self.worker = self._spawn([*command, "bench.peers.starlette_app:app"], self.port)

    @classmethod
    def missing(cls) -> str:
        return peers_missing()

    def client(self) -> Client:
        return Client(self.port, "/events")

    def publisher(self) -> Publisher:
        return Publisher(str(PYTHON), ["starlette", str(self.port)])
