"""With scripts off, links and forms reach everything, and nothing claims to be live."""

from collections.abc import Callable

from playwright.sync_api import Locator, expect

from tests.browser.conftest import Visit
from tests.support.beacon_server import PASSWORD, Beacon
from tests.support.demo_service import DemoService
from tests.support.waiting import wait_for


def test_login_dashboard_service_accept_and_logout_work_without_scripts(
    beacon: Beacon, service: DemoService, visit: Visit
) -> None:
    service.create_jobs(*[{"state": "queued"} for _ in range(4)])
    tab = visit(beacon, None, "/services/mail", java_script_enabled=False, allow=["401"])
    page = tab.page
    assert page.url == f"{beacon.url}/login?next=/services/mail"
    page.get_by_label("Name").fill("bob")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_have_text("Wrong name or password.")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    assert page.url == f"{beacon.url}/services/mail"

    page.get_by_role("link", name="Beacon", exact=True).click()
    assert page.url == f"{beacon.url}/"
    expect(tab.badge).to_have_text("Not live")
    expect(page.locator("noscript")).to_be_visible()
    assert "This page is not live without scripts." in page.locator("noscript").inner_html()
    expect(tab.tile("mail")).to_be_visible()
    expect(page.locator("#changes > [data-id]").first).to_be_visible()

    page.locator("#find").fill("mail")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search?q=mail")
    expect(page.locator(".hits a").first).to_have_attribute("href", "/services/mail")

    wait_for(lambda: beacon.sql("SELECT count(*) FROM known_job") == [(4,)], "the jobs to be known")
    [lost] = service.lose(1)
    expect_after_reloads(lambda: page.goto(beacon.url), page.get_by_role("link", name="Review Mail"))
    page.get_by_role("link", name="Review Mail").click()
    assert page.url == f"{beacon.url}/services/mail#open-items"
    expect(page.locator("#open-items code.id")).to_have_attribute("title", lost)
    page.locator("#open-items input[name=jobIds]").check()
    page.get_by_role("button", name="Accept the service's version").click()
    assert page.url == f"{beacon.url}/services/mail#open-items"  # the browser itself asks for the reason
    page.get_by_label("Reason for accepting").fill("a test of forms")
    page.get_by_role("button", name="Accept the service's version").click()
    expect(page.locator("#open-items")).to_contain_text("No open differences")

    page.get_by_role("button", name="Log out").click()
    assert page.url == f"{beacon.url}/login"
    tab.goto()
    expect(page.get_by_role("button", name="Log in")).to_be_visible()


def test_times_stand_in_utc_and_a_link_makes_the_page_refresh_itself(beacon: Beacon, visit: Visit) -> None:
    tab = visit(beacon, "alice", java_script_enabled=False)
    refresh = tab.page.locator("meta[http-equiv=refresh]")
    expect(refresh).to_have_count(0)
    expect(tab.page.locator("footer")).to_contain_text("Times are in UTC.")
    tab.page.get_by_role("link", name="Refresh every 10 s").click()
    assert tab.page.url == f"{beacon.url}/?refresh=10"
    expect(refresh).to_have_attribute("content", "10")
    tab.page.get_by_role("link", name="Stop refreshing").click()
    expect(refresh).to_have_count(0)


def expect_after_reloads(load: Callable[[], object], wanted: Locator) -> None:
    """A page without scripts shows nothing new by itself."""

    def look() -> bool:
        load()
        return wanted.count() == 1

    wait_for(look, "what was looked for, on a fresh page", every_s=0.3)
