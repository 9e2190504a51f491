"""Starts `bench.job_service` for whoever measures a look at many jobs."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import processes
from tests.support.beacon_server import ROOT
from tests.support.ports import free_port


@contextmanager
def running_service(folder: Path, jobs: int) -> Iterator[str]:
    """The address of a service of so many jobs, in a process of its own; its log is in `folder`."""
    port, log = free_port(), folder / f"{jobs}.log"
    command = [sys.executable, "-m", "bench.job_service", str(port), str(jobs)]
    process = processes.start(command, log, {"PYTHONPATH": str(ROOT)})
    try:
        processes.wait_for_port(port, process, log)
        yield f"http://127.0.0.1:{port}/0"
    finally:
        processes.end(process)
