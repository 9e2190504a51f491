"""A row inserted into the event table by another process, until it is in the DOM: of one tab, of eight of a browser."""

import sqlite3
import time
from pathlib import Path

from playwright.sync_api import Page

from bench.browser import chromium, dashboard, logged_in
from bench.figure import Figure, Medians, Reading, Row, at_most, both, cells, ours, quantile
from bench.peers.ours import Ours
from bench.peers.server import Server

TABS = (1, 8)
ROWS = 200
# A moment of its own for each row, so that they meet the server's look-ups at every phase.
EVERY_S = 0.097
P50_MS, P99_MS = 50, 100

# The clock of the page is the machine's, like the stamp of the process that inserts.
NOTE = """() => {
  window.arrived = {};
  new MutationObserver((records) => {
    const now = performance.timeOrigin + performance.now();
    for (const row of records.flatMap(({ addedNodes }) => [...addedNodes])) {
      if (row.dataset?.id) window.arrived[row.dataset.id] ??= now;
    }
  }).observe(document.getElementById("changes"), { childList: true });
}"""


def measure(server: Server, quick: bool) -> Reading:
    assert isinstance(server, Ours)
    values: dict[str, float] = {}
    with chromium() as browser:
        for tabs in TABS:
            context = logged_in(browser, server.beacon)
            pages = [dashboard(context, server.beacon) for _ in range(tabs)]
            for page in pages:
                page.evaluate(NOTE)
            sent = insert(server.beacon.database, ROWS // 10 if quick else ROWS)
            taken = [ms for page in pages for ms in latencies(page, sent)]
            values |= {f"p50_ms_{tabs}": quantile(taken, 0.5), f"p99_ms_{tabs}": quantile(taken, 0.99)}
            context.close()
    return Reading(values, [])


def insert(database: Path, rows: int) -> dict[int, float]:
    """As another program would; the ids with the wall clock just before each was written, in ms."""
    sent: dict[int, float] = {}
    connection = sqlite3.connect(database, timeout=30, isolation_level=None)
    began = time.monotonic()
    for number in range(rows):
        time.sleep(max(0.0, began + number * EVERY_S - time.monotonic()))
        now = time.time() * 1000
        cursor = connection.execute("INSERT INTO event (type, data_json) VALUES ('bench.event', '{\"text\":\"row\"}')")
        assert cursor.lastrowid is not None
        sent[cursor.lastrowid] = now
    connection.close()
    return sent


def latencies(page: Page, sent: dict[int, float]) -> list[float]:
    page.wait_for_function("(id) => window.arrived[id] !== undefined", arg=max(sent))
    arrived: dict[str, float] = page.evaluate("window.arrived")
    return [arrived[str(event_id)] - at for event_id, at in sent.items()]


def rows(medians: Medians) -> list[Row]:
    return [row(medians, tabs) for tabs in TABS]


def row(medians: Medians, tabs: int) -> Row:
    p50, p99 = f"p50_ms_{tabs}", f"p99_ms_{tabs}"
    return Row(
        f"row by another process -> DOM of {tabs} tab{'s' if tabs > 1 else ''}, p50 / p99",
        cells(medians, lambda values: f"{values[p50]:.0f} / {values[p99]:.0f} ms"),
        f"<= {P50_MS} / {P99_MS} ms",
        both(at_most(ours(medians, p50), P50_MS), at_most(ours(medians, p99), P99_MS)),
    )


FIGURE = Figure("dom", __doc__ or "", (Ours,), measure, rows)
