"""What a decision of a flag costs; the dashboard's first answer with the flag on and off, in turns: noise hits both.

A decision is asked of a user who was asked before, as on every request but the first since a change, and of one who was
not, whom the engine has to place.
"""

import time

import requests

from app.rollout.configuration import Flag, Rollout
from app.rollout.flags import Flags
from bench.figure import Figure, Medians, Reading, Row, at_most, cells, ours, quantile
from bench.peers.ours import Ours
from bench.peers.server import Server
from tests.beacon_process import PEOPLE, Beacon

TURNS = 100
USERS = 9_000
AIM_US = 50.0


def measure(server: Server, quick: bool) -> Reading:
    assert isinstance(server, Ours)
    on, off = [], []
    streaming, polling = _people(server.beacon)
    for _ in range(TURNS // 5 if quick else TURNS):
        on.append(_load_s(streaming, server.beacon.url))
        off.append(_load_s(polling, server.beacon.url))
    values = {"on_ms": quantile(on, 0.5) * 1000, "off_ms": quantile(off, 0.5) * 1000, **_decisions()}
    return Reading(values, [])


def _decisions() -> dict[str, float]:
    """In this process: it is the same code, and a request's own cost would hide it."""
    flags = Flags({})
    flags.load({Flag.SSE_STREAMING: Rollout(enabled=True, percentage=50)})
    users = [f"user{number}" for number in range(USERS)]
    return {f"{name}_us": _decision_us(flags, users) for name in ("first", "again")}


def _decision_us(flags: Flags, users: list[str]) -> float:
    began = time.perf_counter()
    for user in users:
        flags.is_enabled(Flag.SSE_STREAMING, user)
    return (time.perf_counter() - began) / len(users) * 1_000_000


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
    decision = cells(medians, lambda values: f"{values['first_us']:.1f} / {values['again_us']:.2f} µs")
    reached = at_most(ours(medians, "first_us"), AIM_US)
    return [
        Row("dashboard's HTML, flag on / off, median", show),
        Row("a flag's decision, first / asked before", decision, f"<= {AIM_US:.0f} µs", reached),
    ]


FIGURE = Figure("flag", __doc__ or "", (Ours,), measure, rows, runs=1)
