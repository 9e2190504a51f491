"""An administrator adds, changes and removes a service in a browser, with scripts and without."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.browser.test_axe import AXE, serious
from tests.browser.test_looks import PHONE
from tests.support.beacon_server import Beacon
from tests.support.demo_service import DemoService
from tests.support.waiting import wait_for

PATH = "/admin/services"
SECRET = "sesame-open"
BEYOND = """() => [...document.querySelectorAll("main *, header *")]
  .filter((one) => one.checkVisibility() && one.matches("a, button, input, textarea, h1, h2, .state")
    && one.getBoundingClientRect().right > innerWidth + 1 && !one.closest(".visually-hidden, td.words"))
  .map((one) => one.outerHTML.slice(0, 120))"""


@pytest.mark.parametrize("scripts", [True, pytest.param(False, marks=pytest.mark.long)])
def test_a_service_is_added_seen_changed_and_removed(
    beacon: Beacon, service: DemoService, visit: Visit, scripts: bool
) -> None:
    service_id = f"post-{'with' if scripts else 'without'}"
    # A form that came back with what is wrong in it is an answer of status 400, which the console names.
    tab = visit(beacon, "ada", "/", java_script_enabled=scripts, allow=["400"])
    page = tab.page
    page.get_by_role("link", name="Services", exact=True).click()
    assert page.url == beacon.url + PATH
    page.get_by_role("link", name="palantir", exact=True).click()
    _fill(page, service_id, "Post", "gopher://nowhere")
    page.get_by_role("button", name="Watch this service").click()
    address = page.get_by_label("Address", exact=True)
    expect(address).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#wrong-url")).to_have_text("expected an address like http://host:port")
    expect(page.get_by_label("Name", exact=True)).to_have_value("Post")
    expect(page.get_by_label("Password", exact=True)).to_have_value("")

    address.fill(service.url)
    page.get_by_label("Password", exact=True).fill(SECRET)
    page.get_by_role("button", name="Watch this service").click()
    assert page.url == f"{beacon.url}{PATH}#service-{service_id}"
    _wait_row(page, beacon, service_id, "Verified")

    row = page.locator(f"[id='service-{service_id}']")
    row.get_by_role("link", name="Edit Post").click()
    page.get_by_label("Name", exact=True).fill("Letters")
    page.get_by_role("button", name="Save").click()
    expect(row.get_by_role("link", name="Letters", exact=True)).to_be_visible()
    [(kept,)] = beacon.sql("SELECT password FROM service WHERE id = ?", service_id)
    assert kept == SECRET
    assert SECRET not in page.content()

    row.get_by_role("link", name="Remove Letters").click()
    expect(page.get_by_role("heading", name="Remove Letters?")).to_be_visible()
    if scripts:
        expect(page.get_by_role("link", name="Cancel")).to_be_focused()
    page.get_by_role("button", name="Remove Letters").click()
    assert page.url == beacon.url + PATH
    expect(row).to_have_count(0)
    actions = beacon.sql("SELECT action_type FROM command_audit WHERE target = ? ORDER BY seq", service_id)
    assert actions == [("service-add",), ("service-change",), ("service-remove",)]


def _fill(page: Page, service_id: str, name: str, url: str) -> None:
    page.get_by_label("Id", exact=True).fill(service_id)
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Address", exact=True).fill(url)


def _wait_row(page: Page, beacon: Beacon, service_id: str, word: str) -> None:
    """The table shows what was so when it was read."""

    def look() -> bool:
        page.goto(beacon.url + PATH)
        return word in page.locator(f"[id='service-{service_id}'] .is").inner_text()

    wait_for(look, f"{service_id} to be {word}", within_s=30, every_s=0.3)


def test_others_are_told_what_they_would_need(beacon: Beacon, visit: Visit) -> None:
    tab = visit(beacon, "bob", PATH, allow=["403"])
    expect(tab.page.get_by_text("This needs the role admin; you are operator.")).to_be_visible()
    tab.goto("/")
    expect(tab.page.get_by_role("link", name="Services", exact=True)).to_have_count(0)


def test_axe_finds_nothing_serious_and_nothing_scrolls_sideways_on_a_phone(beacon: Beacon, visit: Visit) -> None:
    tab = visit(beacon, "ada", None, bypass_csp=True, **PHONE)
    for path in (f"{PATH}?kind=palantir", f"{PATH}?kind=rq", f"{PATH}?kind=celery", f"{PATH}/mail/remove"):
        tab.goto(path)
        tab.wait_state("connected")
        for width in (390, 320):
            tab.page.set_viewport_size({"width": width, "height": 844})
            assert tab.page.evaluate("[innerWidth, document.documentElement.scrollWidth]") == [width, width], path
            assert tab.page.evaluate(BEYOND) == [], path
        tab.page.add_script_tag(content=AXE)
        assert serious(tab.page) == [], path
