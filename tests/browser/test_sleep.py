"""Tabs that Chromium hides and freezes, and pages that are left and come back to: each is right when it is seen."""

import re
from time import monotonic

import pytest
import requests

from tests.browser.conftest import StartChromium
from tests.browser.fault_proxy import FaultProxy
from tests.browser.plain_chromium import PlainChromium, PlainTab
from tests.support.beacon_server import Beacon
from tests.support.machine import ROOM_S, scaled
from tests.support.prometheus_text import numbers, total
from tests.support.waiting import wait_for

WAKING_S = 1.0
HELD = "navigator.locks.query().then(({ held, pending }) => JSON.stringify([held.length, pending.length]))"
STALE_MS = 4_000
CHECKED_AT = "Date.parse(document.querySelector('#tile-mail .check time').dateTime)"
NOTE_TITLES = """window.titles = [];
new MutationObserver(() => window.titles.push(`${document.title} ${document.getElementById("summary").textContent}`))
  .observe(document.documentElement, { childList: true, subtree: true, characterData: true }); 1"""
LOADED_AGAIN = "location.pathname === '/' && !window.marked && document.readyState === 'complete'"


def follow(chromium: PlainChromium, beacon: Beacon, number: int, *, windows: bool = False) -> list[PlainTab]:
    """So many tabs with the dashboard; the first leads, the last is in front, or each has a window and is seen."""
    chromium.log_in(beacon, "alice")
    tabs = []
    for _ in range(number):
        tabs.append(chromium.open(beacon.url, window=windows))
        tabs[-1].wait_state("connected")
    tabs[0].wait_role("leader")
    return tabs


def publish(beacon: Beacon, name: str, number: int = 1) -> list[int]:
    return beacon.publish([{"type": name, "data": {"n": n}} for n in range(number)])


def open_streams(beacon: Beacon) -> float:
    text = requests.get(f"{beacon.url}/metrics", headers=beacon.bearer("ada", "read"), timeout=scaled(10)).text
    return total(numbers(text), "beacon_streams_open")


def test_a_frozen_leader_is_replaced_within_two_seconds_without_loss_and_follows_when_it_thaws(
    beacon: Beacon, chromium: PlainChromium
) -> None:
    leader, follower = follow(chromium, beacon, 2)
    assert leader.run("document.visibilityState") == "hidden"
    before = publish(beacon, "before.the.freeze")[0]
    follower.wait_change(before)
    leader.freeze()
    frozen = monotonic()
    missed = publish(beacon, "into.the.ice", 3)
    follower.wait_change(missed[-1])
    assert monotonic() - frozen < scaled(2 + ROOM_S)
    follower.wait_role("leader")
    follower.wait_right(beacon, "alice")
    assert follower.streams == 1
    leader.thaw()
    leader.show()
    leader.wait_role("follower")
    leader.wait_right(beacon, "alice", WAKING_S + ROOM_S)
    later = publish(beacon, "after.the.thaw")[0]
    leader.wait_change(later)
    follower.wait_change(later)
    assert leader.streams == 1
    assert leader.troubles + follower.troubles == []


def test_a_frozen_follower_lets_go_and_shows_what_it_missed_within_a_second_of_being_looked_at(
    beacon: Beacon, chromium: PlainChromium
) -> None:
    leader, follower = follow(chromium, beacon, 2)
    leader.show()
    follower.freeze()
    follower.wait_role("asleep")
    missed = publish(beacon, "while.frozen", 60)  # more than the list holds
    leader.wait_change(missed[-1])
    assert not set(missed) & set(follower.change_ids())
    follower.thaw()
    follower.show()
    follower.wait_right(beacon, "alice", WAKING_S + ROOM_S)
    follower.wait_state("connected", WAKING_S + ROOM_S)
    follower.wait_role("follower")
    assert follower.streams == 0


def test_a_tab_that_thaws_claims_nothing_of_the_services_until_it_knows(
    beacon: Beacon, chromium: PlainChromium
) -> None:
    leader, follower = follow(chromium, beacon, 2)
    leader.show()
    follower.run(NOTE_TITLES)
    follower.freeze()
    follower.wait_role("asleep")
    frozen_at = leader.run(CHECKED_AT)
    # Longer than it takes until a service counts as stale.
    wait_for(lambda: leader.run(CHECKED_AT) - frozen_at > STALE_MS, "later checks")
    follower.thaw()
    follower.show()
    wait_for(lambda: follower.run(CHECKED_AT) - frozen_at > STALE_MS, "what was missed")
    assert [title for title in follower.run("window.titles") if re.search("wrong|stale", title)] == []


@pytest.mark.long
def test_a_tab_that_thaws_out_of_sight_takes_part_again(beacon: Beacon, chromium: PlainChromium) -> None:
    tab, front = follow(chromium, beacon, 2)
    tab.freeze()
    tab.wait_role("asleep")
    front.wait_role("leader")
    tab.thaw()
    tab.wait_role("follower")
    assert tab.run("document.visibilityState") == "hidden"
    tab.wait_change(publish(beacon, "to.the.hidden")[0])
    front.close()
    tab.wait_role("leader")
    tab.wait_change(publish(beacon, "to.the.last.one")[0])


def test_a_page_that_was_left_holds_nothing_and_is_right_within_a_second_of_the_way_back(
    beacon: Beacon, chromium: PlainChromium
) -> None:
    [tab] = follow(chromium, beacon, 1)
    tab.run("window.marked = true")
    wait_for(lambda: open_streams(beacon) == 1, "one open stream")
    tab.goto(f"{beacon.url}/healthz")
    assert tab.run(HELD) == "[0,0]"
    wait_for(lambda: open_streams(beacon) == 0, "the stream's end")
    missed = publish(beacon, "while.away", 60)
    tab.back()
    tab.wait(LOADED_AGAIN)
    back = monotonic()
    tab.wait_change(missed[-1])
    tab.wait_state("connected")
    assert monotonic() - back < scaled(WAKING_S + ROOM_S)
    tab.wait_right(beacon, "alice")
    tab.wait_change(publish(beacon, "after.the.return")[0])
    assert tab.streams == 2
    assert tab.troubles == []


@pytest.mark.long
def test_a_page_that_comes_back_beside_another_tab_follows_it(beacon: Beacon, chromium: PlainChromium) -> None:
    tab, other = follow(chromium, beacon, 2, windows=True)
    tab.run("window.marked = true")
    tab.goto(f"{beacon.url}/healthz")
    other.wait_role("leader", 1 + ROOM_S)
    missed = publish(beacon, "while.away", 3)
    other.wait_change(missed[-1])
    tab.back()
    tab.wait(LOADED_AGAIN)
    tab.wait_right(beacon, "alice", WAKING_S + ROOM_S)
    tab.wait_role("follower")
    tab.wait_state("connected", WAKING_S + ROOM_S)
    assert tab.streams == 1
    assert other.streams == 1


def test_whoever_goes_back_after_a_logout_reads_nothing_of_the_person_before(
    beacon: Beacon, chromium: PlainChromium
) -> None:
    [tab] = follow(chromium, beacon, 1)
    tab.wait_change(publish(beacon, "of.alice.alone")[0])
    assert "of.alice.alone" in tab.run("document.body.textContent")
    tab.goto(f"{beacon.url}/audit")
    tab.follow("form[action='/logout'] button")
    for _ in range(2):  # the audit, and the dashboard before it
        tab.run("window.left = true")
        tab.back()
        tab.wait("!window.left && document.readyState === 'complete'")
        assert tab.run("location.pathname") == "/login"
        assert tab.run("document.querySelector('[name=password]') !== null")
        assert "alice" not in tab.run("document.documentElement.outerHTML")


def test_timers_that_run_once_a_minute_break_nothing_and_cost_a_hidden_leader_its_place_only_without_a_stream(
    beacon: Beacon, start_chromium: StartChromium
) -> None:
    """What Chromium does with a tab that was hidden for five minutes, here after a second."""
    chromium = start_chromium("--enable-features=IntensiveWakeUpThrottling:grace_period_seconds/1")
    with FaultProxy(beacon.port) as proxy:
        chromium.log_in(beacon, "alice", proxy.url)
        leader = chromium.open(proxy.url)
        leader.wait_role("leader")
        follower = chromium.open(proxy.url)
        follower.wait_state("connected")
        leader.run("window.beats = 0; window.began = Date.now(); setInterval(() => { window.beats += 1; }, 100); 1")

        def is_throttled() -> bool:
            follower.wait_change(publish(beacon, "past.the.throttle")[0])
            passed, beats = leader.run("[(Date.now() - window.began) / 100, window.beats]")
            return passed > 30 and beats < 0.5 * passed

        wait_for(is_throttled, "the leader's timers to be throttled", every_s=0.2)
        assert (leader.streams, follower.streams) == (1, 0)
        proxy.cut()
        lost = monotonic()
        follower.wait_role("leader", 2 + ROOM_S)
        follower.wait_state("connected", 2 + ROOM_S)
        assert monotonic() - lost < scaled(2 + 2 * ROOM_S)
        for tab in (leader, follower):
            tab.wait_change(publish(beacon, "after.the.loss")[0])
            tab.wait_right(beacon, "alice")
