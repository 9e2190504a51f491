"""A worker stops whenever it is told to, also in the last moment before it waits for that."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.machine import scaled

# What a worker runs is replaced; its last step tells the worker to stop.
STOPPED_BY_ITSELF = """
import signal, sys, threading
from app.cli import worker
from app.config import load_settings

class NothingToDo:
    def __init__(self, *_):
        pass
    def start_when_ready(self):
        blocked = lambda: print("thread:", *sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])), flush=True)
        one = threading.Thread(target=blocked)
        one.start()
        one.join()
        signal.raise_signal(int(sys.argv[1]))
    def drain(self):
        print("drain")
    def stop(self):
        print("stop")

worker.WorkerServices = NothingToDo
worker.run(load_settings())
"""


@pytest.mark.parametrize(
    ("number", "did"), [("15", ["drain", "stop"]), ("2", ["stop"]), ("3", ["stop"])], ids=["TERM", "INT", "QUIT"]
)
def test_a_signal_that_comes_before_the_wait_is_not_lost(tmp_path: Path, number: str, did: list[str]) -> None:
    environment = {**os.environ, "BEACON_INSTANCE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", STOPPED_BY_ITSELF, number],
        env=environment,
        capture_output=True,
        text=True,
        timeout=scaled(30),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    threads, *rest = done.stdout.splitlines()
    assert rest == did
    # A thread that takes the signal itself would end the process at once.
    assert threads == "thread: 2 3 15"
