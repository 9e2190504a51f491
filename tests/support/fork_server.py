"""A process that has imported Beacon and forks into gunicorn: a server then starts for a fifth of the processor time.

What runs is the same gunicorn with the same configuration; only the imports are done once for many servers. Tests in
`browser` and `live` use it; `live/test_make_run.py` starts a server as people do, and the contract's own servers are
started with `python -m gunicorn`.
"""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class ForkedServer:
    """A server that is not this process's own child: `subprocess.Popen`, as far as tests of servers need it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._descriptor = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """None while it runs; how it ended is not known here."""
        return 0 if self._has_ended(0.0) else None

    def wait(self, timeout: float) -> int:
        if not self._has_ended(timeout):
            raise subprocess.TimeoutExpired("gunicorn", timeout)
        return 0

    def send_signal(self, number: int) -> None:
        signal.pidfd_send_signal(self._descriptor, number)

    def _has_ended(self, within_s: float) -> bool:
        watch = select.poll()
        watch.register(self._descriptor, select.POLLIN)
        return bool(watch.poll(within_s * 1000))

    def __del__(self) -> None:
        os.close(self._descriptor)


class ForkServer:
    """Used by one thread; ends with `close()`, or with the process that made it."""

    def __init__(self) -> None:
        # Made here and not by the process, which may still import when the first test begins.
        self._templates = tempfile.mkdtemp()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.fork_server", self._templates],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # an interrupt of the tests ends the servers first
        )

    def start(self, config: Path, environment: Mapping[str, str], log: Path) -> ForkedServer:
        assert self._process.stdin
        assert self._process.stdout
        order = {"config": str(config), "environment": dict(environment), "log": str(log)}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return ForkedServer(int(self._process.stdout.readline()))

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(10)
        shutil.rmtree(self._templates)


def main() -> None:
    from gevent import monkey

    monkey.patch_all()  # as gunicorn.conf.py does, and before the same imports
    import gunicorn.app.wsgiapp
    from flask import Flask
    from jinja2 import FileSystemBytecodeCache

    import app  # noqa: F401 -- this is what takes its time

    # Compiled by the first server that needs one, for all of them.
    Flask.jinja_options = {**Flask.jinja_options, "bytecode_cache": FileSystemBytecodeCache(sys.argv[1])}
    _fork_servers(gunicorn.app.wsgiapp.run)


def _fork_servers(run: Callable[[], None]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # servers that end are buried by the kernel
    # Neither gevent nor buffers: the children get this process as it is.
    for line in _lines(sys.stdin.fileno()):
        pid = _fork()
        if pid == 0:
            _become_a_server(json.loads(line), run)
        os.write(1, f"{pid}\n".encode())


def _fork() -> int:
    from gevent.monkey import get_original

    pid: int = get_original("os", "fork")()
    return pid


def _lines(descriptor: int) -> Iterator[bytes]:
    rest = b""
    while piece := os.read(descriptor, 65_536):
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole


def _become_a_server(order: dict[str, Any], run: Callable[[], None]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    os.environ.clear()
    os.environ.update(order["environment"])
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    sys.argv = ["gunicorn", "--config", order["config"]]
    run()
    os._exit(0)


if __name__ == "__main__":
    main()
