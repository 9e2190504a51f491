"""The dashboard's first answer with the flag on and off, asked in turns so that noise hits both alike."""

import time
from pathlib import Path

import requests

from bench.figures import Figure, milliseconds, quantile
from tests.beacon_process import PEOPLE, Beacon

TURNS = 100


def measure(folder: Path) -> list[Figure]:
    on, off = [], []
    with Beacon(folder) as beacon:
        streaming, polling = _people(beacon)
        for _ in range(TURNS):
            on.append(_load(streaming, beacon.url))
            off.append(_load(polling, beacon.url))
    return [
        Figure("dashboard's HTML, flag on, median", milliseconds(quantile(on, 0.5))),
        Figure("dashboard's HTML, flag off, median", milliseconds(quantile(off, 0.5)), "no slower than on"),
    ]


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


def _load(browser: requests.Session, url: str) -> float:
    began = time.perf_counter()
    browser.get(f"{url}/").raise_for_status()
    return time.perf_counter() - began
