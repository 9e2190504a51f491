"""What pages report of their own connection, from real pages to the guardrail that acts on it."""

import json
import time
from typing import Any

from app.flags.document import serialize_rollouts
from app.flags.evaluation import Flag, Rollout, build_evaluator
from tests.browser.conftest import FALLBACK_POLL_S, MakeBeacon, Visit
from tests.browser.fault_proxy import FaultProxy
from tests.browser.tab import Tab
from tests.live.test_guardrail import send
from tests.support.beacon_server import PEOPLE, Beacon
from tests.support.waiting import wait_for

STREAM, POLL = "/api/stream/events", "/api/events/frames"
PROXIED = r"request to http://127\.0\.0\.1"
PERCENTAGES = (10, 100)
# Pages of one login report so far apart.
APART_S = 30.0


def totals(beacon: Beacon, cohort: str) -> dict[str, Any]:
    """What was reported of a cohort, over all minutes."""
    names = ("reports", "attempts", "failures", "fallbacks", "reconnects")
    columns = ", ".join((*names, "hello_json", "lag_json"))
    minutes = beacon.sql(f"SELECT {columns} FROM client_report WHERE cohort = ?", cohort)
    sums = {name: sum(row[at] for row in minutes) for at, name in enumerate(names)}
    hellos, lags = (sum(sum(json.loads(row[at]).values()) for row in minutes) for at in (-2, -1))
    return {**sums, "hellos": hellos, "lags": lags}


def said_of(beacon: Beacon, cohort: str, **least: int) -> dict[str, Any] | None:
    """The sums, once they are so much at least; what one slow visit meets may come in several reports."""
    found = totals(beacon, cohort)
    return found if all(found[name] >= number for name, number in least.items()) else None


def leave(tab: Tab) -> None:
    """For a page that has no connection and reports nothing."""
    tab.page.goto("about:blank")


def opened(visit: Visit, beacon: Beacon, user: str, url: str, *, clock: bool = False) -> Tab:
    """A page that measures its connection."""
    tab = visit(beacon, user, None, allow=[PROXIED], private=clock)
    if clock:
        tab.page.clock.install()
    tab.page.goto(url)
    return tab


def in_at(percentage: int, user: str) -> bool:
    return build_evaluator(serialize_rollouts({Flag.SSE_STREAMING: Rollout(True, percentage)}))(
        Flag.SSE_STREAMING, user
    )


def test_pages_report_what_they_met_and_a_fault_that_breaks_their_streams_is_taken_back(
    start_beacon: MakeBeacon, visit: Visit
) -> None:
    beacon = start_beacon(
        streaming=PERCENTAGES[0], FALLBACK_POLL_S=FALLBACK_POLL_S, GUARDRAIL_MODE="step-back", GUARDRAIL_MIN_ATTEMPTS=10
    )
    beacon.set_rollout(PERCENTAGES[1])
    # Reports of a change's own minute do not count.
    beacon.sql("UPDATE flag SET level_since = level_since - 180")
    began = time.monotonic()
    with FaultProxy(beacon.port) as proxy:
        well = opened(visit, beacon, "alice", proxy.url)
        well.wait_state("connected")
        well.wait_change(beacon.publish([{"type": "on.time", "data": {"n": n}} for n in range(3)])[-1])
        leave(well)
        well.page.goto(proxy.url)
        well.wait_state("connected")
        leave(well)
        proxy.mode = "cut-after-hello"
        broken = opened(visit, beacon, "bob", proxy.url, clock=True)
        wait_for(lambda: asked_in_time(broken) >= 4, "the fourth attempt", within_s=20, every_s=0.1)

        # Until it leaves, the broken page reports nothing; what the other one met has been written by now.
        told = wait_for(lambda: said_of(beacon, "streaming", lags=3), "all that the page has met")
        assert told.pop("reports") >= 1, "a page that stays reports more than once"
        assert told == {"attempts": 1, "failures": 0, "fallbacks": 0, "reconnects": 0, "hellos": 1, "lags": 3}
        send(beacon, "charlie", attempts=4)
        leave(broken)
        took_s = time.monotonic() - began
        told = wait_for(lambda: said_of(beacon, "streaming", failures=3), "the failures to be told")
        assert beacon.sql("SELECT percentage FROM flag") == [(100,)], "one viewer decides nothing, whatever it meets"
        for other in ("charlie", "pia"):
            send(beacon, other, attempts=6, failures=6)
        if took_s < APART_S:
            assert told["reports"] == 3, "a page that follows within 30 s reported again"
        wait_for(lambda: beacon.sql("SELECT percentage FROM flag") == [(10,)], "the step back", within_s=20)
    [(actor, reason)] = beacon.sql("SELECT actor, reason FROM flag")
    assert actor == "guardrail"
    assert "attempts to connect failed" in reason

    out = next(name for name in PEOPLE if not in_at(10, name) and name not in ("alice", "bob"))
    polling = opened(visit, beacon, out, beacon.url)
    polling.wait_state("polling")
    wait_for(lambda: _asked(polling, POLL) >= 2, "a poll to be answered, so that another one goes out")
    for n in range(3):  # one that a late poll brings says nothing of delivery
        polling.wait_change(beacon.publish([{"type": "by.a.poll", "data": {"n": n}}])[0])
    leave(polling)
    told = wait_for(lambda: said_of(beacon, "polling", lags=1), "a report of polls")
    assert told["attempts"] >= 2
    assert (told["failures"], told["hellos"]) == (0, 0)
    assert told["lags"] <= 3


def asked_in_time(tab: Tab) -> int:
    """How many streams it has asked for; its own clock runs ahead in small steps, as its pauses grow."""
    tab.page.clock.run_for(400)
    return _asked(tab, STREAM)


def _asked(tab: Tab, path: str) -> int:
    """The driver hears of requests only while it is called."""
    tab.page.evaluate("0")
    return tab.asked_for(path)
