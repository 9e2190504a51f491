"""`python -m scripts.scale_model`: writes the tables of docs/scale.md from the measured costs in docs/benchmarks.md.

The model is arithmetic over a few costs that `make bench` measures. The simulation follows every single viewer from a
loss of all connections until its stream is open again, with the waits that Beacon's own page uses.
"""

import heapq
import math
import random
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.db import MAX_POSTGRES_CONNECTIONS

DOCS = Path(__file__).resolve().parent.parent / "docs"
MARK = "<!-- {} of scripts/scale_model.py: {} -->"
VIEWERS = (1_000, 100_000, 10_000_000)

# Assumptions, in the words of docs/scale.md.
EVENTS_PER_S = 2.0
BYTES_PER_EVENT = 400
STREAM_LIFETIME_S = 3_600
MAX_CORE_SHARE = 0.7
MAX_STREAMS = 10_000
WORKERS_PER_HOST = 7
SOCKET_KB = 4.0
CONNECTIONS_PER_WORKER = MAX_POSTGRES_CONNECTIONS

# static/js/connection/policy.js
ATTEMPT_DELAYS_S = (1.0, 2.0, 4.0, 8.0, 16.0)
LONGEST_DELAY_S = 30.0
JITTER = 0.2
HELLO_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Costs:
    """Measured: CPU of one delivery in µs, of an idle stream for a second in µs, of a connect in ms, memory in kB."""

    delivery_us: float
    idle_us: float
    connect_ms: float
    stream_kb: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What a number of viewers takes. Cores are those of web workers; memory in GB; network in Mbit/s."""

    viewers: int
    delivery_cores: float
    idle_cores: float
    connect_cores: float
    workers: int
    memory_gb: float
    network_mbit: float

    @property
    def cores(self) -> float:
        return self.delivery_cores + self.idle_cores + self.connect_cores

    @property
    def hosts(self) -> int:
        return math.ceil(self.workers / WORKERS_PER_HOST)


@dataclass(frozen=True, slots=True)
class Return:
    """Seconds until half, 99 % and all viewers are back, and attempts for each of them."""

    half_s: float
    most_s: float
    all_s: float
    attempts: float


def read_costs(benchmarks: str) -> Costs:
    """Read the costs from the rows of docs/benchmarks.md. Raises `ValueError` if a row is missing."""
    return Costs(
        delivery_us=1e6 / _read_figure(benchmarks, "deliveries a CPU-second, 1,000 streams x 20/s"),
        idle_us=_read_figure(benchmarks, "worker's CPU with 5,000 idle streams") / 100 / 5_000 * 1e6,
        connect_ms=_read_figure(benchmarks, "CPU of a connect and close, 8,000 streams open"),
        stream_kb=_read_figure(benchmarks, "worker's memory a stream, 10,000 idle"),
    )


def _read_figure(text: str, row: str) -> float:
    found = re.search(rf"^\| {re.escape(row)} \| ([\d,.]+)", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"docs/benchmarks.md has no row {row!r}")
    return float(found[1].replace(",", ""))


def plan(viewers: int, costs: Costs) -> Plan:
    delivery = viewers * EVENTS_PER_S * costs.delivery_us / 1e6
    idle = viewers * costs.idle_us / 1e6
    connect = viewers / STREAM_LIFETIME_S * costs.connect_ms / 1e3
    by_cpu = (delivery + idle + connect) / MAX_CORE_SHARE
    return Plan(
        viewers,
        delivery,
        idle,
        connect,
        workers=math.ceil(max(by_cpu, viewers / MAX_STREAMS)),
        memory_gb=viewers * (costs.stream_kb + SOCKET_KB) / 1e6,
        network_mbit=viewers * EVENTS_PER_S * BYTES_PER_EVENT * 8 / 1e6,
    )


def simulate_return(viewers: int, workers: int, connect_ms: float, seed: int = 1) -> Return:
    """All viewers lose their streams at once and come back, each on its own schedule; a worker takes one at a time.

    A viewer that has no answer within ten seconds gives up and waits longer before it tries again; the worker still
    spends the time on the abandoned attempt.
    """
    chance = random.Random(seed)  # noqa: S311 -- a simulation
    back: list[float] = []
    attempts = 0
    for worker in range(workers):
        here = viewers // workers + (worker < viewers % workers)
        came, tried = _simulate_worker(here, connect_ms / 1e3, chance)
        back += came
        attempts += tried
    back.sort()
    return Return(back[len(back) // 2], back[int(len(back) * 0.99)], back[-1], attempts / viewers)


def _simulate_worker(viewers: int, connect_s: float, chance: random.Random) -> tuple[list[float], int]:
    """When each viewer of one worker is back, and how many attempts that took."""
    arrivals = [(_jitter(ATTEMPT_DELAYS_S[0], chance), 0) for _ in range(viewers)]
    heapq.heapify(arrivals)
    back: list[float] = []
    attempts, free_at = 0, 0.0
    while arrivals:
        arrived_at, failures = heapq.heappop(arrivals)
        attempts += 1
        free_at = max(free_at, arrived_at) + connect_s
        if free_at - arrived_at <= HELLO_TIMEOUT_S:
            back.append(free_at)
            continue
        gave_up_at = arrived_at + HELLO_TIMEOUT_S
        heapq.heappush(arrivals, (gave_up_at + _jitter(_delay_after(failures + 1), chance), failures + 1))
    return back, attempts


def _delay_after(failures: int) -> float:
    return ATTEMPT_DELAYS_S[failures] if failures < len(ATTEMPT_DELAYS_S) else LONGEST_DELAY_S


def _jitter(seconds: float, chance: random.Random) -> float:
    return seconds * (1 + JITTER * (2 * chance.random() - 1))


def plan_table(costs: Costs) -> Iterator[str]:
    plans = [plan(viewers, costs) for viewers in VIEWERS]
    yield from _table("viewers", [f"{one.viewers:,}" for one in plans])
    rows: dict[str, list[str]] = {
        "deliveries a second": [f"{one.viewers * EVENTS_PER_S:,.0f}" for one in plans],
        "cores: events": [f"{one.delivery_cores:,.2f}" for one in plans],
        "cores: heartbeats": [f"{one.idle_cores:,.2f}" for one in plans],
        "cores: streams that end and begin again": [f"{one.connect_cores:,.2f}" for one in plans],
        "web workers": [f"{one.workers:,}" for one in plans],
        f"hosts with {WORKERS_PER_HOST} of them": [f"{one.hosts:,}" for one in plans],
        "memory of streams and sockets": [f"{one.memory_gb:,.2f} GB" for one in plans],
        "network, events alone": [f"{one.network_mbit:,.0f} Mbit/s" for one in plans],
        "reads of the log a second": [f"{one.workers * EVENTS_PER_S:,.0f}" for one in plans],
        "connections to the database": [f"{one.workers * CONNECTIONS_PER_WORKER:,}" for one in plans],
    }
    for name, cells in rows.items():
        yield f"| {name} | {' | '.join(cells)} |"


def return_table(costs: Costs, viewers: Sequence[int] = VIEWERS) -> Iterator[str]:
    yield from _table("all connections are lost at once", [f"{one:,} viewers" for one in viewers])
    returns = [simulate_return(one, plan(one, costs).workers, costs.connect_ms) for one in viewers]
    for name, seconds in (("half are back", "half_s"), ("99 % are back", "most_s"), ("all are back", "all_s")):
        yield f"| {name} after | {' | '.join(f'{getattr(one, seconds):.1f} s' for one in returns)} |"
    yield f"| attempts for each viewer | {' | '.join(f'{one.attempts:.2f}' for one in returns)} |"


def _table(first: str, heads: Sequence[str]) -> Iterator[str]:
    yield f"| {first} | {' | '.join(heads)} |"
    yield "|---|" + "---:|" * len(heads)


def fill(page: str, name: str, rows: Iterator[str]) -> str:
    """Replace what stands between the marks of a table."""
    begin, end = MARK.format("begin", name), MARK.format("end", name)
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return "\n".join([f"{before}{begin}", *rows, f"{end}{after}"])


def main() -> None:
    costs = read_costs((DOCS / "benchmarks.md").read_text())
    page = DOCS / "scale.md"
    text = fill(page.read_text(), "plan", plan_table(costs))
    page.write_text(fill(text, "return", return_table(costs)))
    sys.stdout.write(f"{page} is written\n")


if __name__ == "__main__":
    main()
