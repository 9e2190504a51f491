"""Long names and large text: no page is wider than its window, and the bar keeps all its parts."""

import pytest

from app.accounts import users
from app.db import write
from tests.browser.conftest import Visit
from tests.browser.tab import Tab
from tests.support.beacon_server import PASSWORD, Beacon
from tests.support.demo_service import DemoService
from tests.support.waiting import wait_for

LONG = "nightly-recalculation-of-everything-" * 6
PERSON = "n" * 64  # the longest name of a user
PAGES = (
    "/",
    "/services/long",
    "/services/long/jobs",
    "/discrepancies",
    "/failures",
    "/commands",
    "/notifications",
    "/audit",
    "/rollout",
    "/search?q=nightly",
    "/admin/services",
    "/admin/services/long",
)
WIDTHS = (390, 720, 1024, 1440, 2560)
# What reaches out of the window, unless it is cut by a box that holds it.
WIDE = """() => {
  const { scrollWidth } = document.documentElement;
  const room = scrollWidth > innerWidth ? [`page ${scrollWidth}`] : [];
  const clips = (one) => getComputedStyle(one).overflowX !== "visible";
  const isHeld = (one) => one.parentElement && (clips(one.parentElement) || isHeld(one.parentElement));
  const row = 2.25 * parseFloat(getComputedStyle(document.documentElement).fontSize);
  const heads = [...document.querySelectorAll(".table > thead")]
    .filter((head) => head.offsetHeight > row + 1);
  return [...room, ...heads.map((head) => head.textContent), ...[...document
    .querySelectorAll("header *, main *, footer *, .button")]
    .filter((one) => one.checkVisibility() && !one.closest(".visually-hidden, svg, .cut, .ids"))
    .filter((one) => one.getBoundingClientRect().right > innerWidth + 1 && (one.matches(".button") || !isHeld(one)))
    .map((one) => one.outerHTML.slice(0, 120))];
}"""
LARGE = "document.documentElement.style.fontSize = '200%'"
BAR = ("#find", "#connection", "#bell", "#menu summary")


@pytest.fixture(scope="module")
def crowded(beacon: Beacon, service: DemoService) -> Beacon:
    """Everything has the longest name that it may have."""
    beacon.watch("long", service.url, LONG[:100])
    jobs = [{"id": f"{LONG[:150]}{n}", "queue": LONG[:200], "state": "queued"} for n in range(6)]
    failed = [{"id": f"{LONG[:150]}f{n}", "queue": LONG[:200], "state": "failed"} for n in range(3)]
    service.create_jobs(*jobs, *failed)
    wait_for(lambda: beacon.sql("SELECT count(*) FROM known_job")[0][0] >= 12, "the jobs to be known")
    wait_for(lambda: beacon.sql("SELECT count(*) FROM failure_group WHERE jobs > 0")[0][0], "a cause")
    service.lose(4)
    wait_for(lambda: beacon.sql("SELECT count(*) FROM open_item")[0][0] >= 8, "the loss to be noticed")
    beacon.publish([{"type": "job.failed", "data": {"service": LONG, "jobId": LONG, "queue": LONG}}])
    with beacon.app.app_context(), write() as session:
        users.add(session, PERSON, "admin", PASSWORD, "test")
    return beacon


def test_no_page_is_wider_than_its_window_whatever_its_names_are(crowded: Beacon, visit: Visit) -> None:
    tab = visit(crowded, PERSON, None)
    assert {path: found for path in PAGES if (found := wide_parts(tab, path, WIDTHS))} == {}


def test_names_take_part_in_the_room_of_a_wide_window(crowded: Beacon, visit: Visit) -> None:
    tab = visit(crowded, "bob")
    tab.wait_state("connected")
    names = ("#strip-long .strip-service", "#changes > [data-id] > .what")
    widths: dict[str, list[float]] = {name: [] for name in names}
    for width in (1024, 1440, 2560):
        tab.page.set_viewport_size({"width": width, "height": 900})
        for name in names:
            box = tab.page.locator(name).first.bounding_box()
            assert box is not None
            widths[name].append(box["width"] / width)
    assert all(min(shares) > 0.15 for shares in widths.values()), widths


def test_at_twice_the_size_of_text_the_bar_keeps_all_its_parts_and_tiles_their_labels(
    crowded: Beacon, visit: Visit
) -> None:
    tab = visit(crowded, PERSON, None)
    assert {path: found for path in PAGES[:3] if (found := wide_parts(tab, path, (1280, 1440), LARGE))} == {}
    tab.goto()
    tab.page.evaluate(LARGE)
    for width in (1280, 1440, 1920):
        tab.page.set_viewport_size({"width": width, "height": 900})
        parts = [tab.page.locator(name).bounding_box() for name in BAR if width < 1920 or name != "#menu summary"]
        assert all(box is not None and box["x"] >= 0 and box["x"] + box["width"] <= width for box in parts), width
        labels = tab.page.locator(".tile .figure dt")
        assert labels.evaluate_all("all => all.every((one) => one.scrollHeight <= one.clientHeight + 1)"), width


def wide_parts(tab: Tab, path: str, widths: tuple[int, ...], script: str = "") -> dict[int, list[str]]:
    tab.goto(path)
    if script:
        tab.page.evaluate(script)
    found: dict[int, list[str]] = {}
    for width in widths:
        tab.page.set_viewport_size({"width": width, "height": 900})
        found[width] = tab.page.evaluate(WIDE)
    return {width: parts for width, parts in found.items() if parts}
