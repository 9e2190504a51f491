"""The lifecycle part of each worker that runs commands: takes what waits, keeps its leases, leaves in order."""

import logging
import os
import random
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

from flask import Flask

from app.commands import leases
from app.commands.executor import LEAVES, Execution
from app.commands.leases import Claim, Lost
from app.eventlog.reader import Event

log = logging.getLogger(__name__)

# By itself, where no event says that there is something to take.
LOOK_S = 1.0
RENEW_EVERY_S = 2.0
RUN_AT_ONCE = 16
RUN_FOR_A_SERVICE = 6
STOP_S = 2.0
ENDED = ("success", "error", "timeout")


class Runner:
    """Every worker has one. Which of them takes a command, the database decides."""

    def __init__(self, app: Flask, job_list_bound: int) -> None:
        self._app, self._bound = app, job_list_bound
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._wake, self._stopping, self._leaving = threading.Event(), threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._running: dict[str, tuple[Execution, threading.Thread]] = {}
        self._draining = threading.Event()
        self._renew_at = 0.0
        self._thread: threading.Thread | None = None
        self._complained = ""

    def start(self) -> None:
        # The name is this process's: whoever built the application may have forked since.
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        for flag in (self._stopping, self._leaving, self._draining):
            flag.clear()
        self._thread = threading.Thread(target=self._run, name="commands", daemon=True)
        self._thread.start()

    def listen(self, events: Sequence[Event], _cursor: int) -> None:
        """For the tail: look at once where there is something to take."""
        if any(event.type == "command.status" and event.data.get("phase") in ("queued", "unknown") for event in events):
            self._wake.set()

    def drain(self) -> None:
        """Take nothing more; what runs goes on."""
        self._draining.set()

    def wait(self, ends: float) -> None:
        """Until everything that runs has ended, or until then (monotonic)."""
        while self._alive() and time.monotonic() < ends:
            time.sleep(0.02)

    def stop(self) -> None:
        """What still runs is handed over: the rest of it goes on elsewhere, what was asked last is read there."""
        self._draining.set()
        self._leaving.set()
        self.wait(time.monotonic() + STOP_S)
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=2 * LOOK_S)
            self._thread = None
        for execution in self._alive():
            self._hand_over(execution.claim)

    def _hand_over(self, claim: Claim) -> None:
        try:
            with self._app.app_context():
                leases.hand_over(claim, LEAVES)
        except Lost:
            return
        except Exception as error:  # noqa: BLE001 -- then its lease runs out by itself
            log.warning("the command %s could not be handed over: %s", claim.command_id, error)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(LOOK_S * random.uniform(0.8, 1.2))  # noqa: S311 -- spreads the looks of the workers
            self._wake.clear()
            try:
                with self._app.app_context():
                    self._renew()
                    self._take()
                self._complained = ""
            except Exception as error:  # noqa: BLE001 -- the database may be away for an hour; logged, once
                self._complain(error)

    def _complain(self, error: Exception) -> None:
        text = repr(error)[:200]
        if text != self._complained:
            log.warning("commands cannot go on just now: %s", text, exc_info=error)
        self._complained = text

    def _renew(self) -> None:
        if time.monotonic() < self._renew_at:
            return
        self._renew_at = time.monotonic() + RENEW_EVERY_S
        mine = [one.claim for one in self._alive() if time.monotonic() < one.busy_until]
        if mine:
            leases.renew(mine)

    def _take(self) -> None:
        room = RUN_AT_ONCE - len(self._alive())
        if self._draining.is_set() or room <= 0:
            return
        shares = Counter(execution.claim.service_id for execution in self._alive())
        for command_id in leases.free(room, shares, RUN_FOR_A_SERVICE):
            if self._draining.is_set():
                return
            claim = leases.take(command_id, self.name)
            if claim is not None:
                self._begin(claim)

    def _begin(self, claim: Claim) -> None:
        execution = Execution(claim, self._bound, self._leaving)
        thread = threading.Thread(target=self._execute, args=(execution,), name="command", daemon=True)
        with self._lock:
            self._running[claim.command_id] = (execution, thread)
        thread.start()

    def _execute(self, execution: Execution) -> None:
        try:
            with self._app.app_context():
                execution.run()
        finally:
            with self._lock:
                found = self._running.get(execution.claim.command_id)
                if found is not None and found[0] is execution:
                    del self._running[execution.claim.command_id]
            self._wake.set()

    def _alive(self) -> list[Execution]:
        with self._lock:
            return [execution for execution, _ in self._running.values()]


def pokes(poke: Callable[[str], None]) -> Callable[[Sequence[Event], int], None]:
    """For the tail of the worker that polls: the service that a command has just touched is looked at now."""

    def listen(events: Sequence[Event], _cursor: int) -> None:
        for event in events:
            if event.type == "command.status" and _has_acted(event):
                poke(event.data["service"])

    return listen


def _has_acted(event: Event) -> bool:
    progress, phase = event.data.get("progress"), event.data.get("phase")
    if not isinstance(progress, dict) or phase == "queued":
        return False
    return phase in ENDED or progress.get("done", 0) + progress.get("failed", 0) >= progress.get("total", 0)
