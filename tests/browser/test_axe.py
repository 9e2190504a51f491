"""axe finds nothing serious on any page, light and dark."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.browser.tab import Tab
from tests.support.beacon_server import Beacon
from tests.support.demo_service import DemoService
from tests.support.waiting import wait_for

# Its text: for a path Playwright starts a thread that stays.
AXE = (Path(__file__).resolve().parents[2] / "node_modules" / "axe-core" / "axe.min.js").read_text()
PAGES = (
    "/",
    "/?arrange=1&by=worst&group=state",
    "/services/mail",
    "/search?q=mail",
    "/notifications",
    "/widgets/notifications",
    "/services/nobody",
)
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
TOASTS = """async () => {
  const { showToast } = await import(`/static/${document.body.dataset.build}/js/ui/toast.js`);
  for (const severity of ["success", "warning", "error"]) showToast({ severity, text: "of a test", sticky: true });
}"""
RUN = """async (only) => {
  const runOnly = only ? { type: "rule", values: only } : undefined;
  // Off unless it is asked for: WCAG 2.5.8, at least 24 by 24 pixels, or as much room around.
  const rules = only ? undefined : { "target-size": { enabled: true } };
  const { violations } = await axe.run(document, { resultTypes: ["violations"], runOnly, rules });
  return violations
    .filter(({ impact, id }) => impact === "serious" || impact === "critical" || id === "heading-order")
    .map(({ id, nodes }) => [id, ...nodes.map((node) => `${node.target} ${node.failureSummary}`.slice(0, 300))
      .filter((text) => !text.includes("partially obscured"))]) // by a menu that is open, or where it is cut
    .filter(([, ...texts]) => texts.length > 0);
}"""
# A hundred rows are one row a hundred times, and axe looks at each.
FEW_ROWS = "(rows) => [...document.querySelectorAll(rows)].slice(5).forEach((row) => row.remove())"
OF_COLOURS = ["color-contrast", "link-in-text-block"]


@pytest.fixture(scope="module")
def busy(beacon: Beacon) -> Beacon:
    """With something of every kind in its list."""
    beacon.publish([{"type": "job.failed", "data": {"service": "mail", "jobId": f"job-{n}"}} for n in range(3)])
    return beacon


PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}


def test_axe_finds_nothing_serious_light_and_dark(busy: Beacon, visit: Visit) -> None:
    # axe is put into the page past its policy, which is tested elsewhere.
    tab = visit(busy, "bob", None, allow=["404"], bypass_csp=True)
    for path in PAGES:
        tab.goto(path)
        if tab.page.locator("#connection").count():
            tab.wait_state("connected")
        tab.page.add_script_tag(content=AXE)
        assert serious(tab.page) == [], path
        if path == "/":
            tab.page.keyboard.press("?")
            assert serious(tab.page) == [], "help"


def test_axe_finds_nothing_serious_on_a_phone(busy: Beacon, visit: Visit) -> None:
    tab = visit(busy, "bob", None, bypass_csp=True, **PHONE)
    for path in ("/", "/notifications", "/services/mail/jobs", "/audit"):
        tab.goto(path)
        ready(tab)
        tab.page.locator("#menu summary").tap()
        assert serious(tab.page, schemes=SCHEMES[:1]) == [], path


def test_axe_finds_nothing_serious_in_what_opens_and_what_is_said(busy: Beacon, visit: Visit) -> None:
    """Results of a search, the popover of the badge, the panel, toasts, a page offline and a page that died."""
    tab = ready(visit(busy, "bob", "/?q=state:failed", bypass_csp=True, allow=["ERR_INTERNET_DISCONNECTED"]))
    page = tab.page
    assert page.locator("#changes > [data-id]").count() > 0
    assert serious(page) == []
    page.locator(".badge-button").click()
    expect(page.locator("#connection-detail")).to_be_visible()
    assert serious(page) == []
    page.keyboard.press("Escape")
    page.locator("#bell").click()
    expect(page.locator("#panel .notices")).to_be_visible()
    assert serious(page) == []
    page.locator("#panel-close").click()
    page.evaluate(TOASTS)
    expect(page.locator(".toast")).to_have_count(3)
    page.evaluate("document.getElementById('dead').hidden = false")
    tab.go_offline()
    expect(page.locator("#banner")).to_be_visible()
    assert serious(page) == []


def test_axe_finds_nothing_serious_in_failures_that_are_opened_by_keyboard_and_muted(
    busy: Beacon, service: DemoService, visit: Visit
) -> None:
    service.create_jobs(*[{"state": "failed", "queue": "mail"}] * 2)
    wait_for(lambda: busy.sql("SELECT count(*) FROM failure_group WHERE jobs > 0")[0][0], "a cause")
    tab = ready(visit(busy, "bob", "/failures", bypass_csp=True))
    page = tab.page
    assert serious(page) == []
    page.locator(".failures .words a").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/failures/*")
    ready(tab)
    assert serious(page) == []
    page.get_by_role("button", name="Mute", exact=True).click()
    expect(page.get_by_text("Muted by bob until")).to_be_visible()
    tab.goto("/failures")
    expect(page.get_by_role("button", name="Unmute")).to_be_visible()
    ready(tab)
    assert serious(page) == []


def test_axe_finds_nothing_serious_in_what_nobody_may_see_without_a_login(busy: Beacon, visit: Visit) -> None:
    tab = visit(busy, None, None, bypass_csp=True, allow=["404", "401", "403"])
    for path in ("/audit", "/login"):
        tab.goto(path)
        tab.page.add_script_tag(content=AXE)
        assert serious(tab.page) == [], path


def ready(tab: Tab) -> Tab:
    tab.wait_state("connected")
    tab.page.add_script_tag(content=AXE)
    return tab


# One colour of the old scheme beside one of the new is no fault of the page.
SETTLED = """async () => {
  await new Promise((painted) => requestAnimationFrame(() => requestAnimationFrame(painted)));
  await Promise.allSettled(document.getAnimations().filter((one) => one.effect?.getTiming().iterations !== Infinity)
    .map((one) => one.finished));
}"""


def serious(page: Page, *, schemes: Sequence[Literal["light", "dark"]] = SCHEMES) -> list[Any]:
    """Every rule, once; in each further scheme those about colours, since nothing else is different in it."""
    found: list[Any] = []
    for number, scheme in enumerate(schemes):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.evaluate(SETTLED)
        found += page.evaluate(RUN, OF_COLOURS if number else None)
    return found
