"""The table of all rows, for a terminal and as markdown."""

from collections.abc import Iterable, Sequence

from bench.figure import Row

SERVERS = ("ours", "nchan", "sse-starlette", "flask-sse")
HEAD = ("figure", *SERVERS, "aim", "reached?")
NOTHING = "—"
REACHED = {True: "yes", False: "no", None: NOTHING}


def plain(rows: Sequence[Row]) -> str:
    lines = [HEAD, *map(_line, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    texts = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([texts[0], "-" * sum(widths, 2 * (len(widths) - 1)), *texts[1:]])


def markdown(rows: Sequence[Row]) -> str:
    return "\n".join([_piped(HEAD), _piped("---" for _ in HEAD), *(_piped(_line(row)) for row in rows)])


def _line(row: Row) -> tuple[str, ...]:
    found = [row.cells.get(server, NOTHING) for server in SERVERS]
    return (row.figure, *found, row.aim or NOTHING, REACHED[row.reached] if row.aim else NOTHING)


def _piped(line: Iterable[str]) -> str:
    return f"| {' | '.join(line)} |"
