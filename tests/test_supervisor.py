"""The supervisor of `beacon serve` over commands that cost nothing; tests/live/test_serve.py has the real ones."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from app.cli import processes
from app.config import Settings
from tests.support.machine import scaled
from tests.support.processes import children, is_zombie
from tests.support.waiting import wait_for

# What it does about SIGTERM, and what it prints first.
WAITS = "import signal, time; signal.signal(signal.SIGTERM, {}); print('{}', flush=True); time.sleep(99)"


class Standing:
    """The supervisor; a stopped web server has a status of its own."""

    def __init__(self, folder: Path, worker: str) -> None:
        self._log = folder / "log"
        web, work = ([sys.executable, "-c", code] for code in (WAITS.format("lambda *_: exit(5)", "serving"), worker))
        with self._log.open("wb") as file:
            command = processes.serve_command(Settings(drain_s=0), web, work)
            self.process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
        self.wait_for("serving")

    def wait_for(self, text: str) -> None:
        wait_for(lambda: text in self._log.read_text(), text, 20)

    def end(self) -> int:
        self.process.terminate()
        return self.process.wait(scaled(20))


def test_a_worker_that_dies_at_each_start_is_started_later_each_time(tmp_path: Path) -> None:
    standing = Standing(tmp_path, "exit(7)")
    standing.wait_for("the worker ended (status 7): it is started again")
    standing.wait_for("the worker ended (status 7) soon after its start, 2 times in a row: next start in 1 s")
    standing.wait_for("3 times in a row: next start in 2 s")
    assert standing.end() == 5


def test_a_web_server_that_ends_takes_the_worker_with_it(tmp_path: Path) -> None:
    standing = Standing(tmp_path, "import time; time.sleep(99)")
    web, worker = children(standing.process.pid)
    os.kill(web, signal.SIGKILL)
    assert standing.process.wait(scaled(20)) == 128 + signal.SIGKILL
    assert is_zombie(worker)
    standing.wait_for("the web server ended (signal 9): the worker is stopped too")


def test_what_does_not_stop_is_killed(tmp_path: Path) -> None:
    standing = Standing(tmp_path, WAITS.format("signal.SIG_IGN", "deaf"))
    standing.wait_for("deaf")
    assert standing.end() == 5
    standing.wait_for("what has not ended within 10 s is killed")
