"""One measured figure, and the table of all of them."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """`aim` is what the figure should reach, in words; empty where it only informs."""

    name: str
    value: str
    aim: str = ""


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie; 0.5 is the median."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def table(figures: Sequence[Figure]) -> str:
    rows = [("figure", "measured", "aim"), *((figure.name, figure.value, figure.aim) for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])
