"""Two hosts on PostgreSQL beside one on SQLite, two workers each: how late events are, and a host that is killed."""

import threading
import time
from contextlib import ExitStack

from bench import load
from bench.figure import Figure, Medians, Reading, Row, at_most, both, ours
from bench.load import Load
from bench.peers.server import Server
from bench.peers.two_hosts import OneHost, TwoHosts
from bench.processes import cpu_s, pss_bytes
from tests.live.fleet import fleet_of

STREAMS = 1_000
READERS = 500
EVENTS_PER_S = 20
MAX_RATIO = 1.5
BACK_WITHIN_S = 5.0
REST_PERCENT, REST_MB = 2.0, 90.0


def measure(server: Server, quick: bool) -> Reading:
    assert isinstance(server, TwoHosts)
    values = _rest(server, 3 if quick else 15)
    values |= _lateness(server, quick, "two")
    folder = server.folder / "sqlite"
    folder.mkdir()
    with OneHost(folder) as single:
        values |= _lateness(single, quick, "one")
    return Reading(values | _return(server, READERS // 10 if quick else READERS), [])


def _rest(server: TwoHosts, seconds: float) -> dict[str, float]:
    time.sleep(3)  # what a start leaves to do
    before = cpu_s(server.worker)
    time.sleep(seconds)
    percent = (cpu_s(server.worker) - before) / seconds * 100
    return {"rest_percent": percent, "rest_mb": pss_bytes(server.worker) / 1e6}


def _lateness(server: OneHost | TwoHosts, quick: bool, prefix: str) -> dict[str, float]:
    """The later of the hosts counts."""
    with ExitStack() as stack:
        clients = [stack.enter_context(client) for client in server.clients()]
        publisher = stack.enter_context(server.publisher())
        for client in clients:
            server.open(client, publisher, STREAMS // len(clients) // (10 if quick else 1))
        others = clients[1:]
        for client in others:
            client.start()
        cost = load.run(server, clients[0], publisher, Load(EVENTS_PER_S, 3 if quick else 20))
        windows = [cost.window, *(client.stop() for client in others)]
        lost = sum(load.lost(client, publisher) for client in clients)
        return {
            f"{prefix}_p50_ms": max(window.p50_ms for window in windows),
            f"{prefix}_p99_ms": max(window.p99_ms for window in windows),
            f"{prefix}_lost": lost,
        }


def _return(server: TwoHosts, count: int) -> dict[str, float]:
    """Readers of the second host, as they read on at the first after it is killed, while events are published."""
    stopping, ids = threading.Event(), list[int]()

    def publish() -> None:
        while not stopping.wait(0.05):
            ids.extend(server.beacon.publish([{"type": "bench.event", "data": {}}]))

    with fleet_of(server.second) as fleet:
        start = server.beacon.head()
        fleet.open("alice", count, after=start)
        fleet.all_open(60)
        thread = threading.Thread(target=publish)
        thread.start()
        try:
            fleet.go_on_for(1)
            server.kill_second()
            began = time.monotonic()
            fleet.address = ("127.0.0.1", server.beacon.port)
            last = server.beacon.publish([{"type": "bench.event", "data": {}}])[0]
            fleet.all_have(last, 60)
            seconds = time.monotonic() - began
        finally:
            stopping.set()
            thread.join()
        fleet.all_have(max(ids), 60)
        rows = server.beacon.sql("SELECT id FROM event WHERE id > ? AND audience = 'everyone' ORDER BY id", start)
        expected = [row[0] for row in rows]
        wrong = sum(
            reader.ids != expected[: len(reader.ids)] or not set(ids) <= set(reader.ids) for reader in fleet.readers
        )
        return {"back_s": seconds, "wrong": wrong}


def rows(medians: Medians) -> list[Row]:
    def cell(text: str) -> dict[str, str]:
        return {name: text.format(**values) for name, values in medians.items()}

    found = medians.get("ours", {})
    slower = [found[f"two_{name}"] / found[f"one_{name}"] if found else None for name in ("p50_ms", "p99_ms")]
    return [
        Row(
            "event of one host -> 1,000 streams on two, p50 / p99 (SQLite, one host)",
            cell("{two_p50_ms:.1f} / {two_p99_ms:.1f} ms ({one_p50_ms:.1f} / {one_p99_ms:.1f} ms)"),
            f"<= {MAX_RATIO}x SQLite",
            both(*(at_most(one, MAX_RATIO) for one in slower)),
        ),
        Row(
            "500 readers of a killed host read on at the other",
            cell("{back_s:.1f} s, {wrong:.0f} readers with a gap or a repeat"),
            f"<= {BACK_WITHIN_S:.0f} s, none",
            both(at_most(ours(medians, "back_s"), BACK_WITHIN_S), at_most(ours(medians, "wrong"), 0)),
        ),
        Row(
            "web worker at rest, CPU and memory",
            cell("{rest_percent:.1f} %, {rest_mb:.0f} MB"),
            f"<= {REST_PERCENT:.0f} % of a core, {REST_MB:.0f} MB",
            both(at_most(ours(medians, "rest_percent"), REST_PERCENT), at_most(ours(medians, "rest_mb"), REST_MB)),
        ),
    ]


FIGURE = Figure("hosts", __doc__ or "", (TwoHosts,), measure, rows)
