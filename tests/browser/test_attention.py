"""The attention strip and the figures: they tell at once, and move nothing from under a hand."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import FALLBACK_POLL_S, POLL_S, MakeBeacon, Visit, end
from tests.browser.tab import Tab
from tests.support.beacon_server import Beacon
from tests.support.demo_service import DemoService
from tests.support.waiting import wait_for
from tests.web.payloads import update
from tests.web.test_weight import fill

T0 = "2026-11-21T12:00:00.000Z"

# Whether some figure of this state was ever tinted, and for how long the animation was to run.
WATCH_TINT = """(state) => {
  window.tinted = new Promise((found) => {
    const look = () => {
      const one = document.getAnimations().find(({ effect }) => effect.target.closest(`[data-figure=${state}]`));
      if (one) found([one.effect.getTiming().duration, Object.keys(one.effect.getKeyframes()[0]).sort()]);
      else requestAnimationFrame(look);
    };
    look();
  });
}"""


@pytest.fixture
def service(service: DemoService) -> DemoService:
    service.reset()
    return service


@pytest.fixture
def beacon(tmp_path: Path, service: DemoService) -> Iterator[Beacon]:
    """Each test's own: a service that several of them made fall silent would flap, and say so only once.

    Three intervals without an answer are silence, which these tests wait for.
    """
    running = Beacon(tmp_path / "watching", POLL_INTERVAL_S=POLL_S, FALLBACK_POLL_S=FALLBACK_POLL_S)
    running.watch("mail", service.url, "Mail")  # before it starts, so that its first look is at once
    running.start()
    yield running
    end(running)


@pytest.fixture
def quiet(beacon: Beacon, service: DemoService) -> DemoService:
    """Mail, verified before the test."""
    wait_for(lambda: state(beacon) == "verified", "Mail to be verified", within_s=20)
    return service


def state(beacon: Beacon) -> str:
    rows = beacon.sql("SELECT status FROM service_state WHERE service_id = 'mail'")
    return str(rows[0][0]) if rows else "unknown"


def opened(beacon: Beacon, visit: Visit) -> Tab:
    tab = visit(beacon, "alice", viewport={"width": 1280, "height": 800})
    tab.wait_state("connected")
    expect(tab.tile("mail")).to_have_attribute("data-state", "verified")
    return tab


def top_of_tile(tab: Tab) -> float:
    box = tab.tile("mail").bounding_box()
    assert box is not None
    return box["y"]


def expect_held(tab: Tab) -> None:
    expect(tab.tile("mail")).to_have_attribute("data-state", "stale")
    expect(tab.page.locator("#summary")).to_contain_text("1 stale")
    expect(tab.page.locator("#strip-new")).to_have_text("1 new problem")
    expect(tab.page.locator("#strip-mail")).to_be_hidden()


def expect_open(tab: Tab) -> None:
    expect(tab.page.locator("#strip-mail")).to_be_visible()
    expect(tab.page.locator("#strip-new")).to_be_hidden()


def test_the_strip_waits_while_the_pointer_is_below_and_opens_when_it_leaves(
    beacon: Beacon, quiet: DemoService, visit: Visit
) -> None:
    tab = opened(beacon, visit)
    tab.tile("mail").hover()
    before = top_of_tile(tab)
    quiet.fault("error")
    expect_held(tab)
    assert top_of_tile(tab) == before
    tab.page.mouse.move(640, 10)
    expect_open(tab)
    assert top_of_tile(tab) > before


def test_failed_jobs_are_named_by_cause_and_stay_named_when_figures_change(
    beacon: Beacon, quiet: DemoService, visit: Visit
) -> None:
    tab = opened(beacon, visit)
    for _ in range(2):
        quiet.move(str(quiet.create_job()["id"]), "failed")
    row = tab.page.locator("#failing-mail")
    expect(row).to_contain_text(re.compile(r"Failing.*Mail.*2 failed: 2 ", re.DOTALL))
    causes = tab.page.locator("#tile-mail .tile-causes")
    expect(causes).to_contain_text("2 failed: 2 ")
    quiet.create_job()
    expect(tab.figure("mail", "queued")).to_have_text("1")
    expect(causes).to_contain_text("2 failed: 2 ")
    row.get_by_role("link", name="Look").click()
    expect(tab.page.get_by_role("heading", level=1)).to_be_visible()
    assert "/failures/" in tab.page.url
    expect(tab.page.get_by_text("2, 2 within the last hour")).to_be_visible()
    quiet.move(str(quiet.create_job()["id"]), "failed")
    expect(tab.page.get_by_text("3, 3 within the last hour")).to_be_visible()


@pytest.mark.long
def test_the_strip_waits_for_the_focus_as_well(beacon: Beacon, quiet: DemoService, visit: Visit) -> None:
    tab = opened(beacon, visit)
    tab.page.locator("#q").focus()
    before = top_of_tile(tab)
    quiet.fault("error")
    expect_held(tab)
    assert top_of_tile(tab) == before
    tab.page.evaluate("document.activeElement.blur()")
    expect_open(tab)


@pytest.mark.long
def test_a_click_on_the_line_opens_the_strip_and_leads_to_the_problem(
    beacon: Beacon, quiet: DemoService, visit: Visit
) -> None:
    tab = opened(beacon, visit)
    tab.tile("mail").hover()
    quiet.fault("error")
    expect_held(tab)
    tab.page.locator("#strip-new").press("Enter")  # the pointer stays where it is
    expect_open(tab)
    expect(tab.page.locator("#strip-mail .strip-service")).to_be_focused()


def test_with_no_hand_below_the_strip_opens_at_once_and_who_listens_hears_the_state_and_no_number(
    beacon: Beacon, quiet: DemoService, visit: Visit
) -> None:
    tab = opened(beacon, visit)
    quiet.fault("error")
    expect(tab.page.locator("#announcements")).to_have_text(re.compile(r"^\D*Mail is stale\.\s*$"))
    expect(tab.page.locator("#strip-mail")).to_be_visible()
    expect(tab.page.locator("#strip-new")).to_be_hidden()
    quiet.fault("none")
    expect(tab.page.locator("#announcements")).to_have_text(re.compile(r"^\D*Mail is verified\.\s*$"))


def test_a_changed_figure_is_tinted_for_a_second_and_nothing_moves(
    beacon: Beacon, quiet: DemoService, visit: Visit
) -> None:
    tab = opened(beacon, visit)
    before = tab.tile("mail").bounding_box()
    tab.page.evaluate(WATCH_TINT, "queued")
    quiet.create_jobs({"state": "queued"}, {"state": "queued"})  # the only ones in this module
    duration, properties = tab.page.evaluate("window.tinted")
    assert duration == 1_000
    assert properties == ["backgroundColor", "composite", "computedOffset", "easing", "offset"]
    expect(tab.figure("mail", "queued")).to_have_text("2")
    assert tab.tile("mail").bounding_box() == before


def test_of_two_hundred_services_the_verified_ones_are_lines_and_the_wrong_ones_stay_tiles(
    start_beacon: MakeBeacon, visit: Visit
) -> None:
    beacon = start_beacon(POLL_INTERVAL_S=3600)
    fill(beacon.app, 200)
    no_worker, unreadable = (
        {"kind": kind, "jobIds": [], "since": T0, "count": 3} for kind in ("no-worker", "unreadable")
    )
    limited = [{"findings": [no_worker]}, {"findings": [unreadable]}, {"countsOnly": ["queued"]}]
    for place, members in enumerate(limited, 1):
        payload = json.dumps(update(f"service-{place}", **members))
        beacon.sql("UPDATE service_state SET payload_json = ? WHERE service_id = ?", payload, f"service-{place}")
    tab = visit(beacon, "alice", viewport={"width": 1280, "height": 800})
    tab.wait_state("connected")
    expect(tab.page.locator(".tiles-quiet")).to_have_text("180 verified")
    heights = "all => [...new Set(all.map((one) => one.offsetHeight))]"
    [line] = tab.page.locator(".tile[data-state=verified]:not([data-limited])").evaluate_all(heights)
    [tile] = tab.page.locator(".tile[data-state=discrepancy]").evaluate_all(heights)
    assert line <= 40 < 100 < tile
    expect(tab.page.locator(".strip-row:visible")).to_have_count(17)
    expect(tab.page.locator(".strip-row .strip-words:visible")).to_have_count(5)
    tab.page.get_by_role("button", name="Details of 12 more").click()
    expect(tab.page.locator(".strip-row .strip-words:visible")).to_have_count(17)
    said = ["3 jobs without a worker", "3 unreadable", "counts only: waiting"]
    for width in (1280, 390):
        tab.page.set_viewport_size({"width": width, "height": 800})
        for place, words in enumerate(said, 1):
            expect(tab.tile(f"service-{place}").locator(".tile-limit")).to_contain_text(words)
            expect(tab.tile(f"service-{place}").locator(".tile-limit")).to_be_visible()
