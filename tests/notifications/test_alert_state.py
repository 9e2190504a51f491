"""Repeats are hushed; new jobs, new kinds and new outages are not, whatever people have been told of already."""

from collections.abc import Mapping
from itertools import pairwise

import pytest
from flask import Flask

from app.notifications.alert_state import (
    MAX_REMEMBERED_JOBS,
    AffectedJobs,
    DiscrepancyAlert,
    PollStatus,
    advance_alert,
    find_unreported,
)
from tests.notifications import scene
from tests.notifications.scene import finding

Told = tuple[str | None, dict[str, int]]
LOST = AffectedJobs(3, ("a", "b", "c"))
MORE = AffectedJobs(5, ("a", "b", "c", "d", "e"))


def at(second: int) -> str:
    return f"2026-11-21T12:{second // 60:02d}:{second % 60:02d}.000Z"


def walk(
    *found: Mapping[str, AffectedJobs], every_s: int = 5, flapping: bool = False
) -> list[tuple[str | None, dict[str, int]]]:
    """A discrepancy, poll by poll: what happened, and how many jobs of which kind were new."""
    alert: DiscrepancyAlert | None = None
    told: list[Told] = []
    for place, kinds in enumerate(found):
        done = advance_alert(alert, PollStatus("mail", "discrepancy", at(every_s * place), "e", kinds, flapping))
        alert = done.alert
        told.append((done.outcome, {kind: one.number for kind, one in done.new.items()}))
    return told


def test_more_of_it_is_told_once_it_has_lasted_too() -> None:
    told = walk(*[{"missing": LOST}] * 3, *[{"missing": MORE}] * 4, every_s=30)
    assert told == [
        *[(None, {})] * 2,
        ("opened", {"missing": 3}),
        *[(None, {})] * 2,
        ("grew", {"missing": 2}),
        (None, {}),
    ]


def test_a_new_kind_waits_for_no_pause_and_more_of_the_same_does() -> None:
    first = [{"missing": LOST}] * 3
    assert walk(*first, *[{"missing": LOST, "orphaned": AffectedJobs(1, ("r",))}] * 3)[-1] == ("grew", {"orphaned": 1})
    assert {happened for happened, _ in walk(*first, *[{"missing": MORE}] * 3)[3:]} == {None}
    assert walk(*first, *[{"missing": MORE}] * 12)[-1] == ("grew", {"missing": 2}), "a minute after the first"


def test_pauses_double_so_that_what_trickles_is_told_ever_more_seldom() -> None:
    growing = [{"overdue": AffectedJobs(n, tuple(f"j{i}" for i in range(n)))} for n in range(1, 200)]
    places = [place for place, (happened, _) in enumerate(walk(*growing, every_s=15)) if happened]
    waits = [after - before for before, after in pairwise(places)]
    assert waits == sorted(waits)
    assert len(places) == 6


def test_jobs_that_come_back_and_are_gone_again_are_no_news() -> None:
    there, gone = {"missing": LOST}, {"missing": AffectedJobs(2, ("a", "b"))}
    assert [happened for happened, _ in walk(there, there, there, *[gone, there] * 5, every_s=60)[3:]] == [None] * 10


def test_a_blip_of_something_new_tells_nobody() -> None:
    told = walk(*[{"missing": LOST}] * 3, *[{"missing": MORE}, {"missing": LOST}] * 4, every_s=60)
    assert [happened for happened, _ in told[3:]] == [None] * 8


def test_what_comes_and_goes_has_lasted_already() -> None:
    assert walk({"missing": LOST}, {"missing": LOST, "dangling": AffectedJobs(1, ("d",))}, flapping=True) == [
        ("opened", {"missing": 3}),
        ("grew", {"dangling": 1}),
    ]


def test_of_more_jobs_than_are_named_their_number_is_compared() -> None:
    before = {"missing": AffectedJobs(5_000, tuple(f"j{n}" for n in range(MAX_REMEMBERED_JOBS)))}
    assert find_unreported(before, {"missing": AffectedJobs(5_000, ("other",))}) == {}
    assert find_unreported(before, {"missing": AffectedJobs(5_012, ("other",))})["missing"].number == 12


@pytest.fixture
def watching(cast: Flask) -> Flask:
    scene.watch(cast)
    return cast


def test_twelve_more_jobs_of_an_open_discrepancy_are_noticed(watching: Flask) -> None:
    lost = [finding("missing", "a", "b", "c")]
    scene.poll(watching, "discrepancy", findings=lost)
    for _ in range(2):
        scene.poll(watching, "discrepancy", changed=False)
    more = [finding("missing", "a", "b", "c", *(f"m{n:02}" for n in range(12)))]
    scene.poll(watching, "discrepancy", findings=more, later_s=120)
    for _ in range(3):
        scene.poll(watching, "discrepancy", changed=False, later_s=120)
    assert scene.titles(watching) == ["Mail: discrepancy for 3 polls", "Mail: 12 more missing"]
    assert scene.bodies(watching)[-1].endswith("Missing: m00, m01, m02 and 9 more.")


def test_each_outage_is_noticed_and_its_end_is(watching: Flask) -> None:
    for number in range(3):
        silent = f"2026-11-21T12:0{number}:00.000Z"
        scene.poll(watching, "stale", reason="answered 500", silentSince=silent, findings=[finding("missing", "a")])
        scene.poll(watching, "stale", reason="timed out", silentSince=silent, findings=[finding("missing", "a")])
        scene.poll(watching, "verified")
    assert scene.titles(watching) == ["Mail does not answer", "Mail answers again"] * 3
    assert scene.bodies(watching)[0] == "Answered 500; 1 job was missing before."


def test_outages_that_come_and_go_are_noticed_once_and_one_that_lasts_again(watching: Flask) -> None:
    flaps, silent = finding("flapping", count=4), "2026-11-21T12:00:00.000Z"
    scene.poll(watching, "stale", reason="answered 500", silentSince=silent, findings=[flaps])
    scene.poll(watching, "stale", reason="timed out", silentSince=silent, findings=[flaps])
    assert scene.titles(watching) == ["Mail is flapping"]
    scene.poll(watching, "stale", reason="timed out", silentSince=silent)
    assert scene.titles(watching)[1:] == ["Mail does not answer"]
    scene.poll(watching, "verified")
    assert scene.titles(watching)[2:] == ["Mail answers again"]


def test_an_outage_during_an_open_discrepancy_is_noticed(watching: Flask) -> None:
    scene.poll(watching, "discrepancy", findings=[finding("missing", "a")])
    for _ in range(2):
        scene.poll(watching, "discrepancy", changed=False)
    scene.poll(watching, "stale", reason="answered 500", findings=[finding("missing", "a")])
    scene.poll(watching, "discrepancy", findings=[finding("missing", "a")])
    for _ in range(3):
        scene.poll(watching, "discrepancy", changed=False)
    assert scene.titles(watching) == ["Mail: discrepancy for 3 polls", "Mail is stale", "Mail answers again"]
