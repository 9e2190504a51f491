"""The dashboard's first answer with the flag on and off, asked in turns so that noise hits both alike."""

import time

import requests

from bench.figure import Figure, Medians, Reading, Row, cells, quantile
from bench.peers.ours import Ours
from bench.peers.server import Server
from tests.beacon_process import PEOPLE, Beacon

TURNS = 100


def measure(server: Server, quick: bool) -> Reading:
    assert isinstance(server, Ours)
    on, off = [], []
    streaming, polling = _people(server.beacon)
    for _ in range(TURNS // 5 if quick else TURNS):
        on.append(_load_s(streaming, server.beacon.url))
        off.append(_load_s(polling, server.beacon.url))
    return Reading({"on_ms": quantile(on, 0.5) * 1000, "off_ms": quantile(off, 0.5) * 1000}, [])


def _people(beacon: Beacon) -> tuple[requests.Session, requests.Session]:
    """One person for whom the flag is on, and one for whom it is off: five fall on both sides of some percentage."""
    browsers = [beacon.log_in(name) for name in PEOPLE]
    for percentage in range(10, 100, 10):
        beacon.set_rollout(percentage)
        time.sleep(1)  # every worker follows within a second
        found = {'data-stream="on"' in browser.get(f"{beacon.url}/").text: browser for browser in browsers}
        if len(found) == 2:
            return found[True], found[False]
    raise SystemExit("no percentage divides the five people: choose other names")


def _load_s(browser: requests.Session, url: str) -> float:
    began = time.perf_counter()
    browser.get(f"{url}/").raise_for_status()
    return time.perf_counter() - began


def rows(medians: Medians) -> list[Row]:
    show = cells(medians, lambda values: f"{values['on_ms']:.1f} / {values['off_ms']:.1f} ms")
    return [Row("dashboard's HTML, flag on / off, median", show)]


FIGURE = Figure("flag", __doc__ or "", (Ours,), measure, rows, runs=1)
