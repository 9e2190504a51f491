"""axe finds nothing serious on any page, light and dark."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.browser.tab import Tab
from tests.support.beacon_server import Beacon

AXE = Path(__file__).resolve().parents[2] / "node_modules" / "axe-core" / "axe.min.js"
PAGES = (
    "/",
    "/?q=colour:red&sort=service",
    "/services/mail",
    "/notifications",
    "/widgets/notifications",
    "/login",
    "/services/nobody",
)
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
TOASTS = """async () => {
  const { showToast } = await import(`/static/${document.body.dataset.build}/js/toast.js`);
  for (const severity of ["success", "warning", "error"]) showToast({ severity, text: "of a test", sticky: true });
}"""
RUN = """async (only) => {
  const runOnly = only ? { type: "rule", values: only } : undefined;
  const { violations } = await axe.run(document, { resultTypes: ["violations"], runOnly });
  return violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => [id, ...nodes.map((node) => `${node.target} ${node.failureSummary}`.slice(0, 300))]);
}"""
OF_COLOURS = ["color-contrast", "link-in-text-block"]


@pytest.fixture(scope="module")
def busy(beacon: Beacon) -> Beacon:
    """With something of every kind in its list."""
    beacon.publish([{"type": "job.failed", "data": {"service": "mail", "jobId": f"job-{n}"}} for n in range(3)])
    return beacon


PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}


@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_nothing_serious_light_and_dark(busy: Beacon, visit: Visit, path: str) -> None:
    user = None if path == "/login" else "bob"
    # axe is put into the page past its policy, which is tested elsewhere.
    tab = visit(busy, user, path, allow=["404"], bypass_csp=True)
    if tab.page.locator("#connection").count():
        tab.wait_state("connected")
    tab.page.add_script_tag(path=str(AXE))
    assert serious(tab.page) == []
    if path == "/":
        tab.page.keyboard.press("?")
        assert serious(tab.page) == []


def test_axe_finds_nothing_serious_on_a_phone(busy: Beacon, visit: Visit) -> None:
    tab = visit(busy, "bob", None, bypass_csp=True, **PHONE)
    for path in ("/", "/services/mail", "/notifications"):
        tab.goto(path)
        ready(tab)
        assert serious(tab.page, schemes=SCHEMES[:1]) == [], path
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
    page.context.set_offline(True)
    expect(page.locator("#banner")).to_be_visible()
    assert serious(page) == []


def test_axe_finds_nothing_serious_in_what_nobody_may_see_without_a_login(busy: Beacon, visit: Visit) -> None:
    tab = visit(busy, None, "/audit", bypass_csp=True, allow=["404", "401", "403"])
    tab.page.add_script_tag(path=str(AXE))
    assert serious(tab.page) == []


def ready(tab: Tab) -> Tab:
    tab.wait_state("connected")
    tab.page.add_script_tag(path=str(AXE))
    return tab


def serious(page: Page, *, schemes: Sequence[Literal["light", "dark"]] = SCHEMES) -> list[Any]:
    """Every rule, once; in each further scheme those about colours, since nothing else is different in it."""
    found: list[Any] = []
    for number, scheme in enumerate(schemes):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        found += page.evaluate(RUN, OF_COLOURS if number else None)
    return found
