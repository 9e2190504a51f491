"""What comes and goes leaves nothing behind: no node, no listener, no document in the page, no stream on the server.

Chromium counts them itself, after its garbage is collected. Bytes are not asked: they never come back exactly.
"""

from dataclasses import dataclass

import pytest
import requests
from playwright.sync_api import CDPSession, expect

from app.eventlog.append import NewEvent
from tests.browser.conftest import Visit
from tests.browser.tab import LIST_LENGTH, Tab
from tests.support.beacon_server import Beacon
from tests.support.cast import publish
from tests.support.demo_service import DemoService
from tests.support.machine import scaled
from tests.support.prometheus_text import numbers, total
from tests.support.waiting import wait_for
from tests.web.payloads import update

ROUNDS = 200
FEW = 40
WARM_UP = 5
WITHIN_S = 20.0
SHORT_AND_LONG = [3, pytest.param(ROUNDS, marks=pytest.mark.long)]

UNTIL = """const until = async (holds) => {
  const deadline = performance.now() + 10_000;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`in vain: ${holds}`);
    await new Promise(requestAnimationFrame);
  }
};
const one = (selector) => document.querySelector(selector);"""

# Each mounts something, waits until it is there with all that belongs to it, and takes it away again.
MOUNTS = {
    "panel": """
        one("#bell").click();
        await until(() => !one("#panel").hidden && one("#panel-body .notices"));
        one("#panel-close").click();
        await until(() => one("#panel").hidden);""",
    "popover": """
        one("#connection button").click();
        await until(() => one("#connection-detail").matches(":popover-open"));
        one("#connection button").click();
        await until(() => !one("#connection-detail").matches(":popover-open"));""",
    "help": """
        one("#help-open").click();
        await until(() => one("#help").open);
        one("#help").close();
        await until(() => !one("#help").open);""",
    "widget": """
        const frame = document.createElement("iframe");
        frame.src = "/widgets/notifications";
        document.body.append(frame);
        await until(() => frame.contentDocument?.querySelector(".notices"));
        frame.remove();""",
}


@dataclass(frozen=True)
class Held:
    """What a renderer holds."""

    nodes: int
    listeners: int
    documents: int

    def is_within(self, other: "Held") -> bool:
        return self.nodes <= other.nodes and self.listeners <= other.listeners and self.documents <= other.documents


class Renderer:
    def __init__(self, tab: Tab) -> None:
        self._cdp: CDPSession = tab.page.context.new_cdp_session(tab.page)
        self._cdp.send("Performance.enable")

    def held(self) -> Held:
        self._cdp.send("HeapProfiler.collectGarbage")
        found = {one["name"]: int(one["value"]) for one in self._cdp.send("Performance.getMetrics")["metrics"]}
        return Held(found["Nodes"], found["JSEventListeners"], found["Documents"])

    def wait_back(self, before: Held) -> None:
        """No more than before; what an answer still under way holds may take a moment to go."""
        last = before

        def is_back() -> bool:
            nonlocal last
            last = self.held()
            return last.is_within(before)

        try:
            wait_for(is_back, "what was held to go", WITHIN_S)
        except AssertionError:
            pytest.fail(f"before {before}, now {last}")


def streams_open(beacon: Beacon) -> float:
    answer = requests.get(f"{beacon.url}/metrics", headers=beacon.bearer("ada", "read"), timeout=scaled(10))
    return total(numbers(answer.text), "beacon_streams_open")


def quiet(tab: Tab) -> Tab:
    """Connected, and everything said that a page says once: each place that was empty holds its words."""
    tab.wait_state("connected")
    expect(tab.page.locator("#announcements")).not_to_be_empty()
    expect(tab.tile("mail")).to_have_attribute("data-state", "verified")
    expect(tab.page.locator("#summary time")).not_to_be_empty()
    tab.load_rest()
    return tab


def mount(tab: Tab, what: str, times: int) -> None:
    tab.page.evaluate(f"async () => {{ {UNTIL} for (let n = 0; n < {times}; n += 1) {{ {MOUNTS[what]} }} }}")


@pytest.mark.parametrize(
    ("what", "rounds"),
    [
        ("panel", FEW),
        ("widget", FEW // 4),
        *(pytest.param(what, ROUNDS, marks=pytest.mark.long) for what in MOUNTS),
    ],
)
def test_what_is_mounted_and_unmounted_leaves_nothing_in_the_page(
    beacon: Beacon, visit: Visit, what: str, rounds: int
) -> None:
    tab = quiet(visit(beacon, "alice"))
    renderer = Renderer(tab)
    mount(tab, what, WARM_UP)
    before = renderer.held()
    mount(tab, what, rounds)
    renderer.wait_back(before)


@pytest.mark.long
def test_rows_that_fall_off_the_list_leave_nothing_in_the_page(beacon: Beacon, visit: Visit) -> None:
    tab = quiet(visit(beacon, "alice"))
    renderer = Renderer(tab)

    def fill() -> None:
        for number in range(4):
            events = [{"type": "test.row", "data": {"n": number}} for _ in range(LIST_LENGTH)]
            tab.wait_change(beacon.publish(events)[-1])

    fill()
    before = renderer.held()
    fill()
    renderer.wait_back(before)


@pytest.mark.parametrize("rounds", SHORT_AND_LONG)
def test_regions_that_are_loaded_again_leave_nothing_in_the_page(
    beacon: Beacon, service: DemoService, visit: Visit, rounds: int
) -> None:
    tab = quiet(visit(beacon, "alice"))
    beacon.publish([{"type": "test.row", "data": {}} for _ in range(LIST_LENGTH)])
    renderer = Renderer(tab)
    region = tab.page.locator("[data-region=tiles]")

    def reload_region() -> None:
        """A change of a tile that somebody holds is made up for when it is let go."""
        tab.page.locator("#tile-mail-link").focus()
        publish(beacon.app, NewEvent("reconciliation.update", update("mail")))
        expect(region).to_have_attribute("data-is-stale", "true")
        loads = tab.asked_for("/")
        tab.page.evaluate("document.activeElement.blur()")
        expect(region).to_have_attribute("data-is-stale", "false")
        assert tab.asked_for("/") == loads + 1

    for _ in range(LIST_LENGTH if rounds > LIST_LENGTH else WARM_UP):  # the rows of the updates fill the list too
        reload_region()
    before = renderer.held()
    for _ in range(rounds):
        reload_region()
    renderer.wait_back(before)


@pytest.mark.parametrize("rounds", SHORT_AND_LONG)
def test_tabs_that_come_and_go_leave_no_stream_and_nothing_in_the_tab_that_stays(
    beacon: Beacon, visit: Visit, rounds: int
) -> None:
    wait_for(lambda: streams_open(beacon) == 0, "the streams of other tests to end")
    tab = quiet(visit(beacon, "alice"))
    renderer = Renderer(tab)

    def come_and_go() -> None:
        other = tab.beside()
        other.wait_state("connected")
        other.page.close()

    for _ in range(min(WARM_UP, rounds)):
        come_and_go()
    before = renderer.held()
    for _ in range(rounds):
        come_and_go()
    renderer.wait_back(before)
    wait_for(lambda: streams_open(beacon) == 1, "one stream for one browser")
    tab.page.context.close()
    wait_for(lambda: streams_open(beacon) == 0, "the last stream to end")


@pytest.mark.parametrize("rounds", SHORT_AND_LONG)
@pytest.mark.long
def test_a_leader_that_closes_again_and_again_leaves_one_stream(beacon: Beacon, visit: Visit, rounds: int) -> None:
    wait_for(lambda: streams_open(beacon) == 0, "the streams of other tests to end")
    tab = visit(beacon, "alice")
    for _ in range(rounds):
        tab.wait_state("connected")
        other = tab.beside()
        other.wait_state("connected")
        tab.page.close()
        tab = other
    tab.wait_state("connected")
    wait_for(lambda: streams_open(beacon) == 1, "one stream for one browser")
