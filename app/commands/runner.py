"""The command runner of each worker process: claims queued commands, renews their leases, hands over at shutdown."""

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
from app.commands.executor import HANDOVER_REASON, Execution
from app.commands.leases import Claim, CommandLeaseLost
from app.eventlog.reader import Event

log = logging.getLogger(__name__)

# How often to look for commands if no event announces one.
POLL_INTERVAL_S = 1.0
LEASE_RENEW_INTERVAL_S = 2.0
MAX_RUNNING_COMMANDS = 16
MAX_RUNNING_PER_SERVICE = 6
HANDOVER_WAIT_S = 2.0
END_PHASES = ("success", "error", "timeout")


class CommandRunner:
    """Every worker has one; the database decides which of them claims a command."""

    def __init__(self, app: Flask, job_list_bound: int) -> None:
        self._app, self._job_list_bound = app, job_list_bound
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._wake, self._stopping, self._leaving = threading.Event(), threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._running: dict[str, tuple[Execution, threading.Thread]] = {}
        self._draining = threading.Event()
        self._renew_at = 0.0
        self._thread: threading.Thread | None = None
        self._last_failure = ""

    def start(self) -> None:
        # The name must be this process's: the process that built the application may have forked since.
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        for flag in (self._stopping, self._leaving, self._draining):
            flag.clear()
        self._thread = threading.Thread(target=self._run, name="commands", daemon=True)
        self._thread.start()

    def listen(self, events: Sequence[Event], _cursor: int) -> None:
        """Tail listener: look for commands at once if an event announces one."""
        if any(event.type == "command.status" and event.data.get("phase") in ("queued", "unknown") for event in events):
            self._wake.set()

    def drain(self) -> None:
        """Claim no more commands; running ones continue."""
        self._draining.set()

    def wait(self, ends: float) -> None:
        """Block until every running command has ended, or until `ends` (monotonic)."""
        while self._running_executions() and time.monotonic() < ends:
            time.sleep(0.02)

    def stop(self) -> None:
        """Hand running commands over: another worker sends the rest and reads the outcome of the last request."""
        self._draining.set()
        self._leaving.set()
        self.wait(time.monotonic() + HANDOVER_WAIT_S)
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=2 * POLL_INTERVAL_S)
            self._thread = None
        for execution in self._running_executions():
            self._hand_over(execution.claim)

    def _hand_over(self, claim: Claim) -> None:
        try:
            with self._app.app_context():
                leases.hand_over(claim, HANDOVER_REASON)
        except CommandLeaseLost:
            return
        except Exception as error:  # noqa: BLE001 -- the lease then expires by itself
            log.warning(
                "cannot hand over command: command_id=%s service_id=%s: %s", claim.command_id, claim.service_id, error
            )

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(POLL_INTERVAL_S * random.uniform(0.8, 1.2))  # noqa: S311 -- spreads the queries of the workers
            self._wake.clear()
            try:
                with self._app.app_context():
                    self._renew_leases()
                    self._claim_waiting()
                self._last_failure = ""
            except Exception as error:  # noqa: BLE001 -- the database may be down for an hour; logged once
                self._log_failure(error)

    def _log_failure(self, error: Exception) -> None:
        text = repr(error)[:200]
        if text != self._last_failure:
            log.warning("command runner failed, retrying: runner=%s: %s", self.name, text, exc_info=error)
        self._last_failure = text

    def _renew_leases(self) -> None:
        if time.monotonic() < self._renew_at:
            return
        self._renew_at = time.monotonic() + LEASE_RENEW_INTERVAL_S
        mine = [one.claim for one in self._running_executions() if time.monotonic() < one.busy_until]
        if mine:
            leases.renew_leases(mine)

    def _claim_waiting(self) -> None:
        room = MAX_RUNNING_COMMANDS - len(self._running_executions())
        if self._draining.is_set() or room <= 0:
            return
        running_per_service = Counter(execution.claim.service_id for execution in self._running_executions())
        for command_id in leases.find_claimable(room, running_per_service, MAX_RUNNING_PER_SERVICE):
            if self._draining.is_set():
                return
            claim = leases.claim_command(command_id, self.name)
            if claim is not None:
                self._start_execution(claim)

    def _start_execution(self, claim: Claim) -> None:
        execution = Execution(claim, self._job_list_bound, self._leaving)
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

    def _running_executions(self) -> list[Execution]:
        with self._lock:
            return [execution for execution, _ in self._running.values()]


def wake_poller_on_commands(poke: Callable[[str], None]) -> Callable[[Sequence[Event], int], None]:
    """A tail listener for the worker that polls: polls a service at once after a command changed it."""

    def listen(events: Sequence[Event], _cursor: int) -> None:
        for event in events:
            if event.type == "command.status" and _has_acted(event):
                poke(event.data["service"])

    return listen


def _has_acted(event: Event) -> bool:
    progress, phase = event.data.get("progress"), event.data.get("phase")
    if not isinstance(progress, dict) or phase == "queued":
        return False
    return phase in END_PHASES or progress.get("done", 0) + progress.get("failed", 0) >= progress.get("total", 0)
