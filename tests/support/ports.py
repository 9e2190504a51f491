"""Ports for servers that tests start: nobody else on this machine is given the same one before it is used."""

import fcntl
import os
import secrets
import socket
from contextlib import suppress
from functools import cache
from pathlib import Path

# Above those that services have by convention, below those that the kernel hands out by itself.
FIRST = 15_000
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
# One for all test runs on the machine; each port is a byte of it, locked by the process that has it until that ends.
_LOCKS = Path("/tmp") / f"beacon-test-ports-{os.getuid()}"  # noqa: S108 -- nothing is ever written to it


def free_port() -> int:
    """A port of 127.0.0.1 that is this process's from now on, whether or not anything listens on it."""
    locks, end = _locks(), _end()
    while True:
        port = FIRST + secrets.randbelow(end - FIRST)  # random numbers of a test follow from its seed: all would agree
        with suppress(OSError), socket.socket() as probe:
            fcntl.lockf(locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
            probe.bind(("127.0.0.1", port))
            return port


@cache
def _locks() -> int:
    return os.open(_LOCKS, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


@cache
def _end() -> int:
    with suppress(OSError, ValueError):
        return max(FIRST + 1_000, int(_EPHEMERAL.read_text().split()[0]))
    return 32_768


_locks()
