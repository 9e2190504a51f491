"""The overview of 200 services, 60 of them failing: its start, the gaps between checks of the others, its CPU."""

import itertools
import time
from collections.abc import Iterable
from datetime import datetime
from typing import ClassVar

import requests
import sqlalchemy as sa
from playwright.sync_api import Browser

from app.db import read
from app.infra.clock import parse_utc
from app.reconciliation.models import CheckSample
from bench.browser import chromium, logged_in, wait_state
from bench.figure import Figure, Medians, Reading, Row, Values, at_most, cells, ours
from bench.peers.server import Server
from bench.watching import WatchingHttp

SERVICES, FAILING = 200, 60
INTERVAL_S = 5.0
# Long enough for each failing service to be called stale, which is three intervals.
SETTLE_S, WATCH_S = 20.0, 40.0
MAX_START_S, MAX_GAP_INTERVALS, MAX_PERCENT = 2.0, 2.0, 3.0


class Wall(WatchingHttp):
    """A third of the failing services keeps each request waiting, the others answer 500."""

    jobs: ClassVar[int] = 20
    services: ClassVar[int] = SERVICES

    def fail(self, number: int) -> None:
        """Make the first `number` services fail from now on."""
        requests.get(f"http://127.0.0.1:{self.upstream}/fail/{number}", timeout=10).raise_for_status()

    def longest_gap_s(self, since: float) -> float:
        """Between two recorded checks of one healthy service since then, or from the last one until now."""
        sampled = sa.select(CheckSample.service_id, CheckSample.at).where(CheckSample.ok)
        with self.beacon.app.app_context(), read() as session:
            found = [(service, parse_utc(at)) for service, at in session.execute(sampled)]
        healthy = {f"s{number}" for number in range(FAILING, SERVICES)}
        times: dict[str, list[datetime]] = {name: [] for name in healthy}
        for service, at in found:
            if service in healthy and at.timestamp() >= since:
                times[service].append(at)
        return max(
            _longest_gap_s([since, *(at.timestamp() for at in sorted(one)), time.time()]) for one in times.values()
        )


def _longest_gap_s(times: Iterable[float]) -> float:
    return max(later - earlier for earlier, later in itertools.pairwise(times))


def measure(server: Server, quick: bool) -> Reading:
    assert isinstance(server, Wall)
    server.watch()
    time.sleep(2 * INTERVAL_S)  # the first polls of all services start one after the other
    server.fail(FAILING)
    failing_since = time.time()
    time.sleep(SETTLE_S)
    with chromium() as browser:
        values = watch_page(browser, server, WATCH_S / 4 if quick else WATCH_S)
    return Reading(values | {"gap_s": server.longest_gap_s(failing_since)}, ())


def watch_page(browser: Browser, server: Wall, seconds: float) -> dict[str, float]:
    """`start_s`: of a first load into an empty cache. `percent`: of all that the browser does for the open page."""
    with browser.new_page() as first:  # the browser itself starts
        first.goto(f"{server.beacon.url}/login")
    context = logged_in(browser, server.beacon)
    page = context.new_page()
    began = time.monotonic()
    page.goto(f"{server.beacon.url}/")
    wait_state(page, "connected")
    start_s = time.monotonic() - began
    time.sleep(3)  # what follows the start, such as the keyboard and the first ages
    before, began = renderers_cpu_s(browser), time.monotonic()
    time.sleep(seconds)
    used, passed_s = renderers_cpu_s(browser) - before, time.monotonic() - began
    context.close()
    return {"start_s": start_s, "percent": used / passed_s * 100}


def renderers_cpu_s(browser: Browser) -> float:
    processes = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    return float(sum(one["cpuTime"] for one in processes if one["type"] == "renderer"))


def rows(medians: Medians) -> list[Row]:
    what = f"overview with {SERVICES} services, {FAILING} failing"

    def row(part: str, key: str, aim: float, unit: str) -> Row:
        def show(values: Values) -> str:
            return f"{values[key]:.1f} {unit}"

        return Row(f"{what}: {part}", cells(medians, show), f"<= {aim:g} {unit}", at_most(ours(medians, key), aim))

    return [
        row("time to connected", "start_s", MAX_START_S, "s"),
        row("longest gap between checks of a healthy one", "gap_s", MAX_GAP_INTERVALS * INTERVAL_S, "s"),
        row("CPU of the open page", "percent", MAX_PERCENT, "% of a core"),
    ]


FIGURE = Figure("wall", __doc__ or "", (Wall,), measure, rows)
