"""The first load of the dashboard: bytes and requests on the wire, and script until it follows the log."""

import json
from typing import Any

from playwright.sync_api import Browser

from app.db import write
from app.infra.clock import utc_text
from app.reconciliation.models import CheckSample, Service, ServiceState
from bench.browser import chromium, logged_in, wait_state
from bench.figure import Figure, Medians, Reading, Row, Values, at_most, cells, ours
from bench.peers.ours import Ours
from bench.peers.server import Server
from tests.support.beacon_server import Beacon

LIMIT_KB = {12: 50, 200: 80}
FLAG = {"on": "connected", "off": "polling"}
KINDS = {"Document": "html", "Stylesheet": "css", "Script": "js"}
COUNTS = {"succeeded": 1204, "failed": 14, "queued": 12, "running": 3}


def measure(server: Server, quick: bool) -> Reading:  # noqa: ARG001 -- it is as short as it can be
    assert isinstance(server, Ours)
    beacon = server.beacon
    values: dict[str, float] = {}
    known = 0
    with chromium() as browser:
        load(browser, beacon, "connected")  # the first one compiles templates
        for services in LIMIT_KB:
            add_services(beacon, known, services)
            known = services
            for flag, state in FLAG.items():
                beacon.set_rollout(100 if flag == "on" else 0)
                found = load(browser, beacon, state)
                values |= {f"{name}_{services}_{flag}": value for name, value in found.items()}
            beacon.set_rollout(100)
    return Reading(values, [])


def add_services(beacon: Beacon, first: int, last: int) -> None:
    """Verified ones, each with its figures and one look behind it; nobody answers at their address."""
    now = utc_text()
    payload = {"status": "verified", "checksum": "c", "latencyMs": 41, "checkedAt": now, "lastVerifiedAt": now}
    with beacon.app.app_context(), write() as session:
        for name in (f"service-{number}" for number in range(first, last)):
            session.add(
                Service(
                    id=name, name=name, kind="palantir", url="http://127.0.0.1:9", origin="admin", registered_at=now
                )
            )
            session.flush()
            state = ServiceState(service_id=name, version=1, status="verified")
            state.payload_json = json.dumps({**payload, "eventId": name, "service": name, "counts": COUNTS})
            state.checked_at, state.latency_ms, state.counts_only = now, 41, False
            session.add(state)
            session.add(CheckSample(service_id=name, at=now, ok=True, latency_ms=41, counts_json=json.dumps(COUNTS)))


def load(browser: Browser, beacon: Beacon, state: str) -> dict[str, float]:
    """One load into an empty cache. `kb`: HTML, CSS and JS as they travel; the bodies, as the limit is meant."""
    context = logged_in(browser, beacon)
    page = context.new_page()
    network = context.new_cdp_session(page)
    heads: dict[str, tuple[str, int]] = {}
    sizes: dict[str, float] = dict.fromkeys(KINDS.values(), 0)

    def received(event: Any) -> None:
        heads[event["requestId"]] = (KINDS.get(event["type"], ""), event["response"]["encodedDataLength"])

    def finished(event: Any) -> None:
        kind, head = heads.get(event["requestId"], ("", 0))
        if kind:
            sizes[kind] += (event["encodedDataLength"] - head) / 1000

    network.on("Network.responseReceived", received)
    network.on("Network.loadingFinished", finished)
    network.send("Network.enable")
    network.send("Performance.enable")
    page.goto(f"{beacon.url}/")
    wait_state(page, state)
    spent = {one["name"]: one["value"] * 1000 for one in network.send("Performance.getMetrics")["metrics"]}
    context.close()
    taken = {"script_ms": spent["ScriptDuration"], "task_ms": spent["TaskDuration"]}
    return {**sizes, "kb": sum(sizes.values()), "requests": len(heads), **taken}


def rows(medians: Medians) -> list[Row]:
    return [row(medians, services, flag) for services in LIMIT_KB for flag in FLAG]


def row(medians: Medians, services: int, flag: str) -> Row:
    def show(values: Values) -> str:
        def of(name: str) -> float:
            return values[f"{name}_{services}_{flag}"]

        parts = " + ".join(f"{of(kind):.1f} {kind.upper()}" for kind in KINDS.values())
        script = f"script {of('script_ms'):.0f} of {of('task_ms'):.0f} ms"
        return f"{of('kb'):.1f} kB ({parts}), {of('requests'):.0f} requests, {script}"

    return Row(
        f"first load, {services} services, flag {flag}",
        cells(medians, show),
        f"<= {LIMIT_KB[services]} kB",
        at_most(ours(medians, f"kb_{services}_{flag}"), LIMIT_KB[services]),
    )


FIGURE = Figure("first-load", __doc__ or "", (Ours,), measure, rows)
