"""Processes that have imported Beacon and fork into servers, which then start for a fifth of the processor time.

What runs is the same gunicorn with the same configuration and the same worker beside it; only
the imports are done once for many servers. Tests in `browser` and `live` use it; `live/test_make_run.py`,
`live/test_serve.py` and the contract's own servers start what people start.
"""

import ctypes
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from tests.support.machine import scaled

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
    """Two such processes: one for web servers, which gevent has patched, and one for the background. Used by one
    thread; ends with `close()`, or with the process that made it."""

    def __init__(self) -> None:
        # Templates that the first server compiles, for all of them.
        self._templates = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._web, self._worker = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.support.fork_server", kind, self._templates.name],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,  # an interrupt of the tests ends the servers first
            )
            for kind in ("web", "worker")
        ]

    def start(self, config: Path, environment: Mapping[str, str], log: Path) -> ForkedServer:
        """A web server with this configuration of gunicorn's."""
        return _order(self._web, {"config": str(config), "environment": dict(environment), "log": str(log)})

    def start_worker(self, setup: str, environment: Mapping[str, str], log: Path) -> ForkedServer:
        """A process of `beacon worker` below one that starts it again; it imports the module `setup` first, if any."""
        return _order(self._worker, {"setup": setup, "environment": dict(environment), "log": str(log)})

    def close(self) -> None:
        for process in (self._web, self._worker):
            assert process.stdin
            assert process.stdout
            process.stdin.close()
            process.stdout.close()
        for process in (self._web, self._worker):
            process.wait(scaled(10))
        self._templates.cleanup()


def _order(process: subprocess.Popen[str], order: Mapping[str, Any]) -> ForkedServer:
    assert process.stdin
    assert process.stdout
    process.stdin.write(json.dumps(order) + "\n")
    process.stdin.flush()
    return ForkedServer(int(process.stdout.readline()))


def main() -> None:
    kind, templates = sys.argv[1:]
    _fork_servers(_web_runner(templates) if kind == "web" else _worker_runner())


def _web_runner(templates: str) -> Callable[[dict[str, Any]], None]:
    from gevent import monkey

    monkey.patch_all()  # as gunicorn.conf.py does, and before the same imports
    import gunicorn.app.wsgiapp
    from flask import Flask
    from jinja2 import FileSystemBytecodeCache

    import app  # noqa: F401 -- this is what takes its time

    Flask.jinja_options = {**Flask.jinja_options, "bytecode_cache": FileSystemBytecodeCache(templates)}

    def run(order: dict[str, Any]) -> None:
        sys.argv = ["gunicorn", "--config", order["config"]]
        gunicorn.app.wsgiapp.run()

    return run


def _worker_runner() -> Callable[[dict[str, Any]], None]:
    from app.cli import worker
    from app.config import load_settings

    def run(order: dict[str, Any]) -> None:
        if order["setup"]:
            importlib.import_module(order["setup"])
        _keep(lambda: worker.run(load_settings()))

    return run


def _keep(work: Callable[[], None]) -> None:
    """As the supervisor of `beacon serve`: one that was killed is started again, and signals are handed on."""
    from app.cli.supervisor import PR_SET_PDEATHSIG, STOPS

    child, stopping = 0, False

    def hand_on(number: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True
        os.kill(child, number)

    while not stopping:
        child = os.fork()
        if child == 0:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            for number in STOPS:
                signal.signal(number, signal.SIG_DFL)
            work()
            os._exit(0)
        for number in STOPS:
            signal.signal(number, hand_on)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            return


def _fork_servers(run: Callable[[dict[str, Any]], None]) -> None:
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


def _become_a_server(order: dict[str, Any], run: Callable[[dict[str, Any]], None]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    os.environ.clear()
    os.environ.update(order["environment"])
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    status = 1
    try:
        run(order)
        status = 0
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
