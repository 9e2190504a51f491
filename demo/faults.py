"""Misbehaviour on request: the fault that is on, what it does to the store and to each answer."""

import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol

from flask import Flask, Response, request
from pydantic import BaseModel, ConfigDict, Field

from demo.clock import iso
from demo.snapshots import Snapshots
from demo.store import Store

Mode = Literal["none", "slow", "hang", "error", "garbage", "refuse", "rewind"]

SLOW_S = 2.0
REFUSE_S = 30.0
REWIND_S = 60.0
PEER_CHECK_S = 0.5
# Begins like an answer, is neither JSON nor UTF-8.
GARBAGE = b'{"counts": {"queued": 3, "runn\xff\xfe\x00 \xc3\x28 <<<'


class FaultRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    mode: Mode
    seconds: float | None = Field(default=None, gt=0, le=86_400)
    lose_jobs: int = Field(default=0, alias="loseJobs", ge=0, le=1_000_000)


class Port(Protocol):
    """What the fault `refuse` needs of the server."""

    def refuse(self, seconds: float) -> None: ...


@dataclass
class Fault:
    """`seconds` is the delay of slow, how far rewind went back, and how long any other one lasts."""

    mode: Mode = "none"
    seconds: float | None = None
    until: datetime | None = None
    lost_job_ids: list[str] = field(default_factory=list)
    detail: str = "No fault is on."
    waiting: int = 0
    ended: threading.Event = field(default_factory=threading.Event, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def over(self) -> bool:
        return self.ended.is_set() or (self.until is not None and datetime.now(UTC) >= self.until)

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Count a request that waits, so that a test can see it arrive and leave."""
        with self._lock:
            self.waiting += 1
        try:
            yield
        finally:
            with self._lock:
                self.waiting -= 1

    def to_json(self) -> dict[str, object]:
        return {
            "mode": self.mode,
            "seconds": self.seconds,
            "until": iso(self.until) if self.until else None,
            "lostJobIds": self.lost_job_ids,
            "detail": self.detail,
            "waiting": self.waiting,
        }


class Faults:
    """At most one fault is on; setting another ends it. They live in memory: a new process has none."""

    def __init__(self, store: Store, snapshots: Snapshots) -> None:
        self._store = store
        self._snapshots = snapshots
        self._lock = threading.Lock()
        self._fault = Fault()
        self.port: Port | None = None  # known once the server is: it needs the app, which needs this

    def current(self) -> Fault:
        fault = self._fault
        return Fault() if fault.over() else fault

    def set(self, wanted: FaultRequest) -> Fault:
        with self._lock:
            self._fault.ended.set()
            self._fault = fault = self._begin(wanted)
            self._lose(fault, wanted.lose_jobs)
            if fault.mode == "refuse" and self.port and fault.seconds:
                self.port.refuse(fault.seconds)
            return fault

    def _begin(self, wanted: FaultRequest) -> Fault:
        match wanted.mode:
            case "none":
                self._store.clock.put_right()
                return Fault()
            case "slow":
                delay = wanted.seconds or SLOW_S
                return Fault("slow", delay, detail=f"Every answer comes {delay:g} s late.")
            case "rewind":
                return self._rewind(wanted.seconds or REWIND_S)
            case "refuse":
                return _lasting(wanted.mode, wanted.seconds or REFUSE_S)
            case _:
                return _lasting(wanted.mode, wanted.seconds)

    def _rewind(self, seconds: float) -> Fault:
        gone_back = round(self._snapshots.rewind(seconds), 3)
        detail = f"Jobs and clock went back {gone_back:g} s. Mode none puts the clock right."
        return Fault("rewind", gone_back, detail=detail)

    def _lose(self, fault: Fault, asked: int) -> None:
        if not asked:
            return
        fault.lost_job_ids = self._store.lose(asked)
        lost = len(fault.lost_job_ids)
        fault.detail += f" Lost {lost} of the {asked} jobs asked for."
        if lost < asked:
            fault.detail += " There were no more unfinished ones."


DETAILS: dict[Mode, str] = {
    "hang": "Requests are accepted and never answered.",
    "error": "Every answer is a 500.",
    "garbage": "Every answer is broken JSON.",
    "refuse": "Connections are refused.",
}


def _lasting(mode: Mode, seconds: float | None) -> Fault:
    until = datetime.now(UTC) + timedelta(seconds=seconds) if seconds else None
    return Fault(mode, seconds, until, detail=DETAILS[mode])


def install(app: Flask, faults: Faults, prefix: str) -> None:
    """Let the fault that is on work on every request below `prefix`, and on no other.

    `error` acts before anything is done. The others spoil the answer of work that was done, so a
    command may succeed although its caller never hears of it.
    """

    @app.before_request
    def fail() -> tuple[dict[str, str], int] | None:
        if request.path.startswith(prefix) and faults.current().mode == "error":
            return {"error": "Internal error: the fault mode error is on."}, 500
        return None

    @app.after_request
    def spoil(response: Response) -> Response:
        if request.path.startswith(prefix) and (spoiler := SPOILERS.get((fault := faults.current()).mode)):
            spoiler(fault, response)
        return response


def _garble(_: Fault, response: Response) -> None:
    response.status_code = 200
    response.set_data(GARBAGE)
    response.mimetype = "application/json"


def _delay(fault: Fault, _: Response) -> None:
    with fault.holding():
        fault.ended.wait(fault.seconds)


def _hang(fault: Fault, _: Response) -> None:
    """Wait for the end of the fault, or until the peer gave up: a poller must not fill the process."""
    peer = request.environ.get("werkzeug.socket")
    with fault.holding():
        while not (fault.over() or _gone(peer)):
            fault.ended.wait(PEER_CHECK_S)


def _gone(peer: socket.socket | None) -> bool:
    if peer is None:
        return False
    # Asked first whether it is readable: recv() would wait as long as the socket's own timeout.
    readable = select.poll()
    readable.register(peer, select.POLLIN)
    try:
        return bool(readable.poll(0)) and peer.recv(1, socket.MSG_PEEK) == b""
    except OSError:
        return True


SPOILERS: dict[Mode, Callable[[Fault, Response], None]] = {"garbage": _garble, "slow": _delay, "hang": _hang}
