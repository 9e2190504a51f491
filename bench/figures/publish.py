"""Publishing on SQLite and PostgreSQL: processor time of one event; events a second of 20 publishers, by 1 and by 50.

Each publisher sends its next request once the last one is answered, that is, once its events are committed. Processor
time is the web worker's alone for a single publisher, without what it uses at rest; PostgreSQL's own is said beside it.
"""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

from app import create_app
from app.accounts import users
from app.accounts.models import User
from app.config import Settings
from app.db import db, write
from app.infra.clock import utc_text
from bench.figure import Figure, Medians, Reading, Row, at_least, at_most, both, cells, ours
from bench.peers.ours import SETTINGS, VENV_PYTHON, Ours
from bench.peers.server import ROOT, Server
from bench.processes import children, cpu_s
from tests.support.beacon_server import Beacon
from tests.support.postgres import Postgres

PUBLISHERS, BATCH = 20, 50
SETTLE_S = 3.0
LABELS = {"sqlite": ("SQLite", 2.0), "postgres": ("PostgreSQL", 4.0)}
SECRET_KEY = "for the benchmark only, 32 signs"


def measure(server: Server, quick: bool) -> Reading:
    assert isinstance(server, Ours)  # it only gives the run its place: each database has a server of its own
    seconds = 2.0 if quick else 10.0
    values = _measure(server.folder / "sqlite", seconds, "sqlite")
    postgres = Postgres()
    try:
        values |= _measure(server.folder / "postgres", seconds, "postgres", postgres)
    finally:
        postgres.remove()
    return Reading(values, ())


def _measure(folder: Path, seconds: float, name: str, postgres: Postgres | None = None) -> dict[str, float]:
    settings = dict(SETTINGS)
    if postgres is not None:
        settings |= {"DATABASE_URL": postgres.migrated_database(), "SECRET_KEY": SECRET_KEY}
    beacon = Beacon(folder, **settings)
    tokens = _tokens(folder, settings)
    with beacon:
        worker = beacon.worker_pids()[0]
        _run(beacon, 1, 1, 1.0, tokens)  # imports and prepares what is needed
        time.sleep(SETTLE_S)
        at_rest = _used(worker, seconds)
        before, servers = cpu_s(worker), 0.0 if postgres is None else _server_cpu_s(postgres)
        single = _run(beacon, 1, 1, seconds, tokens)
        used = cpu_s(worker) - before - at_rest * single["seconds"]
        values = {"cpu_ms": used / single["requests"] * 1_000, "p50_ms": single["p50_ms"]}
        if postgres is not None:
            values["server_cpu_ms"] = (_server_cpu_s(postgres) - servers) / single["requests"] * 1_000
        for batch in (1, BATCH):
            found = _run(beacon, PUBLISHERS, batch, seconds, tokens)
            values[f"by{batch}_a_s"] = found["events"] / found["seconds"]
            values[f"by{batch}_p99_ms"] = found["p99_ms"]
    return {f"{name}_{key}": value for key, value in values.items()}


def _tokens(folder: Path, environment: dict[str, Any]) -> list[str]:
    """One for each publisher, as twenty programs would have."""
    settings = Settings(
        instance_dir=folder,
        database_url=environment.get("DATABASE_URL", ""),
        secret_key=environment.get("SECRET_KEY", ""),
    )
    app = create_app(settings)
    with app.app_context():
        with write() as session:
            session.add(User(name="publisher", role="operator", password_hash="none", created_at=utc_text()))
            session.flush()
            found = [users.add_token(session, "publisher", ["publish"], None, "bench")[1] for _ in range(PUBLISHERS)]
        db.engine.dispose()
    return found


def _run(beacon: Beacon, publishers: int, batch: int, seconds: float, tokens: list[str]) -> dict[str, float]:
    load = [str(beacon.port), str(publishers), str(batch), str(seconds), *tokens]
    done = subprocess.run(
        [VENV_PYTHON, "-m", "bench.publish_load", *load], cwd=ROOT, check=True, capture_output=True, text=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    if found["refused"]:
        raise RuntimeError(f"{found['refused']:.0f} requests were refused")
    return found


def _used(pid: int, seconds: float) -> float:
    """The share of a core."""
    before, began = cpu_s(pid), time.monotonic()
    time.sleep(seconds / 2)
    return (cpu_s(pid) - before) / (time.monotonic() - began)


def _server_cpu_s(postgres: Postgres) -> float:
    """Of all processes of the server, those that have ended included."""
    pid = postgres.pid
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ended = (int(fields[13]) + int(fields[14])) / 100
    return cpu_s(pid) + ended + sum(_cpu_s_or_none(child) for child in children(pid))


def _cpu_s_or_none(pid: int) -> float:
    try:
        return cpu_s(pid)
    except OSError:  # it has ended since then
        return 0.0


def rows(medians: Medians) -> list[Row]:
    return [row for name in LABELS for row in (_cost_row(medians, name), _rate_row(medians, name))]


def _cost_row(medians: Medians, name: str) -> Row:
    label, aim = LABELS[name]
    server = "server_cpu_ms"

    def show(values: Any) -> str:
        beside = f" (+ {values[f'{name}_{server}']:.1f} in PostgreSQL)" if f"{name}_{server}" in values else ""
        return f"{values[f'{name}_cpu_ms']:.1f} ms{beside}, answered in {values[f'{name}_p50_ms']:.1f} ms"

    return Row(
        f"publish of one event on {label}, CPU",
        cells(medians, show),
        f"<= {aim:.0f} ms",
        at_most(ours(medians, f"{name}_cpu_ms"), aim),
    )


def _rate_row(medians: Medians, name: str) -> Row:
    by_one, by_many = f"{name}_by1_a_s", f"{name}_by{BATCH}_a_s"
    return Row(
        f"events a second, {PUBLISHERS} publishers, by 1 / by {BATCH}, {LABELS[name][0]}",
        cells(medians, lambda values: f"{values[by_one]:,.0f} / {values[by_many]:,.0f}"),
        ">= 400 / 8,000",
        both(at_least(ours(medians, by_one), 400), at_least(ours(medians, by_many), 8_000)),
    )


FIGURE = Figure("publish", __doc__ or "", (Ours,), measure, rows)
