"""`python -m bench [NAME …]`: starts real servers on loopback, measures, prints one table."""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import table
from bench.client import compiled
from bench.figure import Figure, Reading, Results, Row
from bench.figures import ALL
from bench.peers import nchan
from bench.peers.nchan import Nchan
from bench.peers.server import Server
from bench.processes import raise_descriptor_limit

DESCRIPTORS = 12_000
FAILURES = (OSError, RuntimeError, AssertionError, ArithmeticError, LookupError, subprocess.SubprocessError)


def main() -> None:
    options = _options()
    chosen = [figure for figure in ALL if not options.names or figure.name in options.names]
    if raise_descriptor_limit() < DESCRIPTORS:
        print(f"warning: fewer than {DESCRIPTORS:,} descriptors (ulimit -Hn): figures with 10,000 streams will fail")
    compiled()
    if any(Nchan in figure.servers for figure in chosen):
        nchan.install()
    rows: list[Row] = []
    notes: dict[str, None] = {}  # each once, in order
    for figure in chosen:
        results = measure(figure, 1 if options.quick else options.runs or figure.runs, options.quick)
        notes |= dict.fromkeys(_notes(figure, results))
        rows += figure.rows(results.medians())
    print()
    print((table.markdown if options.markdown else table.plain)(rows))
    if options.quick:
        print("quick: short windows and fewer streams than the rows say; these numbers are for trying only")
    for note in notes:
        print(f"{table.NOTHING} {note}")


def measure(figure: Figure, runs: int, quick: bool) -> Results:
    """All runs of a figure, its servers in turns."""
    results = Results({}, {server.name: server.missing() for server in figure.servers if server.missing()})
    print(f"{figure.name}: {figure.about.splitlines()[0]}", flush=True)
    for number in range(1, runs + 1):
        for server in figure.servers:
            if server.name not in results.missing:
                _run(figure, server, number, quick, results)
    return results


def _notes(figure: Figure, results: Results) -> Iterator[str]:
    """Why a cell is empty."""
    medians = results.medians()
    for server in figure.servers:
        if reason := results.missing.get(server.name):
            yield f"{server.name} was skipped: {reason}"
        elif server.name not in medians:
            saturated = server.name in results.readings
            yield f"{server.name}, {figure.name}: {'client saturated' if saturated else 'failed'} in every run"


def _run(figure: Figure, kind: type[Server], number: int, quick: bool, results: Results) -> None:
    """One run on a server of its own. What goes wrong costs this run, not the others."""
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="beacon-bench-") as folder, kind(Path(folder)) as server:
            reading = figure.measure(server, quick)
    except FAILURES as error:
        print(f"  run {number}, {kind.name}: failed: {error}", flush=True)
        return
    print(f"  run {number}, {kind.name}: {_told(reading)} [{time.monotonic() - began:.0f} s]", flush=True)
    results.add(kind.name, reading)


def _told(reading: Reading) -> str:
    """A run's values, and what the client used of a core in each of its windows."""
    values = ", ".join(f"{name} {value:,.2f}" for name, value in reading.values.items())
    if not reading.windows:
        return values
    shares = ", ".join(f"{window.client_share:.0%}" for window in reading.windows)
    return f"{values}; client's CPU {shares}{'' if reading.counts else ' (client saturated, does not count)'}"


def _options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measures Beacon's stream beside its peers.")
    names = [figure.name for figure in ALL]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(names)}; none: all of them")
    parser.add_argument("--quick", action="store_true", help="one short run of each, with fewer streams: for trying")
    parser.add_argument("--runs", type=int, default=0, help="runs of each figure (3)")
    parser.add_argument("--markdown", action="store_true", help="the table as markdown, for docs/benchmarks.md")
    found = parser.parse_args(arguments)
    if unknown := set(found.names) - set(names):
        parser.error(f"there is no figure {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    return found


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended as by Ctrl-C: nothing stays behind
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\ninterrupted; what was started has been ended")
