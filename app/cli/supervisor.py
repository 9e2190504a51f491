"""Starts the web server and the worker of one host, starts a worker that died again, and stops both.

`beacon serve` replaces itself by this script. It imports nothing of Beacon, so it stays small, never waits for a
database, and is not touched by new code that a reload brings in.
"""

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

log = logging.getLogger("beacon.supervisor")

# A worker that lived for less than this is one that cannot work: it is started again later each time.
QUICK_DEATH_S = 10.0
FIRST_DELAY_S, MAX_DELAY_S = 1.0, 30.0
# What stopping may take beyond the time that is given to streams and commands.
STOP_MARGIN_S = 10.0
PR_SET_PDEATHSIG = 1
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
# What gunicorn does with these concerns its web workers alone: one more, one less, reopened logs.
FOR_WEB = (signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1)
SIGNALS = {*STOPS, *FOR_WEB, signal.SIGHUP, signal.SIGUSR2, signal.SIGCHLD}

_libc = ctypes.CDLL(None)


class RestartDelay:
    """How long to wait before the worker is started again: not at all, unless it dies soon after each start."""

    def __init__(self) -> None:
        self.quick_deaths = 0

    def next_s(self, lived_s: float) -> float:
        self.quick_deaths = self.quick_deaths + 1 if lived_s < QUICK_DEATH_S else 0
        if self.quick_deaths <= 1:
            return 0.0
        return float(min(MAX_DELAY_S, FIRST_DELAY_S * 2 ** min(self.quick_deaths - 2, 10)))


class Supervisor:
    """`web` and `worker` are commands. The web server ends with its own status, and everything ends with it."""

    def __init__(self, web: Sequence[str], worker: Sequence[str], drain_s: float) -> None:
        self._worker_command, self._stop_s = worker, drain_s + STOP_MARGIN_S
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        self._delay = RestartDelay()
        self._web = start(web)
        self._worker: subprocess.Popen[bytes] | None = None
        self._start_at, self._started_at = time.monotonic(), 0.0
        self._reloading = False

    def run(self) -> int:
        """Watch both until the web server ends or a signal says so; return the exit status."""
        while self._web.poll() is None:
            self._keep_worker()
            wait_s = 60.0 if self._worker is not None else max(0.0, self._start_at - time.monotonic())
            found = signal.sigtimedwait(SIGNALS, wait_s)
            number = signal.SIGCHLD if found is None else found.si_signo
            if number in STOPS:
                return self._stop(number)
            self._handle(number)
        log.error("the web server ended (%s): the worker is stopped too", describe_end(self._web.returncode))
        return self._stop(signal.SIGTERM)

    def _keep_worker(self) -> None:
        """Start the worker if there is none, as soon as it is due."""
        if self._worker is not None and self._worker.poll() is not None:
            self._plan_start(self._worker.returncode)
            self._worker = None
        if self._worker is None and time.monotonic() >= self._start_at:
            self._worker, self._started_at = start(self._worker_command), time.monotonic()
            log.info("started the worker, pid=%s", self._worker.pid)

    def _plan_start(self, status: int) -> None:
        now = time.monotonic()
        delay_s = 0.0 if self._reloading else self._delay.next_s(now - self._started_at)
        self._start_at = now + delay_s
        if self._reloading:
            self._reloading = False
        elif delay_s:
            log.error(
                "the worker ended (%s) soon after its start, %d times in a row: next start in %g s",
                describe_end(status),
                self._delay.quick_deaths,
                delay_s,
            )
        else:
            log.error("the worker ended (%s): it is started again", describe_end(status))

    def _handle(self, number: int) -> None:
        if number == signal.SIGHUP:
            log.info("SIGHUP: the web workers and the worker are replaced")
            self._web.send_signal(signal.SIGHUP)
            self._start_at = time.monotonic()
            if self._worker is not None:
                self._reloading = True
                self._worker.send_signal(signal.SIGTERM)
        elif number in FOR_WEB:
            self._web.send_signal(number)
        elif number == signal.SIGUSR2:
            log.warning("SIGUSR2 is ignored: restart, or run beacon serve --web-only and beacon worker apart")

    def _stop(self, number: int) -> int:
        """Hand the signal to both and wait; what does not end in time is killed. Further signals are handed on too."""
        log.info("stopping: %s", signal.Signals(number).name)
        children = [child for child in (self._web, self._worker) if child is not None]
        deadline = time.monotonic() + self._stop_s
        send(children, number)
        while any(child.poll() is None for child in children):
            if time.monotonic() >= deadline:
                log.error("what has not ended within %g s is killed", self._stop_s)
                send(children, signal.SIGKILL)
                deadline += self._stop_s
            found = signal.sigtimedwait(SIGNALS, max(0.0, deadline - time.monotonic()))
            if found is not None and found.si_signo in STOPS:
                send(children, found.si_signo)
        status: int = self._web.returncode
        return status if status >= 0 else 128 - status


def start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a child that gets SIGTERM when this process dies, however it dies."""
    parent = os.getpid()

    def prepare() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return subprocess.Popen(command, preexec_fn=prepare)  # noqa: S603, PLW1509 -- our own commands; there is one thread


def send(children: Sequence[subprocess.Popen[bytes]], number: int) -> None:
    for child in children:
        if child.poll() is None:
            child.send_signal(number)


def describe_end(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"status {status}"


def main() -> None:
    """`supervisor.py DRAIN_S WEB COMMAND … -- WORKER COMMAND …`."""
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime  # as app/infra/logs.py
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    drain_s, *commands = sys.argv[1:]
    middle = commands.index("--")
    sys.exit(Supervisor(commands[:middle], commands[middle + 1 :], float(drain_s)).run())


if __name__ == "__main__":
    main()
