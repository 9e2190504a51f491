"""Notifications, messages and toasts as people meet them."""

import re
import time
from collections.abc import Iterator
from datetime import datetime

import pytest
import requests
from playwright.sync_api import Page, expect

from tests.browser.conftest import FALLBACK_POLL_S, Visit, end
from tests.browser.tab import Tab, intercept
from tests.notifications.scene import notice, titles
from tests.support.beacon_server import Beacon
from tests.support.demo_service import DemoService
from tests.support.machine import scaled

SHOWN_WITHIN_S = 2.0  # a second is promised; the rest is room
# What is read aloud by itself: titles of notifications, messages, states; never how many there are.
LIVE = "[aria-live], [role=log], [role=status], [role=alert]"
# Notes when each message reached the screen, on the clock that this machine's processes share.
NOTE_FLASHES = """() => {
  window.flashes = {};
  new MutationObserver(() => {
    for (const flash of document.querySelectorAll(".flash")) {
      window.flashes[flash.id] ??= (performance.timeOrigin + performance.now()) / 1000;
    }
  }).observe(document.body, { childList: true, subtree: true });
}"""
# Looks are spread over half a second, which these tests would wait for again and again.
AT_ONCE = "Math.random = () => 0"


@pytest.fixture(scope="module")
def beacon(tmp_path_factory: pytest.TempPathFactory, service: DemoService) -> Iterator[Beacon]:
    """Shared by the module; it polls often, because a discrepancy has to last three polls."""
    running = Beacon(tmp_path_factory.mktemp("beacon"), POLL_INTERVAL_S=0.2, FALLBACK_POLL_S=FALLBACK_POLL_S)
    running.watch("mail", service.url, "Mail")
    running.start()
    yield running
    end(running)


@pytest.fixture
def visit(visit: Visit) -> Visit:
    """Tabs that look again at once when they are told to."""

    def open_tab(beacon: Beacon, user: str, path: str = "/", **options: object) -> Tab:
        tab = visit(beacon, user, path, **options)
        tab.page.evaluate(AT_ONCE)
        return tab

    return open_tab


def clear(beacon: Beacon, *users: str) -> None:
    """Everything read: the module shares one server."""
    for user in users:
        headers = beacon.bearer(user, "widget")
        requests.post(f"{beacon.url}/notifications/read", json={"all": True}, headers=headers, timeout=scaled(10))


def connected(tab: Tab) -> Tab:
    tab.wait_state("connected")
    return tab


def wait_unread(tab: Tab, words: str) -> None:
    expect(tab.page.locator("#bell-count")).to_have_text(words)


def test_a_message_is_on_every_streaming_screen_at_once(beacon: Beacon, visit: Visit) -> None:
    alice, charlie = connected(visit(beacon, "alice")), connected(visit(beacon, "charlie", "/notifications"))
    for tab in (alice, charlie):
        tab.page.evaluate(NOTE_FLASHES)
    sent = time.time()
    flash_id = beacon.say("Deploy at three")
    for tab in (alice, charlie):
        bar = tab.page.locator(f"#flash-{flash_id}")
        expect(bar).to_contain_text("Deploy at three")
        assert tab.page.evaluate("(id) => window.flashes[id]", f"flash-{flash_id}") - sent < scaled(SHOWN_WITHIN_S)
        expect(bar).to_contain_text("bob")
        [(ends,)] = beacon.sql("SELECT expires_at FROM flash_message WHERE id = ?", flash_id)
        local = datetime.fromisoformat(ends).astimezone()
        assert local.timestamp() == pytest.approx(sent + 30 * 60, abs=scaled(10))
        expect(bar.locator("time")).to_have_text(re.compile(rf"{local:%H:%M}$"))  # perhaps it is tomorrow
    second = alice.beside("/notifications")
    bar = alice.page.locator(f"#flash-{flash_id}")
    bar.get_by_role("button", name="Dismiss the message from bob").click()
    for tab in (alice, second):
        expect(tab.page.locator(f"#flash-{flash_id}")).to_have_count(0)
    expect(charlie.page.locator(f"#flash-{flash_id}")).to_be_visible()


def test_a_message_goes_when_it_ends(beacon: Beacon, visit: Visit) -> None:
    tab = connected(visit(beacon, "alice"))
    flash_id = beacon.say("Only a moment", "critical", minutes=1.5 / 60)
    bar = tab.page.locator(f"#flash-{flash_id}")
    expect(bar).to_be_visible()
    expect(bar).to_have_count(0)


def test_the_bell_counts_and_what_is_read_in_one_tab_is_read_in_the_other(beacon: Beacon, visit: Visit) -> None:
    clear(beacon, "alice")
    tab = connected(visit(beacon, "alice"))
    other = connected(tab.beside())
    wait_unread(tab, "")
    for number in range(2):
        notice(beacon.app, "user:alice", f"bell:{number}", f"Command {number} ended")
    for each in (tab, other):
        wait_unread(each, "2 unread")
    tab.page.locator("#bell").click()
    panel = tab.page.locator("#panel")
    expect(panel.locator("[data-notice][data-unread]")).to_have_count(2)
    expect(tab.page.get_by_role("log")).to_contain_text("Command 1 ended")
    expect(tab.page.locator(LIVE).filter(has_text="2 unread")).to_have_count(0)
    panel.get_by_role("button", name="Mark all read").click()
    for each in (tab, other):
        wait_unread(each, "")
    expect(panel.locator("[data-notice][data-unread]")).to_have_count(0)


def test_the_panel_by_keyboard(beacon: Beacon, visit: Visit) -> None:
    clear(beacon, "alice")
    notice(beacon.app, "user:alice", "keys:1", "For the keyboard")
    tab = connected(visit(beacon, "alice"))
    page = tab.page
    page.locator("#bell").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#panel")).to_be_focused()
    read = page.get_by_role("button", name="Mark as read: For the keyboard")
    expect(read).to_be_visible()
    for _ in range(12):
        page.keyboard.press("Tab")
        if read.evaluate("(button) => button === document.activeElement"):
            break
    page.keyboard.press("Enter")
    wait_unread(tab, "")
    expect(page.locator("#panel")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#panel")).to_be_hidden()
    expect(page.locator("#bell")).to_be_focused()


def test_a_muted_service_is_quiet_and_a_toast_says_so(beacon: Beacon, visit: Visit) -> None:
    clear(beacon, "charlie")
    tab = connected(visit(beacon, "charlie"))
    page = tab.page
    notice(beacon.app, "user:charlie", "mute:1", "Mail is slow", service="mail")
    wait_unread(tab, "1 unread")
    page.locator("#bell").click()
    group = page.locator(".notices-group", has=page.locator("[data-notice]", has_text="Mail is slow"))
    group.locator("summary").click()
    group.get_by_role("button", name="Mute Mail for 1 hour").click()
    expect(page.get_by_role("status").get_by_text("Mail is muted.")).to_be_visible()
    wait_unread(tab, "")
    notice(beacon.app, "user:charlie", "mute:2", "Mail is slower", service="mail")
    expect(page.locator("#panel")).to_contain_text("Mail is slower")
    wait_unread(tab, "")
    group.get_by_role("button", name="Unmute Mail").click()
    wait_unread(tab, "2 unread")


def test_a_failure_of_my_own_action_stays_and_interrupts(beacon: Beacon, visit: Visit) -> None:
    notice(beacon.app, "user:alice", "failure:1", "Cannot be read")
    tab = connected(visit(beacon, "alice", allow=[r"Failed to load resource"]))
    intercept(tab.page, "**/notifications/read", lambda route: route.fulfill(status=503, body="{}"))
    tab.page.locator("#bell").click()
    tab.page.locator("#panel").get_by_role("button", name="Mark all read").click()
    alert = tab.page.locator("#toasts [role=alert]")
    expect(alert).to_contain_text("That did not reach the server")
    alert.get_by_role("button", name="Close").click()
    expect(alert).to_be_empty()


def test_the_page_works_without_scripts(beacon: Beacon, visit: Visit) -> None:
    clear(beacon, "charlie")
    flash_id = beacon.say("Also without scripts")
    notice(beacon.app, "user:charlie", "plain:1", "Without scripts")
    tab = visit(beacon, "charlie", java_script_enabled=False)
    flash = tab.page.locator(f"#flash-{flash_id}")
    expect(flash).to_be_visible()
    tab.page.locator("#bell").click()
    assert tab.page.url == f"{beacon.url}/notifications"
    tab.page.get_by_label("Search").fill("without")
    tab.page.get_by_role("button", name="Filter").click()
    assert "q=without" in tab.page.url
    row = tab.page.locator("tr", has_text="Without scripts").first
    row.get_by_role("button", name="Mark read").click()
    assert "q=without" in tab.page.url
    expect(row).not_to_have_attribute("data-unread", "")
    flash.get_by_role("button", name="Dismiss the message from bob").click()
    expect(flash).to_have_count(0)
    assert "q=without" in tab.page.url


def test_what_an_operator_typed_is_kept_when_it_cannot_be_sent(beacon: Beacon, visit: Visit) -> None:
    page = visit(beacon, "bob", "/notifications", allow=[r"status of 400"]).page
    message = page.get_by_role("textbox", name="Message")
    message.fill("  ")
    page.locator("#send").get_by_label("Severity").select_option("critical")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("alert").filter(has_text="The message is empty")).to_be_visible()
    expect(message).to_be_focused()
    expect(message).to_have_value("  ")
    message.fill("Everything stops at noon")
    page.get_by_role("button", name="Send").click()
    flash = page.locator(".flash", has_text="Everything stops at noon")
    expect(flash).to_have_attribute("data-state", "critical")
    expect(message).to_have_value("")


def test_a_page_that_polls_shows_a_message_with_its_next_poll(beacon: Beacon, visit: Visit) -> None:
    beacon.set_rollout(0)
    try:
        tab = visit(beacon, "alice")
        tab.wait_state("polling")
        flash_id = beacon.say("For those who poll")
        expect(tab.page.locator(f"#flash-{flash_id}")).to_be_visible()
    finally:
        beacon.set_rollout(100)


def test_the_open_page_takes_new_ones_and_holds_them_while_somebody_reads(beacon: Beacon, visit: Visit) -> None:
    clear(beacon, "charlie")
    notice(beacon.app, "user:charlie", "page:0", "Was there before")
    tab = connected(visit(beacon, "charlie", "/notifications"))
    page = tab.page
    tab.mark()
    rows, new = page.locator("tr[data-notice]"), page.locator("#notifications-new")
    before = rows.count()
    notice(beacon.app, "user:charlie", "page:1", "Came by itself")
    expect(rows.first).to_contain_text("Came by itself")
    rows.first.get_by_role("button", name="Mark read").focus()
    for number in (2, 3):
        notice(beacon.app, "user:charlie", f"page:{number}", f"Waits {number}")
    expect(new).to_have_text("2 new")
    expect(rows).to_have_count(before + 1)
    expect(rows.first.get_by_role("button", name="Mark read")).to_be_focused()
    new.click()
    expect(rows.first).to_contain_text("Waits 3")
    expect(new).to_be_hidden()
    select_text(page)
    notice(beacon.app, "user:charlie", "page:4", "Waits for the selection")
    expect(new).to_have_text("1 new")
    page.evaluate("getSelection().removeAllRanges()")
    expect(rows.first).to_contain_text("Waits for the selection")
    expect(new).to_be_hidden()
    clear(beacon, "charlie")
    expect(page.locator("tr[data-notice][data-unread]")).to_have_count(0)
    expect(page.get_by_role("button", name="Mark all read").first).to_be_disabled()
    assert not tab.was_reloaded


@pytest.mark.long
def test_a_later_page_stays_as_it_is_and_leads_to_what_is_new(beacon: Beacon, visit: Visit) -> None:
    for number in range(2):
        notice(beacon.app, "user:pia", f"later:{number}", f"Earlier {number}")
    page = connected(visit(beacon, "pia", "/notifications?q=earlier&limit=1&page=2")).page
    expect(page.locator("tr[data-notice]")).to_contain_text("Earlier 0")
    notice(beacon.app, "user:pia", "later:2", "Earlier 2")
    new = page.locator("#notifications-new")
    expect(new).to_have_text("1 new")
    expect(page.locator("tr[data-notice]")).to_contain_text("Earlier 0")
    new.click()
    expect(page).to_have_url(f"{beacon.url}/notifications?q=earlier&limit=1")
    expect(page.locator("tr[data-notice]")).to_contain_text("Earlier 2")


def select_text(page: Page) -> None:
    """As somebody does who copies a title."""
    page.evaluate("getSelection().selectAllChildren(document.querySelector('tr[data-notice] .notice-title'))")


def test_a_discrepancy_that_lasts_and_its_end_are_noticed(beacon: Beacon, service: DemoService, visit: Visit) -> None:
    service.create_jobs({"state": "queued"}, {"state": "queued"})
    tab = visit(beacon, "alice")
    expect(tab.figure("mail", "queued")).to_have_text("2")
    clear(beacon, "alice")
    wait_unread(tab, "")
    service.lose(1)
    wait_unread(tab, "1 unread")
    assert titles(beacon.app)[-1] == "Mail: discrepancy for 3 polls"
    with_token = beacon.bearer("bob", "command")
    accept = {"all": True, "reason": "known"}
    requests.post(
        f"{beacon.url}/services/mail/discrepancies/accept", json=accept, headers=with_token, timeout=scaled(10)
    )
    wait_unread(tab, "2 unread")
    assert titles(beacon.app)[-1] == "Mail is verified again"
    tab.page.locator("#bell").click()
    cause = tab.page.locator("#panel").get_by_role("link", name="Mail: discrepancy for 3 polls")
    cause.click()
    expect(tab.page).to_have_url(f"{beacon.url}/services/mail#open-items")
