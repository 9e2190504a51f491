"""What Beacon's worker does differently from gunicorn's. That it serves is tested with a real one."""

import subprocess
import sys

import pytest

from tests.support.machine import scaled

# Importing gunicorn's gevent worker patches the whole process.
PROGRAM = """
import warnings
warnings.simplefilter("error")
from gunicorn.config import Config
from app.stream.handoff import HandedOffBody
from app.web.gunicorn_worker import BeaconWorker

worker = BeaconWorker.__new__(BeaconWorker)
"""
HANDED_OFF = """
try:
    worker.is_already_handled(HandedOffBody())
except StopIteration:
    print("dropped")
"""
ORDINARY = """
print(worker.is_already_handled([b"page"]), worker.is_already_handled(iter([])))
"""
LEAVING = """
from types import SimpleNamespace

import gevent
from gunicorn.workers.ggevent import GeventWorker

done = []


class Live:
    def drain(self):
        done.append("drain")
        gevent.sleep(0.01)


class Loaded:
    extensions = {"beacon": SimpleNamespace(background=Live())}


GeventWorker.handle_exit = lambda self, sig, frame: done.append("exit")
worker.wsgi = Loaded()
worker.handle_exit(15, None)
worker.handle_exit(15, None)
done.append("serving")
gevent.sleep(0.1)
print(*done)
"""
LOADING = """
import gevent
from gunicorn.workers.ggevent import GeventWorker

GeventWorker.handle_exit = lambda self, sig, frame: print("exit")
worker.handle_exit(15, None)
gevent.sleep(0.05)
"""
UNREAD = """
import logging
from gevent import socket
from gunicorn.workers.ggevent import GeventWorker
import app.web.gunicorn_worker

app.web.gunicorn_worker.WRITE_TIMEOUT_S = 0.05
worker.log = logging.getLogger()
GeventWorker.handle_request = lambda self, listener_name, req, sock, addr: sock.sendall(b"x" * 10_000_000)
ours, theirs = socket.socketpair()
try:
    worker.handle_request(None, None, ours, None)
except StopIteration:
    print("closed")
ours.close()
theirs.close()
"""


@pytest.mark.parametrize(
    ("program", "said"),
    [
        pytest.param(HANDED_OFF, "dropped", id="a handed-off connection is dropped at once"),
        pytest.param(ORDINARY, "False False", id="an ordinary answer is gunicorn's"),
        pytest.param(LEAVING, "serving drain exit", id="it drains once while it serves, then exits"),
        pytest.param(UNREAD, "closed", id="a client that does not read its answer is not waited for"),
        pytest.param(LOADING, "exit", id="one that is still loading exits at once"),
    ],
)
def test_the_worker(program: str, said: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM + program], capture_output=True, text=True, check=False, timeout=scaled(30)
    )
    assert (ran.stdout.strip(), ran.returncode) == (said, 0), ran.stderr
