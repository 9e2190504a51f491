"""A pause holds the swaps of one tab, and nothing else."""

from playwright.sync_api import expect

from tests.browser.conftest import Visit
from tests.browser.tab import Tab
from tests.support.beacon_server import Beacon
from tests.support.waiting import wait_for

AGE = "document.querySelector('#check-mail time').textContent"


def paused(beacon: Beacon, visit: Visit) -> Tab:
    beacon.publish([{"type": "before.the.pause", "data": {}}])
    tab = visit(beacon, "alice")
    tab.wait_state("connected")
    tab.page.keyboard.press("r")
    expect(tab.badge).to_have_text("Paused")
    return tab


def publish(beacon: Beacon, number: int = 1) -> list[int]:
    return beacon.publish([{"type": "while.paused", "data": {"n": n}} for n in range(number)])


def test_the_key_r_pauses_this_tab_alone_and_resumes_it_with_everything(beacon: Beacon, visit: Visit) -> None:
    tab = paused(beacon, visit)
    other = tab.beside()
    other.wait_state("connected")
    listed = tab.change_ids()
    ids = publish(beacon, 3)
    other.wait_change(ids[-1])
    expect(other.badge).to_have_text("Connected")
    assert tab.change_ids() == listed
    streams = tab.asked_for("/api/stream/events")
    tab.page.keyboard.press("r")
    expect(tab.badge).to_have_text("Connected")
    tab.wait_change(ids[-1])
    tab.wait_right()
    assert tab.asked_for("/api/stream/events") == streams == 1


def test_a_pause_stops_neither_ages_nor_an_operators_message(beacon: Beacon, visit: Visit) -> None:
    verified = visit(beacon, "charlie")
    expect(verified.tile("mail")).to_have_attribute("data-state", "verified")
    tab = paused(beacon, visit)
    age = tab.page.evaluate(AGE)
    assert "ago" in age
    beacon.say("We restart at noon.")
    expect(tab.page.locator(".flash", has_text="We restart at noon.")).to_be_visible()
    expect(tab.badge).to_have_text("Paused")
    wait_for(lambda: tab.page.evaluate(AGE) != age, "the age to go on")
    [held] = publish(beacon)
    tab.page.keyboard.press("r")
    tab.wait_change(held)


def test_a_pause_outlasts_an_outage_and_what_came_meanwhile_is_there_afterwards(beacon: Beacon, visit: Visit) -> None:
    tab = paused(beacon, visit)
    listed = tab.change_ids()
    tab.go_offline()
    tab.wait_state("offline")
    expect(tab.badge).to_have_text("Offline")  # worse than a pause
    ids = publish(beacon, 3)
    tab.page.context.set_offline(False)
    tab.wait_state("connected")
    expect(tab.badge).to_have_text("Paused")
    assert tab.change_ids() == listed
    tab.page.keyboard.press("r")
    tab.wait_change(ids[-1])
    tab.wait_right()
