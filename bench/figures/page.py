"""The dashboard's page for somebody logged in, with 5,000 streams at 5 events a second against none."""

import time

import requests

from bench.figure import Figure, Medians, Reading, Row, at_most, cells, ours, quantile
from bench.peers.ours import Ours
from bench.peers.server import Server

STREAMS = 5_000
RATE = 5
EVERY_S = 0.2
LOADS = 200
PAUSE_S = 0.05  # between two pages, so that they meet every phase of a batch
WARM_S = 2.0
AIM = 3.0


def measure(server: Server, quick: bool) -> Reading:
    assert isinstance(server, Ours)
    loads = LOADS // 5 if quick else LOADS
    with server.client() as client, server.publisher() as publisher:
        browser = server.beacon.log_in("alice")
        alone = p99_ms(browser, server.beacon.url, loads)
        server.open(client, publisher, STREAMS // 10 if quick else STREAMS)
        publisher.begin(RATE, WARM_S + loads * PAUSE_S * 1.5, every_s=EVERY_S)
        time.sleep(WARM_S)
        client.start()
        beside = p99_ms(browser, server.beacon.url, loads)
        client.stop()
        publisher.finish()
        return Reading({"alone_ms": alone, "beside_ms": beside, "ratio": beside / alone}, client.windows)


def p99_ms(browser: requests.Session, url: str, loads: int) -> float:
    taken = [_load_s(browser, url) for _ in range(loads + 5)][5:]  # the first ones compile templates
    return quantile(taken, 0.99) * 1000


def _load_s(browser: requests.Session, url: str) -> float:
    time.sleep(PAUSE_S)
    began = time.perf_counter()
    browser.get(f"{url}/", timeout=30).raise_for_status()
    return time.perf_counter() - began


def rows(medians: Medians) -> list[Row]:
    return [
        Row(
            "a page's p99, no stream -> 5,000 x 5/s",
            cells(medians, lambda v: f"{v['alone_ms']:.0f} -> {v['beside_ms']:.0f} ms ({v['ratio']:.1f}x)"),
            f"<= {AIM:.0f}x",
            at_most(ours(medians, "ratio"), AIM),
        )
    ]


FIGURE = Figure("page", __doc__ or "", (Ours,), measure, rows)
