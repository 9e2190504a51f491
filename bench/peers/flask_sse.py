"""Flask-SSE on gunicorn's gevent worker, through Valkey: a greenlet and a Valkey connection for each stream."""

from bench import processes
from bench.client import Client
from bench.peers.server import PEERS, PYTHON, ROOT, Server, peers_missing
from bench.publishing import Publisher
from bench.valkey import find_valkey, valkey_command
from tests.support.ports import free_port
from tests.support.waiting import wait_for

SETTLE_S = 60.0


class FlaskSse(Server):
    """Its answers have no head before the first event, so streams are ready when a first event reached them all."""

    name = "flask-sse"
    until = "sent"

    def start(self) -> None:
        self._url = self._start_valkey()
        self.port = free_port()
        options = ["--worker-class", "gevent", "--worker-connections", "20000", "--no-control-socket"]
        where = ["--pythonpath", str(ROOT), "--bind", f"127.0.0.1:{self.port}"]
        command = [str(PYTHON), "-m", "gunicorn", *options, *where, "bench.peers.flask_sse_app:app"]
        self.worker = processes.wait_for_child(self._spawn(command, self.port, REDIS_URL=self._url))

    @classmethod
    def missing(cls) -> str:
        return peers_missing() or ("" if find_valkey(PEERS) else "no Valkey server for this kind of machine")

    def client(self) -> Client:
        return Client(self.port, "/events")

    def publisher(self) -> Publisher:
        return Publisher(str(PYTHON), ["flask-sse", self._url])

    def open(self, client: Client, publisher: Publisher, count: int) -> None:
        """An event is heard only by who has subscribed already: one a quarter second until all have heard one."""
        client.open(count, until="sent")

        def all_stream() -> bool:
            publisher.publish(1)
            return client.wait(publisher.last, 0.25).streaming >= count

        wait_for(all_stream, f"{count} streams", SETTLE_S)

    def _start_valkey(self) -> str:
        port = free_port()
        command = valkey_command(find_valkey(PEERS), port, self.folder)
        self._spawn([*command, "--maxclients", "12000"], port)
        return f"redis://127.0.0.1:{port}/0"
