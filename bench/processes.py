"""What the kernel knows about processes, and how the benchmarks start and end theirs."""

import contextlib
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

START_S = 20.0


def cpu_s(*pids: int) -> float:
    """CPU seconds (user and system) that these processes have used so far, without their children's.

    The same sum as utime and stime in `/proc/PID/stat`, which has only hundredths: too coarse for servers with little
    to do. The number of another process's clock is made as clock_getcpuclockid(3) makes it.
    """
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)


def pss_bytes(pid: int) -> int:
    """Proportional set size: private memory, and a process's share of what it has in common with others."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise LookupError(f"no Pss of process {pid}")


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for_child(pid: int) -> int:
    """The one child of a master process, its worker."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if found := children(pid):
            return found[0]
        time.sleep(0.02)
    raise TimeoutError(f"process {pid} started no worker within {START_S} s")


def start(command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """In a process group of its own, so that `end` reaches its children too. It runs in the folder of its `log`."""
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )


def end(process: subprocess.Popen[bytes], within_s: float = 3.0) -> None:
    """SIGTERM, and SIGKILL to the whole group where that is not enough."""
    process.terminate()
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(within_s)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(5)


def wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"no server on port {port}; its log ends: {log.read_text(errors='replace')[-1500:]}")


def raise_descriptor_limit() -> int:
    """For this process and all that it starts; returns the limit. 10,000 streams need as many descriptors twice."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
