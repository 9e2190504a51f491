"""The dashboard's first answer with the flag on and off, asked in turns so that noise hits both alike."""

import time
from pathlib import Path

import requests

from bench.figures import Figure, milliseconds, quantile
from tests.beacon_process import Beacon

TURNS = 100


def measure(folder: Path) -> list[Figure]:
    on, off = [], []
    with Beacon(folder, streaming=50) as beacon:
        streaming, polling = _people(beacon)
        for _ in range(TURNS):
            on.append(_load(streaming, beacon.url))
            off.append(_load(polling, beacon.url))
    return [
        Figure("dashboard's HTML, flag on, median", milliseconds(quantile(on, 0.5))),
        Figure("dashboard's HTML, flag off, median", milliseconds(quantile(off, 0.5)), "no slower than on"),
    ]


def _people(beacon: Beacon) -> tuple[requests.Session, requests.Session]:
    """One person for whom the flag is on, and one for whom it is off."""
    found: dict[bool, requests.Session] = {}
    for name in ("alice", "bob", "charlie", "pia", "ada"):
        browser = beacon.log_in(name)
        found['data-stream="on"' in browser.get(f"{beacon.url}/").text] = browser
    if set(found) != {True, False}:
        raise SystemExit("all five people are in one half of the rollout: choose others")
    return found[True], found[False]


def _load(browser: requests.Session, url: str) -> float:
    began = time.perf_counter()
    browser.get(f"{url}/").raise_for_status()
    return time.perf_counter() - began
