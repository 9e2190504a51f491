"""A stream that something in between holds back: for a while, or whole. The page says so, and shows what it polls."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visit
from tests.browser.fault_proxy import FaultProxy
from tests.browser.test_connection import AWAY, CHECKER, PROXIED, pass_time, publish, through
from tests.support.beacon_server import Beacon
from tests.support.machine import scaled
from tests.support.nginx import FOR_STREAMS, HOLDING_BACK, PROGRAM, Nginx

HEARTBEAT_S = 1
NOTICED_S = 15.0  # two heartbeats, and what is not yet called late


@pytest.fixture(scope="module")
def beacon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beacon]:
    folder = tmp_path_factory.mktemp("held-back")
    with Beacon(folder, HEARTBEAT_S=HEARTBEAT_S, POLL_INTERVAL_S=0.5, FALLBACK_POLL_S=0.3) as running:
        yield running


@pytest.fixture
def proxy(beacon: Beacon) -> Iterator[FaultProxy]:
    with FaultProxy(beacon.port) as running:
        yield running


def test_a_stream_that_is_late_says_by_how_much_and_is_polled_beside_until_it_is_prompt(
    beacon: Beacon, visit: Visit, proxy: FaultProxy
) -> None:
    tab, _ = through(visit, beacon, proxy)
    tab.wait_change(publish(beacon, "prompt")[0])
    tab.page.evaluate(CHECKER)
    expect(tab.badge).to_have_text("Connected")
    opened = tab.asked_for("/api/stream/events")
    proxy.mode = "late"
    held = publish(beacon, "held.back", 3)
    expect(tab.badge).to_have_text(re.compile(r"Late by \d+ s"), timeout=scaled(NOTICED_S) * 1_000)
    tab.wait_change(held[-1])
    proxy.mode = "pass"
    expect(tab.badge).to_have_text("Connected", timeout=scaled(NOTICED_S) * 1_000)
    held += publish(beacon, "prompt.again")
    tab.wait_change(held[-1])
    tab.wait_right()
    seen = [int(each) for each in tab.page.evaluate("window.checked")]
    assert [each for each in seen if each in held] == held
    assert tab.asked_for("/api/stream/events") == opened


def test_a_stream_that_is_held_back_whole_is_polled_around_after_two_attempts_and_taken_again_when_it_comes_through(
    beacon: Beacon, visit: Visit, proxy: FaultProxy
) -> None:
    tab, said = through(visit, beacon, proxy, clock=True)
    tab.page.evaluate(CHECKER)
    said.clear()
    proxy.mode = "say-nothing"
    proxy.cut()
    pass_time(tab, said, "polling (no-hello)", 30)
    assert sum("stream: no-hello" in line for line in said) == 2
    expect(tab.page.locator("#banner")).to_contain_text("perhaps because of a proxy in between")
    ids = publish(beacon, "around", 3)
    tab.wait_change(ids[-1])
    said.clear()
    pass_time(tab, said, "stream: no-hello", 60)  # it goes on trying
    tab.wait_state("polling")
    proxy.mode = "pass"
    pass_time(tab, said, "the server said hello", 60)
    pass_time(tab, said, "connected (live)", 60)
    ids += publish(beacon, "through", 3)
    tab.wait_change(ids[-1])
    tab.wait_right()
    seen = [int(each) for each in tab.page.evaluate("window.checked")]
    assert [each for each in seen if each in ids] == ids
    expect(tab.page.locator("#banner")).to_be_hidden()


@pytest.mark.long  # tests/js/connection/proxy_faults.test.js has the same without a browser
@pytest.mark.skipif(PROGRAM is None, reason="no nginx (Debian: sudo apt-get install nginx)")
def test_a_real_nginx_that_holds_back_the_first_700_kb_is_noticed_polled_around_and_left_once_it_is_mended(
    beacon: Beacon, visit: Visit, tmp_path: Path
) -> None:
    with Nginx(tmp_path / "nginx", beacon.port, upstream_lines=HOLDING_BACK) as nginx:
        tab = visit(beacon, "alice", None, allow=[AWAY, PROXIED], private=True)
        said: list[str] = []
        tab.page.on("console", lambda message: said.append(message.text))
        tab.page.clock.install()
        tab.page.goto(nginx.url)
        pass_time(tab, said, "polling (no-hello)", 30)
        expect(tab.page.locator("#banner")).to_contain_text("perhaps because of a proxy in between")
        ids = publish(beacon, "around.nginx", 3)
        tab.page.clock.run_for(1_000)
        tab.wait_change(ids[-1])
        nginx.change(upstream_lines=FOR_STREAMS)
        pass_time(tab, said, "connected (live)", 60)
        ids += publish(beacon, "through.nginx")
        tab.wait_change(ids[-1])
        tab.wait_right()
        expect(tab.page.locator("#banner")).to_be_hidden()
