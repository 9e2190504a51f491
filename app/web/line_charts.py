"""The geometry of line charts: where a value lies, and lines with gaps where nothing is known."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ChartMark:
    """A deliberate change: a dashed line at `x` with a label."""

    x: float
    label: str


@dataclass(frozen=True, slots=True)
class ChartArea:
    """The size of a chart. The y axis starts at 0, at the bottom."""

    width: int
    height: int
    margin: int = 2

    def x(self, place: float, last: int) -> float:
        """The x coordinate of a place from 0 to `last`."""
        return self.margin + (self.width - 2 * self.margin) * place / max(1, last)

    def y(self, value: float, top: float) -> float:
        return round(self.height - self.margin - (self.height - 2 * self.margin) * value / (top or 1), 1)


# So that a first value is not stretched over the whole chart.
MIN_PLACES = 10


def fit_axis(values: Sequence[object | None]) -> int:
    """How many places at the end of the axis hold all that is known: a chart begins where its data do."""
    known = next((place for place, value in enumerate(values) if value is not None), len(values))
    return min(len(values), max(MIN_PLACES, len(values) - known))


def draw_lines(
    values: Sequence[float | None], place: Callable[[int, float], tuple[float, float]], dash: float = 1
) -> Iterator[str]:
    """One SVG path for each stretch without a gap; a single point becomes a short dash.

    `place` maps the index of a value and the value to coordinates.
    """
    points: list[str] = []
    for index, value in [*enumerate(values), (len(values), None)]:
        if value is not None:
            x, y = place(index, value)
            points.append(f"{x:g} {y:g}")
        elif points:
            yield f"M{'L'.join(points)}" if len(points) > 1 else f"M{points[0]}h{dash:g}"
            points = []
