"""A whole observation, from answers of the Palantir HTTP API to record and event: three times the jobs make no turn of
the loop longer.

Counted in calls of Python's functions, which are the same on every machine; `make bench` prints the milliseconds.
"""

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from app.reconciliation.types import JOBS_PER_SLICE
from bench.running import running_service
from tests.support.beacon_server import ROOT
from tests.support.machine import scaled

SOME, MANY, FEW = 3 * JOBS_PER_SLICE, 9 * JOBS_PER_SLICE, 10
# A turn begins and ends where the network and other threads let it: its calls vary by a few hundred. In a turn that
# grew with the jobs they would be three times as many.
LEEWAY = 1.5

Phases = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def of_some(tmp_path_factory: pytest.TempPathFactory) -> Phases:
    return observed(tmp_path_factory.mktemp("some"), SOME)


@pytest.fixture(scope="module")
def of_many(tmp_path_factory: pytest.TempPathFactory) -> Phases:
    return observed(tmp_path_factory.mktemp("many"), MANY)


def observed(folder: Path, jobs: int) -> Phases:
    with ExitStack() as stack:
        urls = [stack.enter_context(running_service(folder, number)) for number in (jobs, FEW)]
        command = [sys.executable, "-m", "bench.observing", str(folder), *urls, "--calls"]
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=scaled(120))
    found: Phases = {}
    for line in map(json.loads, done.stdout.splitlines()):
        found.setdefault(line["phase"], []).append(line)
    return found


@pytest.mark.parametrize("phase", ["first", "steady", "lost", "after"])
def test_no_turn_of_the_loop_grows_with_the_number_of_jobs(of_some: Phases, of_many: Phases, phase: str) -> None:
    longest = max(of_many[phase], key=lambda line: line["held"])
    assert longest["held"] <= LEEWAY * max(line["held"] for line in of_some[phase]), f"until {longest['where']}"


def test_all_of_them_were_heard_and_lost(of_many: Phases) -> None:
    known = [line["known"] for lines in of_many.values() for line in lines]
    assert (max(known), min(known)) == (MANY, FEW)
    assert of_many["lost"][0]["missing"] == MANY - FEW
