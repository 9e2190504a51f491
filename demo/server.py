"""One running service: its parts, started and stopped together."""

from dataclasses import dataclass
from pathlib import Path

from demo.app import create_app
from demo.clock import Clock
from demo.faults import FaultRequest, Faults
from demo.ledger import Ledger
from demo.life import TICK_S, Life
from demo.listener import Listener
from demo.profiles import SHOP, Profile, Trouble
from demo.service import Service
from demo.snapshots import INTERVAL_S, Snapshots
from demo.store import Store
from demo.ticker import Delay, Ticker


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """`speed`: how fast the jobs live. `is_quiet`: they move only when told."""

    name: str
    port: int = 0
    speed: float = 1
    seed: int | None = None
    is_quiet: bool = False


class Server:
    """Opens the database and binds the port; `start` answers requests. Raises `UnusableDatabase` or `OSError`."""

    def __init__(self, database: Path, options: ServerOptions, profile: Profile = SHOP) -> None:
        self._store = store = Store(database, Clock())
        life = Life(store, options.speed, options.seed, profile)
        self._is_new = store.is_new()
        if not options.is_quiet:
            life.wake()
        self._snapshots = Snapshots(store)
        self._snapshots.take()
        self._faults = Faults(store, self._snapshots)
        service = Service(options.name, options.speed, store, Ledger(store), self._faults)
        self._listener = Listener(create_app(service), options.port)
        self._faults.port = self._listener
        self._threads: list[Ticker | Delay] = [Ticker("snapshots", INTERVAL_S, self._snapshots.take)]
        if not options.is_quiet:
            self._threads += [Ticker("life", TICK_S, life.tick), *self._plan_trouble(profile.trouble)]

    @property
    def url(self) -> str:
        return self._listener.url

    def start(self) -> None:
        self._listener.listen()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        for thread in self._threads:
            thread.stop()
        self._listener.close()
        self._snapshots.close()
        self._store.close()

    def _plan_trouble(self, trouble: Trouble | None) -> list[Delay]:
        if trouble is None or (trouble.is_once and not self._is_new):
            return []
        fault = FaultRequest(mode=trouble.mode, seconds=trouble.seconds, loseJobs=trouble.lose_jobs)
        return [Delay("trouble", trouble.after_s, lambda: self._faults.set(fault))]
