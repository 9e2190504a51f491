"""axe finds nothing serious on any page, light and dark."""

from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Page

from tests.beacon_process import Beacon
from tests.browser.conftest import Visit

AXE = Path(__file__).resolve().parents[2] / "node_modules" / "axe-core" / "axe.min.js"
PAGES = ("/", "/?q=colour:red&sort=service", "/services/mail", "/notifications", "/login", "/services/nobody")
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
RUN = """async () => {
  const { violations } = await axe.run(document, { resultTypes: ["violations"] });
  return violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => [id, ...nodes.map((node) => `${node.target} ${node.failureSummary}`.slice(0, 300))]);
}"""


@pytest.fixture(scope="module")
def busy(beacon: Beacon) -> Beacon:
    """With something of every kind in its list."""
    beacon.publish([{"type": "job.failed", "data": {"service": "mail", "jobId": f"job-{n}"}} for n in range(3)])
    return beacon


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


def serious(page: Page) -> list[Any]:
    found: list[Any] = []
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        found += page.evaluate(RUN)
    return found
