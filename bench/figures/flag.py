"""What a decision of a flag costs, how soon 2,000 open streams follow a change, and a page with the flag on and off.

A decision is asked of a user who was asked before, as on every request but the first since a change, and of one who was
not, whom the engine has to place. The streams are those of as many people, and the change is the kill switch, pressed
over HTTP: from the first byte of that request until each stream has read `bye flag-off`. Pages are loaded in turns, so
that noise hits both.
"""

import time

import requests

from app.flags.document import Flag, Rollout
from app.flags.evaluation import is_enabled
from bench.client import Window
from bench.figure import Figure, Medians, Reading, Row, Values, at_most, both, cells, ours, quantile
from bench.peers.ours import Ours
from bench.peers.server import Server
from tests.support.beacon_server import PEOPLE, Beacon

TURNS = 100
USERS = 9_000
STREAMS = 2_000
WITHIN_S = 60.0
AIM_US = 50.0
AIM_MOVED_S = 5.0


class Crowd(Ours):
    """Each stream is another person's, so that each has to be decided about."""

    readers = STREAMS


def measure(server: Server, quick: bool) -> Reading:
    assert isinstance(server, Ours)
    moved, window = _moved(server, STREAMS // 10 if quick else STREAMS)
    on, off = [], []
    streaming, polling = _people(server.beacon)
    for _ in range(TURNS // 5 if quick else TURNS):
        on.append(_load_s(streaming, server.beacon.url))
        off.append(_load_s(polling, server.beacon.url))
    values = {
        "on_ms": quantile(on, 0.5) * 1000,
        "off_ms": quantile(off, 0.5) * 1000,
        **_decisions(server.beacon),
        **moved,
    }
    return Reading(values, [window])


def _moved(server: Ours, streams: int) -> tuple[dict[str, float], Window]:
    """The kill switch on open streams."""
    headers = {"Authorization": f"Bearer {server.beacon.token('pia', 'rollout')}"}
    with server.client() as client:
        client.open(streams)
        client.start()
        wanted = {"enabled": False, "reason": "a measurement"}
        url = f"{server.beacon.url}/api/rollout/{Flag.SSE_STREAMING}"
        began = time.monotonic()
        requests.put(url, json=wanted, headers=headers, timeout=10).raise_for_status()
        put_ms = (time.monotonic() - began) * 1000
        while client.status().streaming and time.monotonic() < began + WITHIN_S:
            time.sleep(0.05)
        window = client.stop()
    times = {"p50_ms": window.p50_ms, "p99_ms": min(window.p99_ms, window.max_ms), "last_ms": window.max_ms}
    return {**times, "put_ms": put_ms, "stayed": streams - window.byes}, window


def _decisions(beacon: Beacon) -> dict[str, float]:
    """Asked as a request asks, in this process: it is the same code, and a request's own cost would hide it."""
    users = [f"user{number}" for number in range(USERS)]
    with beacon.app.app_context():
        beacon.app.extensions["beacon"].flags.load({Flag.SSE_STREAMING: Rollout(enabled=True, percentage=50)})
        first, again = _decisions_us(users), _decisions_us(users)
    found = {"first": first, "again": again}
    shares = {"p50": 0.5, "p99": 0.99}
    return {f"{name}_{word}_us": quantile(found[name], share) for name in found for word, share in shares.items()}


def _decisions_us(users: list[str]) -> list[float]:
    clock, taken = time.perf_counter_ns, []
    for user in users:
        began = clock()
        is_enabled(Flag.SSE_STREAMING, user)
        taken.append((clock() - began) / 1000)
    return taken


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


def _moved_words(values: Values) -> str:
    times = " / ".join(f"{values[name]:,.0f}" for name in ("p50_ms", "p99_ms", "last_ms"))
    stayed = f", {values['stayed']:.0f} stayed" if values["stayed"] else ""
    return f"{times} ms{stayed} (the request itself {values['put_ms']:.0f} ms)"


def rows(medians: Medians) -> list[Row]:
    show = cells(medians, lambda values: f"{values['on_ms']:.1f} / {values['off_ms']:.1f} ms")
    first = cells(medians, lambda values: f"{values['first_p50_us']:.0f} / {values['first_p99_us']:.0f} µs")
    again = cells(medians, lambda values: f"{values['again_p50_us']:.1f} / {values['again_p99_us']:.1f} µs")
    moved = cells(medians, _moved_words)

    def aim(word: str) -> str:
        return f"{word} <= {AIM_US:.0f} µs"

    def reached(name: str) -> bool | None:
        return at_most(ours(medians, name), AIM_US)

    in_time = both(at_most(ours(medians, "last_ms"), AIM_MOVED_S * 1000), at_most(ours(medians, "stayed"), 0))
    return [
        Row("dashboard's HTML, flag on / off, median", show),
        Row("a flag's decision, first time, p50 / p99", first, aim("p50"), reached("first_p50_us")),
        Row("a flag's decision, asked before, p50 / p99", again, aim("p99"), reached("again_p99_us")),
        Row("2,000 streams out, p50 / p99 / last", moved, f"last <= {AIM_MOVED_S:.0f} s", in_time),
    ]


FIGURE = Figure("flag", __doc__ or "", (Crowd,), measure, rows)
