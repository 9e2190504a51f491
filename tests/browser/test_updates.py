"""A newer Beacon is announced at once and taken when nobody looks and nothing half-written would be lost."""

import pytest

from tests.browser.conftest import Visit
from tests.browser.fault_proxy import FaultProxy
from tests.browser.plain_chromium import PlainChromium, PlainTab
from tests.support.beacon_server import Beacon

ANNOUNCED = "document.getElementById('banner').textContent.includes('Beacon was updated')"
STANDS = "window.marked === true"
TAKEN = "window.marked !== true && document.readyState === 'complete'"

PAUSE = "document.dispatchEvent(new CustomEvent('beacon:pause-toggle'))"


def hide(chromium: PlainChromium, tab: PlainTab, front: PlainTab) -> None:
    front.show()
    tab.wait("document.visibilityState === 'hidden'")


def announced(chromium: PlainChromium, beacon: Beacon, proxy: FaultProxy) -> tuple[PlainTab, PlainTab]:
    """A tab that was told of a new build while somebody looked at it, and another page to look at."""
    chromium.log_in(beacon, "bob", proxy.url)
    front = chromium.open()
    tab = chromium.open(f"{proxy.url}/")
    tab.wait_state("connected")
    tab.run("window.marked = true")
    build = tab.run("document.body.dataset.build")
    proxy.swap = (build.encode(), b"z" * len(build))
    proxy.cut()
    tab.wait(ANNOUNCED)
    return tab, front


@pytest.mark.parametrize(
    ("write", "clear"),
    [
        ("document.getElementById('q').value = 'half a wo'", "document.getElementById('q').value = ''"),
        pytest.param(
            "document.getElementById('help').showModal()",
            "document.getElementById('help').close()",
            marks=pytest.mark.long,
        ),
        pytest.param(PAUSE, PAUSE, marks=pytest.mark.long),
    ],
    ids=["half-typed text", "open dialog", "pause"],
)
def test_what_is_half_done_keeps_the_old_build_until_it_is_cleared(
    beacon: Beacon, chromium: PlainChromium, write: str, clear: str
) -> None:
    with FaultProxy(beacon.port) as proxy:
        tab, front = announced(chromium, beacon, proxy)
        tab.run(write)
        hide(chromium, tab, front)
        tab.show()
        assert tab.run(STANDS)  # the page decides in the moment in which it is hidden
        tab.run(clear)
        assert tab.run(STANDS)
        hide(chromium, tab, front)
        tab.wait(TAKEN)
        tab.wait_state("connected")


def test_a_build_is_not_taken_from_a_server_that_is_away(beacon: Beacon, chromium: PlainChromium) -> None:
    with FaultProxy(beacon.port) as proxy:
        tab, front = announced(chromium, beacon, proxy)
        tab.run("dispatchEvent(new Event('offline'))")
        tab.wait_state("offline")
        hide(chromium, tab, front)
        tab.show()
        assert tab.run(STANDS)
        tab.run("dispatchEvent(new Event('online'))")
        tab.wait_state("connected")
        hide(chromium, tab, front)
        tab.wait(TAKEN)


def test_a_build_that_is_announced_again_after_it_was_taken_is_not_taken_twice(
    beacon: Beacon, chromium: PlainChromium
) -> None:
    with FaultProxy(beacon.port) as proxy:
        tab, front = announced(chromium, beacon, proxy)
        hide(chromium, tab, front)
        tab.wait(TAKEN)
        tab.wait(ANNOUNCED)  # the proxy's page is still the old one
        tab.run("window.marked = true")
        tab.show()
        hide(chromium, tab, front)
        tab.show()
        assert tab.run(STANDS)


def test_tabs_that_follow_hear_of_the_new_build_too(beacon: Beacon, visit: Visit) -> None:
    with FaultProxy(beacon.port) as proxy:
        tab = visit(beacon, "alice", None, allow=["Failed to load resource", r"request to http://127\.0\.0\.1"])
        other = tab.beside()
        for each in (tab, other):
            each.page.goto(proxy.url)
            each.wait_state("connected")
        build = tab.page.locator("body").get_attribute("data-build") or ""
        proxy.swap = (build.encode(), b"z" * len(build))
        proxy.cut()
        for each in (tab, other):
            each.page.locator("#banner", has_text="Beacon was updated").wait_for()
            assert each.page.get_by_role("button", name="Reload").is_visible()
        assert tab.asked_for("/api/stream/events") + other.asked_for("/api/stream/events") >= 2
