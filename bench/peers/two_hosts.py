"""Two hosts of Beacon with two workers each, on one real PostgreSQL, all on this machine."""

import os
import signal
from pathlib import Path
from typing import Any, ClassVar

from bench.client import Client
from bench.peers.ours import SETTINGS, Ours
from tests.support.beacon_server import Beacon
from tests.support.postgres import Postgres
from tests.support.postgres_host import PostgresHost

WORKERS = 2


class OneHost(Ours):
    """On SQLite, with as many workers as each of the two."""

    settings: ClassVar[dict[str, Any]] = {**SETTINGS, "WORKERS": WORKERS}

    def clients(self) -> list[Client]:
        return [self.client()]


class TwoHosts(Ours):
    """Publishers talk to the first host, `beacon`; each of the `clients` to one of the two."""

    settings = OneHost.settings

    def __init__(self, folder: Path) -> None:
        self._postgres = Postgres()
        self._address = self._postgres.migrated_database()
        try:
            super().__init__(folder)
            self.second = PostgresHost(folder / "second", self._address, **self.settings)
        except BaseException:
            self._postgres.remove()
            raise

    def _make_beacon(self) -> Beacon:
        return PostgresHost(self.folder / "first", self._address, **self.settings)

    def start(self) -> None:
        super().start()
        self.second.start()

    def stop(self) -> None:
        for host in (self.beacon, self.second):
            host.end()
        self._postgres.remove()

    def clients(self) -> list[Client]:
        return [self._client(host) for host in (self.beacon, self.second)]

    def kill_second(self) -> None:
        """All processes of the second host at once."""
        pids = [self.second.master_pid, *self.second.worker_pids(), *self.second.background_pids()]
        for pid in (self.second.supervisor_pid, *pids):
            os.kill(pid, signal.SIGKILL)

    def _client(self, host: Beacon) -> Client:
        folder = self.folder / f"client-{host.port}"
        folder.mkdir(exist_ok=True)
        return Client(host.port, self.path, self._headers, folder)
