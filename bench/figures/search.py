"""Searches over 1,000,000 facts of failed jobs, on SQLite and on PostgreSQL: ids, words, names, and for nothing."""

import json
import subprocess
from typing import Any

from app.config import Settings
from bench.failure_facts import SECRET_KEY, fill_postgres, kept_sqlite
from bench.figure import Figure, Medians, Reading, Row, Values, at_most, both, cells, ours
from bench.peers.ours import VENV_PYTHON, Ours
from bench.peers.server import ROOT, Server
from tests.support.postgres import Postgres

FACTS, QUICK = 1_000_000, 100_000


def measure(server: Server, quick: bool) -> Reading:
    assert isinstance(server, Ours)  # it only gives the run its place: searches run in a process of their own
    count = QUICK if quick else FACTS
    values = {f"sqlite_{name}": value for name, value in _read(kept_sqlite(count)).items()}
    postgres = Postgres()
    try:
        address = postgres.new_database()
        settings = Settings(instance_dir=server.folder / "search", database_url=address, secret_key=SECRET_KEY)
        fill_postgres(settings, count)
        values |= {f"postgres_{name}": value for name, value in _read(settings).items()}
    finally:
        postgres.remove()
    return Reading(values, ())


def _read(settings: Settings) -> Values:
    command = [VENV_PYTHON, "-m", "bench.search_reading", str(settings.instance_dir), settings.database_url]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"  {settings.database_url.partition(':')[0]}: {found.pop('medians')}", flush=True)
    return found


def rows(medians: Medians) -> list[Row]:
    return [_row(medians, name, label) for name, label in (("sqlite", "SQLite"), ("postgres", "PostgreSQL"))]


def _row(medians: Medians, name: str, label: str) -> Row:
    def show(values: Values) -> str:
        times = " / ".join(f"{values[f'{name}_{part}_ms']:.0f}" for part in ("p50", "p95", "nothing"))
        cut = values[f"{name}_incomplete"]
        return f"{times} ms; loop's lag {values[f'{name}_lag_ms']:.0f} ms" + (f"; {cut:.0f} incomplete" if cut else "")

    return Row(
        f"search of 1,000,000 facts on {label}, p50 / p95 / p95 for nothing",
        cells(medians, show),
        "p95 <= 200 ms, nothing <= 1 s",
        both(at_most(ours(medians, f"{name}_p95_ms"), 200), at_most(ours(medians, f"{name}_nothing_ms"), 1_000)),
    )


FIGURE = Figure("search", __doc__ or "", (Ours,), measure, rows, runs=1)
