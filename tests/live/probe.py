"""What only a worker's inside knows, told over an abstract UNIX socket: all of one report is one moment.

`tests/live/probe_conf.py` starts the reporter; `ask` is the test's side.
"""

import gc
import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.machine import scaled
from tests.support.waiting import wait_for

CONFIG = Path(__file__).with_name("probe_conf.py")


@dataclass(frozen=True, slots=True)
class Report:
    """One worker's numbers. `descriptors` are by kind, those of the database left out: its pool has its own bound."""

    greenlets: int
    subscribers: int
    wires: int
    seats: int
    gauge: int
    beats: int
    slow: int
    checked_out: int
    sockets: int
    descriptors: int
    options: list[list[int]]

    @property
    def streams(self) -> set[int]:
        """The number of open streams as all who count them say it: one number, or something is wrong."""
        return {self.subscribers, self.wires, self.seats, self.gauge, self.beats}

    @property
    def held(self) -> tuple[int, int]:
        """What must be as it was once all streams are closed."""
        return self.greenlets, self.descriptors


def ask(pid: int) -> Report:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(scaled(10))
        # A worker that has just been started does not listen yet.
        wait_for(lambda: connection.connect_ex(_address(pid)) == 0, f"the worker {pid} to listen")
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return Report(**json.loads(b"".join(parts)))


def pss_bytes(pid: int) -> int:
    """The memory of a process, shared pages by their share."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the kernel does not tell Pss")


def settled(pid: int, holds: Callable[[Report], bool], what: str, within_s: float = 10.0) -> Report:
    """The first report for which `holds`, or a failure that shows the last one."""
    deadline = time.monotonic() + scaled(within_s)
    while not holds(report := ask(pid)):
        assert time.monotonic() < deadline, f"waited {within_s} s in vain for {what}: {report}"
        time.sleep(0.02)
    return report


def serve(application: Any) -> None:
    """In the worker: answer every connection with a report; and raise at teardown where a request asks for it."""
    import gevent

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(_address(os.getpid()))
    listener.listen(16)
    gevent.spawn(_answer, listener, application)
    application.teardown_request(_raise_where_asked)
    application.teardown_appcontext(_raise_where_asked_later)


def _answer(listener: socket.socket, application: Any) -> None:
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(json.dumps(_report(application)).encode())


def _report(application: Any) -> dict[str, Any]:
    from app.db import db

    live = application.extensions["beacon"].background
    wires = live.engine.socket_loop.all()
    links = _links()
    with application.app_context():
        checked_out = db.engine.pool.checkedout()
    return {
        "greenlets": _greenlets(),
        "subscribers": len(live.hub),
        "wires": len(wires),
        "seats": live.admission.streams,
        "gauge": sum(live.hub.counters.open.values()),
        "beats": sum(len(slot) for slot in live.engine._heartbeats._slots),
        "slow": live.hub.counters.slow_now,
        "checked_out": checked_out,
        "sockets": sum(link.startswith("socket:") for link in links),
        "descriptors": sum("beacon.db" not in link for link in links),
        "options": [_options(wire._socket) for wire in wires],
    }


def _greenlets() -> int:
    """Those of the event loop; not what gevent keeps for its native threads, which come and go with checkpoints."""
    from gevent import get_hub
    from greenlet import greenlet

    hub = get_hub()
    return sum(isinstance(found, greenlet) and found.parent is hub and bool(found) for found in gc.get_objects())


def _links() -> list[str]:
    links = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(entry.readlink()))
        except OSError:
            continue  # the folder's own
    return links


def _options(connection: Any) -> list[int]:
    return [
        connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
        connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF),
        connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
    ]


def _raise_where_asked(_error: BaseException | None) -> None:
    from flask import request

    if request.headers.get("X-Raise") == "teardown":
        raise RuntimeError("a teardown that raises")


def _raise_where_asked_later(_error: BaseException | None) -> None:
    from flask import has_request_context, request

    if has_request_context() and request.headers.get("X-Raise") == "teardown-later":
        raise RuntimeError("a teardown that raises, of the application's context")


def _address(pid: int) -> str:
    return f"\0beacon-probe-{pid}"
