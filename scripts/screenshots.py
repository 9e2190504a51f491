"""Take the pictures in docs/ from a real Beacon in a real Chromium: `make screenshots`.

The first screen and the way to a cause are those of `beacon demo`. The other pages have four quiet job services: one
has lost three jobs, one has stopped answering, two are fine.
"""

import json
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import requests
from playwright.sync_api import Browser, sync_playwright

from app.db import write
from app.infra.clock import utc_now, utc_text
from app.reconciliation.models import CheckSample, DiscrepancyEvent, OpenItem
from scripts.bootstrap import find_chromium
from scripts.camera import Cookies, context, take, take_each
from scripts.demo_screenshots import take_demo
from tests.support.beacon_server import Beacon
from tests.support.demo_service import DemoService, start_demo
from tests.support.waiting import wait_for
from tests.web.record_scene import happened, item
from tests.web.test_weight import fill

PAGES = {
    "service": "/services/mail",
    "jobs": "/services/mail/jobs?state=failed",
    "review": "/services/thumbnails/commands/review?do=purge-queue&queue=default",
    "commands": "/commands",
    "command": "/commands/night-thumbs-retry",
    "discrepancies": "/discrepancies",
    "audit": "/audit",
    "notifications": "/notifications",
}
# A wall grows the same layout; taken of the dashboard alone.
WALL: dict[str, Any] = {"viewport": {"width": 1920, "height": 1080}}
MANY = 200
# Taken once an operator has told everybody something; `panel` is the dashboard with the bell's panel open.
NOTICED = {"panel": "/", "notifications": "/notifications"}
FLASH = {"severity": "warning", "text": "Mail is redeployed at a quarter past: expect a few restarts"}
SERVICES = {
    "mail": ("Mail", {"queued": 14, "running": 3, "failed": 2, "succeeded": 40}),
    "invoices": ("Invoices", {"queued": 2, "running": 1, "failed": 0, "succeeded": 12}),
    "thumbnails": ("Thumbnails", {"queued": 1204, "running": 16, "failed": 31, "succeeded": 90}),
    "search": ("Search index", {"queued": 0, "running": 1, "failed": 0, "succeeded": 7}),
}
EVENTS = [
    {"type": "deploy.started", "data": {"version": "4.12.0", "by": "jenkins"}},
    {"type": "job.started", "data": {"service": "invoices", "jobId": "inv-2026-000417", "queue": "pdf"}},
    {"type": "job.failed", "data": {"service": "invoices", "jobId": "inv-2026-000417", "queue": "pdf"}},
    {"type": "deploy.done", "data": {"version": "4.12.0", "by": "jenkins"}},
]


def main() -> None:
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        services = {each: stack.enter_context(_service(folder / each, *SERVICES[each])) for each in SERVICES}
        beacon = Beacon(folder / "beacon", POLL_INTERVAL_S=2)
        for service_id, service in services.items():
            beacon.watch(service_id, service.url, SERVICES[service_id][0])
        _remember(beacon)
        stack.enter_context(beacon)
        _happen(beacon, services)
        playwright = stack.enter_context(sync_playwright())
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=sandbox)
        _take_all(browser, beacon)
        _take_many(browser, stack.enter_context(_many(folder)))
        take_demo(browser, folder / "demo")
        browser.close()


@contextmanager
def _service(folder: Path, name: str, counts: dict[str, int]) -> Iterator[DemoService]:
    folder.mkdir()
    service = start_demo(folder, name=name)
    service.create_jobs(*[{"state": state, "queue": "default"} for state in counts for _ in range(counts[state])])
    yield service
    service.stop()


def _remember(beacon: Beacon) -> None:
    """The hour before: jobs that failed came and went, and one service was away for a while."""
    now = utc_now()
    with beacon.app.app_context(), write() as session:
        for place, (service, (_, counts)) in enumerate(SERVICES.items()):
            for ago in range(59, 0, -1):
                if service == "search" and 20 < ago < 30:
                    continue
                failed = max(0, counts["failed"] + round((5 + place) * math.sin((ago + 9 * place) / 8)))
                text = json.dumps({"failed": failed, "queued": counts["queued"] + ago % 7})
                at = utc_text(now - timedelta(minutes=ago))
                latency = round(22 + 9 * math.sin((ago + 5 * place) / 6) + ago % 5)
                row = CheckSample(service_id=service, at=at, ok=True, status="verified", latency_ms=latency)
                row.counts_json = text
                session.add(row)
        session.add_all(_endings(now))


def _endings(now: datetime) -> list[DiscrepancyEvent | OpenItem]:
    """Two nights of the record that are over: accepted by a person, and mended by itself."""
    begun, over = (utc_text(now - timedelta(hours=hours)) for hours in (9, 8))
    lost = ["thumb_90cc41e7d2b8", "thumb_17f0aa35c9e4"]
    closed = {"at": over, "how": "accepted", "by": "bob", "why": "deleted by hand during the migration"}
    return [
        happened("thumbnails", "discrepancy", begun, lost, expected=1214, actual=1212),
        *(item("thumbnails", job, "missing", begun, **closed) for job in lost),
        happened("thumbnails", "verified", over),
        happened("search", "stale", utc_text(now - timedelta(minutes=30))),
        happened("search", "verified", utc_text(now - timedelta(minutes=20))),
    ]


def _happen(beacon: Beacon, services: dict[str, DemoService]) -> None:
    """A bad night, in the order in which it came."""
    _wait_status(beacon, "verified", len(services))
    for event in EVENTS:
        beacon.publish([event])
    _command(beacon, services)
    services["search"].fault("refuse", seconds=3600)
    _wait_status(beacon, "stale", 1)
    services["mail"].lose(3)
    _wait_status(beacon, "discrepancy", 1)
    beacon.publish([{"type": "job.failed", "data": {"service": "thumbnails", "jobId": "thumb_5c0a81f39d2e"}}])


def _command(beacon: Beacon, services: dict[str, DemoService]) -> None:
    """Somebody was up: seven jobs retried, one deleted, one that cannot be retried."""

    def jobs(service: str, state: str, number: int) -> list[str]:
        return [job["id"] for job in services[service].get("/api/v1/jobs", state=state).json()["jobs"][:number]]

    _give(beacon, "night-thumbs-retry", "retry-job", "thumbnails", targets=jobs("thumbnails", "failed", 7))
    _give(beacon, "night-mail-delete", "delete-job", "mail", target=jobs("mail", "failed", 1)[0])
    _give(beacon, "night-mail-retry", "retry-job", "mail", target=jobs("mail", "queued", 1)[0])
    ended = "SELECT count(*) FROM command WHERE ended_at IS NOT NULL"
    wait_for(lambda: beacon.sql(ended)[0][0] == 3, "the commands to end", within_s=30)


def _give(beacon: Beacon, command_id: str, action: str, service: str, **scope: Any) -> None:
    body = {"commandId": command_id, "actionType": action, "service": service, **scope}
    headers = beacon.bearer("bob", "command")
    requests.post(f"{beacon.url}/commands/run", json=body, headers=headers, timeout=10).raise_for_status()


def _wait_status(beacon: Beacon, status: str, number: int) -> None:
    statement = "SELECT count(*) FROM service_state WHERE status = ?"
    wait_for(lambda: beacon.sql(statement, status)[0][0] >= number, f"{number} services {status}", within_s=30)


def _take_all(browser: Browser, beacon: Beacon) -> None:
    cookies = _cookies(beacon)
    take_each(browser, beacon.url, PAGES, cookies)
    take_each(browser, beacon.url, {"login": "/login"}, [])
    _wait_noticed(beacon)
    take_each(browser, beacon.url, NOTICED, cookies)
    _take_wall(browser, beacon, cookies)


def _cookies(beacon: Beacon) -> Cookies:
    found = beacon.log_in("bob").cookies
    return [{"name": cookie.name, "value": cookie.value or "", "url": beacon.url} for cookie in found]


def _take_wall(browser: Browser, beacon: Beacon, cookies: Cookies) -> None:
    with context(browser, "dark", WALL, cookies) as made:
        take(made.new_page(), beacon.url, "dashboard-wall-dark")


def _many(folder: Path) -> Beacon:
    """Many services as they were found; none is asked while the picture is taken."""
    beacon = Beacon(folder / "many", POLL_INTERVAL_S=3600, ENVIRONMENT_NAME="production")
    fill(beacon.app, MANY)
    return beacon


def _take_many(browser: Browser, beacon: Beacon) -> None:
    """With 24 services or more, verified ones are lines: the first screen, and the last services with a problem."""
    take_each(browser, beacon.url, {"many": "/"}, _cookies(beacon))
    take_each(browser, beacon.url, {"many-lines": "/"}, _cookies(beacon), past=".tiles-quiet")


def _wait_noticed(beacon: Beacon) -> None:
    """The discrepancy has lasted its three polls, and an operator says why."""
    statement = "SELECT count(*) FROM notification WHERE cause LIKE 'discrepancy:%'"
    wait_for(lambda: beacon.sql(statement)[0][0], "the discrepancy to last", within_s=30)
    body = {**FLASH, "expiresAt": utc_text(utc_now() + timedelta(minutes=30))}
    headers = beacon.bearer("bob", "command")
    requests.post(f"{beacon.url}/api/flash", json=body, headers=headers, timeout=10).raise_for_status()


if __name__ == "__main__":
    main()
