"""Simulated rollouts, decided by the product's own functions: how many healthy ones are held, and how many faults pass.

1,000 rollouts of 20, 200 and 2,000 people each, healthy and with a fault that hits 10 % and more of the connects or of
the people of each step. A rollout that still waits after 48 hours counts as held.
"""

import json
import subprocess

from bench.client import Client
from bench.figure import Figure, Medians, Reading, Row, Values, at_most, cells, ours
from bench.peers.ours import VENV_PYTHON
from bench.peers.server import ROOT, Server
from bench.publishing import Publisher

ROLLOUTS, FEW_ROLLOUTS = 1_000, 20
MAX_HELD, MAX_PASSED = 0.02, 0.01


class Simulated(Server):
    """Nothing is started: the decisions are pure functions."""

    name = "ours"

    def start(self) -> None:
        pass

    def client(self) -> Client:
        raise NotImplementedError

    def publisher(self) -> Publisher:
        raise NotImplementedError


def measure(_server: Server, quick: bool) -> Reading:
    """In a process of its own."""
    command = [VENV_PYTHON, "-m", "bench.rollout_simulation", str(FEW_ROLLOUTS if quick else ROLLOUTS)]
    lines = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    found = [json.loads(line) for line in lines]
    values: dict[str, float] = {}
    for size in sorted({line["people"] for line in found}):
        of_size = [line for line in found if line["people"] == size]
        values[f"held_{size}"] = next(1 - line["finished"] for line in of_size if line["fault"] == "none")
        values[f"guardrail_{size}"] = next(line["held"] for line in of_size if line["fault"] == "none")
        values[f"passed_{size}"] = max(line["passed"] for line in of_size if line["fault"] != "none")
    return Reading(values, ())


def _list_sizes(values: Values) -> list[str]:
    return [name.removeprefix("held_") for name in values if name.startswith("held_")]


def rows(medians: Medians) -> list[Row]:
    def show(values: Values, name: str) -> str:
        return ", ".join(f"{values[f'{name}_{size}']:.1%} of {int(size):,}" for size in _list_sizes(values))

    def worst(name: str) -> float | None:
        found = [ours(medians, f"{name}_{size}") for size in _list_sizes(medians.get("ours", {}))]
        return max((one for one in found if one is not None), default=None)

    return [
        Row(
            "healthy rollouts held, by people",
            cells(medians, lambda values: show(values, "held")),
            f"<= {MAX_HELD:.0%}",
            at_most(worst("held"), MAX_HELD),
        ),
        Row(
            "healthy rollouts held by the guardrail, by people",
            cells(medians, lambda values: show(values, "guardrail")),
            f"<= {MAX_HELD:.0%}",
            at_most(worst("guardrail"), MAX_HELD),
        ),
        Row(
            "faults of 10 % and more that pass a step, by people",
            cells(medians, lambda values: show(values, "passed")),
            f"<= {MAX_PASSED:.0%}",
            at_most(worst("passed"), MAX_PASSED),
        ),
    ]


FIGURE = Figure("rollout", __doc__ or "", (Simulated,), measure, rows, runs=1)
