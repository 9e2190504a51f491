"""A figure: what is measured on which servers, and the rows of the table that come of it."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from bench.client import Window
from bench.peers.server import Server

Values = Mapping[str, float]
"""What one run measured, each value's unit in its name."""
Medians = Mapping[str, Values]
"""By server: the medians of its runs. A server that could not run is not in it."""
Measure = Callable[[Server, bool], "Reading"]
"""One run on a server that has just been started; True shortens it, for trying."""


@dataclass(frozen=True, slots=True)
class Reading:
    values: Values
    windows: Sequence[Window]

    @property
    def counts(self) -> bool:
        """Not where the client was the limit."""
        return not any(window.saturated for window in self.windows)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `cells` by server; `reached` is None where nothing can be said."""

    figure: str
    cells: Mapping[str, str]
    aim: str = ""
    reached: bool | None = None


@dataclass(frozen=True, slots=True)
class Figure:
    """`name` is what a person types; `servers` take turns, so that the machine's moods hit all alike."""

    name: str
    about: str
    servers: Sequence[type[Server]]
    measure: Measure
    rows: Callable[[Medians], list[Row]]
    runs: int = 3


@dataclass(slots=True)
class Results:
    """All readings of one figure so far, by server, and why some have none."""

    readings: dict[str, list[Reading]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def add(self, server: str, reading: Reading) -> None:
        self.readings.setdefault(server, []).append(reading)

    def medians(self) -> dict[str, Values]:
        """Of the runs that count. A server all of whose runs saturated the client has none."""
        counting = {name: [found.values for found in runs if found.counts] for name, runs in self.readings.items()}
        return {name: median(values) for name, values in counting.items() if values}


def median(runs: Sequence[Values]) -> dict[str, float]:
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie; 0.5 is the median."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def cells(medians: Medians, show: Callable[[Values], str]) -> dict[str, str]:
    """A cell for each server, with a word where events were lost."""
    return {name: show(values) + _losses(values) for name, values in medians.items()}


def ratio(medians: Medians, key: str, other: str) -> float | None:
    """Ours to the other server's; None where one of them is missing."""
    if "ours" not in medians or not medians.get(other, {}).get(key):
        return None
    return medians["ours"][key] / medians[other][key]


def at_least(found: float | None, aim: float) -> bool | None:
    return None if found is None else found >= aim


def at_most(found: float | None, aim: float) -> bool | None:
    return None if found is None else found <= aim


def ours(medians: Medians, key: str) -> float | None:
    return medians.get("ours", {}).get(key)


def both(*reached: bool | None) -> bool | None:
    """All parts of an aim together: one that fails decides, else one that is unknown."""
    if False in reached:
        return False
    return None if None in reached else True


def _losses(values: Values) -> str:
    return f" (lost {values['lost']:.0f})" if values.get("lost") else ""
