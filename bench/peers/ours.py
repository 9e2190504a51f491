"""Beacon with all of its features on: tokens, audiences, the log in SQLite, publishing over HTTP."""

from pathlib import Path
from typing import Any, ClassVar

from app.accounts import users
from app.accounts.models import User
from app.db import write
from app.infra.clock import utc_text
from bench.client import Client
from bench.peers.server import Server
from bench.publishing import Publisher
from tests.support.beacon_server import ROOT, Beacon
from tests.support.waiting import wait_for

ROLES = ("viewer", "operator", "product", "admin")
VENV_PYTHON = str(ROOT / ".venv" / "bin" / "python")
# The bounds per worker and per user are set above what is measured: they protect, and are not what is asked about.
SETTINGS: dict[str, Any] = {
    "HEARTBEAT_S": 15,
    "DRAIN_S": 0,
    "MAX_STREAMS": 20_000,
    "MAX_STREAMS_PER_USER": 20_000,
    "CONNECT_RATE_PER_USER": 100_000,
    "PUBLISH_RATE_PER_USER": 100_000,
}


class Ours(Server):
    """`beacon` is the deployment: what `beacon serve` starts, with one web worker, which is `worker`.

    `readers`: so many people share the streams.
    """

    name = "ours"
    readers: ClassVar[int] = 50
    settings: ClassVar[dict[str, Any]] = SETTINGS
    path = "/api/stream/events"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.beacon = self._make_beacon()
        self.port = self.beacon.port
        self._headers = [f"Authorization: Bearer {token}" for token in self._reader_tokens()]

    def _make_beacon(self) -> Beacon:
        return Beacon(self.folder, **self.settings)

    def start(self) -> None:
        self.beacon.start()
        self.worker = self.beacon.worker_pids()[0]
        wait_for(self.beacon.background_pids, "the process that polls")
        self.background = self.beacon.background_pids()[0]

    def stop(self) -> None:
        self.beacon.stop()

    @property
    def idle_processes(self) -> tuple[int, ...]:
        """All but the web worker."""
        return self.beacon.supervisor_pid, self.beacon.master_pid, self.background

    def client(self) -> Client:
        return Client(self.port, self.path, self._headers, self.folder)

    def publisher(self) -> Publisher:
        return Publisher(VENV_PYTHON, ["beacon", str(self.port), self.beacon.token("ada", "publish")])

    def inserter(self) -> Publisher:
        """Writes rows straight into the event table, as another program would."""
        return Publisher(VENV_PYTHON, ["table", str(self.beacon.database)])

    def _reader_tokens(self) -> list[str]:
        """A stream token for each of the readers, of all roles, so that audiences differ. They have no password."""
        names = [f"reader{number}" for number in range(self.readers)]
        with self.beacon.app.app_context(), write() as session:
            for place, name in enumerate(names):
                role = ROLES[place % len(ROLES)]
                session.add(User(name=name, role=role, password_hash="none", created_at=utc_text()))
            session.flush()
            return [users.add_token(session, name, ["stream"], None, "bench")[1] for name in names]
