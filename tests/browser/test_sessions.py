"""A login that ends, ends everywhere."""

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import FALLBACK_POLL_S, MakeBeacon, Visit
from tests.browser.profiles import login
from tests.support.beacon_server import PASSWORD, Beacon

REFUSED = r"Failed to load resource.*401"


@pytest.mark.parametrize("streaming", [100, pytest.param(0, marks=pytest.mark.long)])
def test_logging_out_in_one_tab_signs_the_other_out_and_leaves_other_logins_alone(
    start_beacon: MakeBeacon, visit: Visit, streaming: int
) -> None:
    state = "connected" if streaming else "polling"
    beacon = start_beacon(streaming=streaming, FALLBACK_POLL_S=FALLBACK_POLL_S)
    tab = visit(beacon, "alice", allow=[REFUSED])
    other, elsewhere = tab.beside("/?refresh=300"), visit(beacon, "alice")
    for each in (tab, other, elsewhere):
        each.wait_state(state)
    other.mark()
    tab.page.get_by_role("button", name="Log out").click()
    expect(tab.page.get_by_role("button", name="Log in")).to_be_visible()
    other.wait_state("offline")
    link = other.badge.get_by_role("link", name="Signed out: log in")
    expect(link).to_be_visible()
    assert other.page.title().startswith("◌ signed out")
    asked = len(other.asked)
    [event_id] = beacon.publish([{"type": "after.logout", "data": {}}])
    elsewhere.wait_change(event_id)
    other.page.wait_for_timeout(5 * FALLBACK_POLL_S * 1000)  # in which a page that goes on asking would ask
    assert other.asked_since(asked) == []
    assert event_id not in other.change_ids()
    assert not other.was_reloaded
    link.click()
    assert other.page.url == f"{beacon.url}/login?next=%2F%3Frefresh%3D300"
    elsewhere.wait_state(state)


def test_who_logs_in_after_a_logout_is_named_in_the_old_tab_and_what_was_typed_comes_back_to_its_author(
    beacon: Beacon, visit: Visit
) -> None:
    tab = visit(beacon, "bob", "/notifications", allow=[REFUSED])
    tab.wait_state("connected")
    tab.page.get_by_role("textbox", name="Message").fill("Half a sen")
    other = tab.beside("/notifications")
    other.page.get_by_role("button", name="Log out").click()
    tab.wait_state("offline")
    banner = tab.page.locator("#banner")
    expect(banner).to_contain_text("Signed out since")
    cookies = tab.page.context.cookies()
    tab.page.context.add_cookies([login(beacon, "alice")])
    tab.page.evaluate("dispatchEvent(new Event('focus'))")
    expect(banner).to_contain_text("Now signed in as alice. This page is from before; reload it.")
    banner.get_by_role("button", name="Reload").click()
    expect(tab.page.locator("body")).to_have_attribute("data-person", "alice")
    assert "Half a sen" not in tab.page.content()
    tab.wait_state("connected")
    tab.page.goto("about:blank")  # no answer to alice's page may set her cookie again
    tab.page.context.add_cookies(cookies)
    tab.goto("/login?next=/notifications")
    tab.page.get_by_label("Name").fill("bob")
    tab.page.get_by_label("Password").fill(PASSWORD)
    tab.page.get_by_role("button", name="Log in").click()
    expect(tab.page.get_by_role("textbox", name="Message")).to_have_value("Half a sen")
    expect(tab.page.get_by_text("Your form was not sent.")).to_be_visible()
