"""A real Beacon for tests: what `beacon serve` starts, on a free port, over a temporary instance folder."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import requests
from flask import Flask

from app import create_app
from app.accounts import users
from app.cli import processes
from app.config import Settings
from app.db import db, read, write
from app.eventlog.reader import head
from app.flags import embedded
from app.flags.evaluation import Flag
from app.infra import database_upgrade
from app.reconciliation import registry
from tests.support.application import database_path, stop
from tests.support.fork_server import ForkedServer, ForkServer
from tests.support.machine import scaled
from tests.support.ports import free_port
from tests.support.processes import children, command_line, is_zombie, stopped
from tests.support.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "gunicorn.conf.py"
PASSWORD = "correct horse battery"
PEOPLE = {"alice": "viewer", "bob": "operator", "charlie": "viewer", "pia": "product", "ada": "admin"}
START_S = 30.0
# For tests that are about something else than the bounds on one user.
ROOMY = {"MAX_STREAMS_PER_USER": 10_000, "CONNECT_RATE_PER_USER": 100_000, "PUBLISH_RATE_PER_USER": 100_000}

T = TypeVar("T")


class Beacon:
    """Started by `with Beacon(folder) as beacon`; `environment` holds further settings without their prefix.

    `background`: how many processes of `beacon worker` run; none, where nothing is polled and no command is run.
    `setup` is a module that each of them imports first, where they are forked.
    """

    SCHEME = "http"
    fork_server: ForkServer | None = None  # where there is one, servers are forked from it

    def __init__(
        self,
        folder: Path,
        *,
        streaming: int = 100,
        config: Path = CONFIG,
        background: int = 1,
        setup: str = "",
        **environment: Any,
    ) -> None:
        self.folder = folder
        self._config, self._background, self._setup = config, background, setup
        self.port = free_port()
        self.url = f"{self.SCHEME}://127.0.0.1:{self.port}"
        self.log = folder / "beacon.log"
        self._environment = {
            "BEACON_INSTANCE_DIR": str(folder),
            "BEACON_PORT": str(self.port),
            "BEACON_HEARTBEAT_S": "1",
            "BEACON_DRAIN_S": "5",
            **{f"BEACON_{name}": str(value) for name, value in ROOMY.items()},
            **{f"BEACON_{name}": str(value) for name, value in environment.items()},
        }
        self._process: subprocess.Popen[bytes] | ForkedServer | None = None
        self._workers: list[ForkedServer] = []
        self._tokens: dict[tuple[str, ...], str] = {}
        self._browsers: list[requests.Session] = []
        self.app = self._prepare(streaming)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop()

    @property
    def database(self) -> Path:
        return self.folder / "beacon.db"

    def start(self) -> None:
        environment = self.environment
        if self.fork_server:
            self._process = self.fork_server.start(self._config, environment, self.log)
            for _ in range(self._background):
                self._workers.append(self.fork_server.start_worker(self._setup, environment, self.log))
        else:
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    self._command(), cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
                )
        wait_for(self.is_ready, f"a ready server; its log: {self.log_text()[-2000:]}", START_S, every_s=0.05)

    def _command(self) -> list[str]:
        web = [sys.executable, "-m", "gunicorn", "--config", str(self._config)]
        assert self._background <= 1, "the supervisor has one"
        assert not self._setup, "only for forked servers"
        if not self._background:
            return web
        return processes.serve_command(Settings(drain_s=float(self._environment["BEACON_DRAIN_S"])), web)

    @property
    def environment(self) -> dict[str, str]:
        """Of its processes."""
        mine = {name: value for name, value in os.environ.items() if not name.startswith("BEACON_")}
        return mine | self._environment

    def stop(self, sig: int = signal.SIGTERM, within_s: float = 20.0) -> None:
        """Ended by the signal within so many seconds of a quiet machine."""
        process = self._process
        self._let_go()
        if process is None:
            return
        try:
            for each in (process, *self._workers):
                with suppress(ProcessLookupError):  # a test may have killed it
                    each.send_signal(sig)
            for each in (process, *self._workers):
                each.wait(scaled(within_s))
        finally:
            self.kill()

    def signal(self, sig: int) -> None:
        """To gunicorn's master; what comes of it is for the test to see."""
        os.kill(self.master_pid, sig)

    def kill(self) -> None:
        """SIGKILL to all processes at once, as a crash of the machine would be."""
        assert self._process is not None
        for each in (self._process, *self._workers):
            self._kill_group(each.pid)
        for each in (self._process, *self._workers):
            each.wait(scaled(5))
        self._process, self._workers = None, []

    def end(self) -> None:
        """The quickest way out, for tests that are not about stopping."""
        self._let_go()
        if self._process is not None:
            self.kill()

    def is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"gunicorn ended: {self.log_text()[-3000:]}"
        try:
            return requests.get(f"{self.url}/readyz", timeout=scaled(2)).status_code == 200
        except requests.RequestException:
            return False

    @property
    def master_pid(self) -> int:
        """gunicorn's master."""
        assert self._process is not None
        if not self._is_supervised:
            return self._process.pid
        return next(pid for pid in children(self._process.pid) if "gunicorn" in command_line(pid))

    @property
    def supervisor_pid(self) -> int:
        assert self._process is not None
        assert self._is_supervised
        return self._process.pid

    @property
    def _is_supervised(self) -> bool:
        return bool(self._background) and isinstance(self._process, subprocess.Popen)

    def worker_pids(self) -> list[int]:
        """The living web workers, from the kernel."""
        return [pid for pid in children(self.master_pid) if not is_zombie(pid)]

    def background_pids(self) -> list[int]:
        """The living processes of `beacon worker`."""
        if not self._is_supervised:
            return [pid for keeper in self._workers for pid in children(keeper.pid) if not is_zombie(pid)]
        return [pid for pid in children(self.supervisor_pid) if "gunicorn" not in command_line(pid)]

    def each_worker_alone(self) -> Iterator[int]:
        """The others are stopped meanwhile, so that this one accepts every new connection; else the kernel chooses."""
        workers = self.worker_pids()
        for pid in workers:
            with ExitStack() as stack:
                for other in workers:
                    if other != pid:
                        stack.enter_context(stopped(other))
                yield pid

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def token(self, user: str, *scopes: str) -> str:
        """An API token of one of PEOPLE; the same one for the same question."""
        key = (user, *sorted(scopes))
        if key not in self._tokens:
            with self.app.app_context(), write() as session:
                self._tokens[key] = users.add_token(session, user, list(scopes), None, "test")[1]
        return self._tokens[key]

    def bearer(self, user: str, *scopes: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(user, *scopes)}"}

    def publish(self, events: Sequence[dict[str, Any]]) -> list[int]:
        answer = requests.post(
            f"{self.url}/api/events", json=list(events), headers=self.bearer("ada", "publish"), timeout=scaled(10)
        )
        assert answer.status_code == 201, answer.text
        ids: list[int] = answer.json()["ids"]
        return ids

    def say(self, text: str, severity: str = "warning", minutes: float = 30) -> str:
        """An operator's message to everyone; says its id."""
        ends = datetime.now(UTC) + timedelta(minutes=minutes)
        message = {"text": text, "severity": severity, "expiresAt": ends.isoformat()}
        headers = self.bearer("bob", "command")
        answer = requests.post(f"{self.url}/api/flash", json=message, headers=headers, timeout=scaled(10))
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def log_in(self, user: str) -> requests.Session:
        """A browser's session: the form with its CSRF token, as a person would send it."""
        browser = requests.Session()
        browser.headers["Connection"] = "close"  # a server that many tests share keeps no socket of one of them
        self._browsers.append(browser)
        form = browser.get(f"{self.url}/login", timeout=scaled(10)).text
        found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', form)
        assert found, form
        data = {"username": user, "password": PASSWORD, "csrf_token": found[1]}
        answer = browser.post(f"{self.url}/login", data=data, timeout=scaled(10), allow_redirects=False)
        assert answer.status_code == 303, answer.text
        browser.headers["Accept"] = "text/html"
        return browser

    def set_rollout(self, percentage: int, *, enabled: bool = True) -> None:
        with self.app.app_context(), write() as session:
            embedded.change_rollout(session, Flag.SSE_STREAMING, "test", "a test", percentage, enabled)

    def watch(self, service_id: str, url: str, name: str = "", kind: str = "palantir") -> None:
        with self.app.app_context(), write() as session:
            registry.add(session, id=service_id, name=name or service_id, kind=kind, url=url)

    def sql(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Straight into the database, as another program would."""
        with closing(sqlite3.connect(self.database, timeout=scaled(10))) as connection, connection:
            rows: list[tuple[Any, ...]] = connection.execute(statement, parameters).fetchall()
        return rows

    def _prepare(self, streaming: int) -> Flask:
        """The database with its people, in this process; nothing of it is started here."""
        settings = Settings(instance_dir=self.folder)
        fresh = not self.database.exists()
        if fresh:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.database.touch(mode=0o600)
            self.database.write_bytes(_first_database())
        app = create_app(settings)
        if fresh:
            with app.app_context(), write() as session:
                embedded.change_rollout(session, Flag.SSE_STREAMING, "test", "a test", streaming)
        return app

    def head(self) -> int:
        with self.app.app_context(), read() as session:
            return head(session)

    def _let_go(self) -> None:
        while self._browsers:
            self._browsers.pop().close()
        with self.app.app_context():
            db.engine.dispose()  # which opens again for whoever looks afterwards

    @staticmethod
    def _kill_group(leader: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(leader, signal.SIGKILL)


@cache
def _first_database() -> bytes:
    """A migrated SQLite file with PEOPLE in it: what every server of this process begins with."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(instance_dir=Path(folder))
        app = create_app(settings)
        database_upgrade.migrate_database(app, settings)
        with app.app_context(), write() as session:
            for name, role in PEOPLE.items():
                users.add(session, name, role, PASSWORD, "test")
        stop(app)
        return database_path(settings).read_bytes()


def servers(folder: Path, end: Callable[[Beacon], None], **usual: Any) -> Iterator[Callable[..., Beacon]]:
    """The body of a fixture: `start(WORKERS=2)` gives a server of one test's own, and each is ended by `end`."""
    running: list[Beacon] = []

    def start(**settings: Any) -> Beacon:
        beacon = Beacon(folder / f"beacon{len(running)}", **(usual | settings))
        running.append(beacon)
        beacon.start()
        return beacon

    yield start
    for beacon in running:
        end(beacon)


@contextmanager
def write_lock(database: Path) -> Iterator[None]:
    """Another process holds SQLite's write lock for the length of the block."""
    code = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); "
        "c.execute('BEGIN IMMEDIATE'); print('held', flush=True); sys.stdin.read(); c.execute('ROLLBACK')"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdin
    assert holder.stdout
    assert holder.stdout.readline() == b"held\n"
    try:
        yield
    finally:
        holder.stdin.close()
        holder.wait(scaled(5))
        holder.stdout.close()
