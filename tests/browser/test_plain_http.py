"""Plain HTTP under a name of its own: no locks, so each tab that somebody sees has a stream, and the page says why."""

from tests.browser.conftest import StartChromium
from tests.browser.plain_chromium import PlainTab
from tests.support.beacon_server import Beacon
from tests.support.waiting import wait_for

NAME = "beacon.test"
HTTPS_NOTE = "Over HTTPS one stream would do for all tabs of this browser"


def publish(beacon: Beacon, name: str) -> int:
    return beacon.publish([{"type": name, "data": {}}])[0]


def note(tab: PlainTab) -> str:
    tab.run("document.querySelector('.badge-button').click()")  # the first use of the page, which loads the note
    text: str = tab.wait("[...document.querySelectorAll('[data-part=https]')].find((one) => !one.hidden)?.innerText")
    tab.run("document.getElementById('connection-detail').hidePopover()")
    return text


def test_the_tab_that_is_seen_streams_hidden_ones_let_go_and_the_badge_says_what_https_would_do(
    beacon: Beacon, start_chromium: StartChromium
) -> None:
    chromium = start_chromium(f"--host-resolver-rules=MAP {NAME} 127.0.0.1")
    url = f"http://{NAME}:{beacon.port}"
    chromium.log_in(beacon, "alice", url)
    first = chromium.open(url)
    first.wait_state("connected")
    assert not first.run("isSecureContext")
    assert not first.run("'locks' in navigator")
    assert HTTPS_NOTE in note(first)
    second = chromium.open(url)
    second.wait_state("connected")
    first.wait_role("asleep")
    second.wait_role("alone")
    missed = publish(beacon, "while.hidden")
    second.wait_change(missed)
    assert missed not in first.change_ids()
    first.show()
    first.wait_change(missed, 1.5)
    first.wait_state("connected", 1.5)
    first.wait_right(beacon, "alice")
    wait_for(lambda: second.run("document.documentElement.dataset.role") == "asleep", "the other one to let go")
    assert (first.streams, second.streams) == (2, 1)
    first.wait_change(publish(beacon, "to.the.first"))
    assert first.troubles + second.troubles == []


def test_two_windows_side_by_side_both_stream(beacon: Beacon, start_chromium: StartChromium) -> None:
    chromium = start_chromium(f"--host-resolver-rules=MAP {NAME} 127.0.0.1")
    url = f"http://{NAME}:{beacon.port}"
    chromium.log_in(beacon, "alice", url)
    tabs = [chromium.open(url, window=True) for _ in range(2)]
    for tab in tabs:
        tab.wait_state("connected")
    seen = publish(beacon, "to.both")
    for tab in tabs:
        tab.wait_change(seen)
        assert tab.streams == 1
