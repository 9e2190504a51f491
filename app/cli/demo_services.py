"""Starts the job services of the demo, in one process of their own."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from app.cli import processes
from app.infra.demo_guide import DemoService, parse_guide


class NoServices(Exception):
    """The services did not start; their own message is on the terminal."""


@dataclass(frozen=True, slots=True)
class RunningServices:
    process: subprocess.Popen[bytes]
    services: Sequence[DemoService]


def start_services(folder: Path) -> RunningServices:
    """Start them with their data in `folder`; they end with this process. Raises `NoServices`."""
    command = [sys.executable, "-m", "demo", "--with-parent", "--fleet", str(folder)]
    child = subprocess.Popen(command, env=processes.child_environment(), stdout=subprocess.PIPE)  # noqa: S603 -- our own module
    stdout: IO[bytes] = child.stdout  # type: ignore[assignment]  # given with PIPE
    try:
        return RunningServices(child, parse_guide(stdout.readline()))
    except ValueError as error:
        child.kill()
        child.wait()
        raise NoServices from error
