"""A queue without a worker is noticed once, whatever else goes on; one that joins is noticed, a repeat is not."""

import json
from typing import Any

import pytest
from flask import Flask

from app.notifications.queue_alerts import MAX_QUEUES, ReportedQueues, update_queue_alerts
from tests.notifications import scene
from tests.notifications.scene import finding

HOUR = 3_600


def at(second: int) -> str:
    return f"2026-11-21T{12 + second // HOUR:02d}:{second // 60 % 60:02d}:{second % 60:02d}.000Z"


def walk(*polls: tuple[int, list[str]]) -> list[tuple[str, ...]]:
    """The news of each poll."""
    reported: ReportedQueues = {}
    news = []
    for second, queues in polls:
        done = update_queue_alerts(reported, queues, at(second))
        reported = done.reported
        news.append(done.new)
    return news


def test_each_queue_is_news_once() -> None:
    assert walk((0, ["mail"]), (5, ["mail"]), (10, ["web", "mail"]), (15, ["web"])) == [("mail",), (), ("web",), ()]


def test_one_that_comes_and_goes_is_news_again_after_an_hour_with_a_worker() -> None:
    burst = [(minute * 60, ["mail"] if minute % 10 else []) for minute in range(1, 121)]
    assert [news for news in walk(*burst) if news] == [("mail",)]
    assert walk((0, ["mail"]), (60, []), (HOUR + 59, ["mail"]))[-1] == ()
    assert walk((0, ["mail"]), (60, []), (HOUR + 60, ["mail"]))[-1] == ("mail",)


def test_what_is_remembered_has_a_bound() -> None:
    first = update_queue_alerts({}, [f"q{number}" for number in range(MAX_QUEUES)], at(0))
    second = update_queue_alerts(first.reported, ["other"], at(5))
    assert second.new == ("other",)
    assert (len(second.reported), second.reported["other"]) == (MAX_QUEUES, None)


def unserved(*queues: str, count: int = 250) -> dict[str, Any]:
    note = f"{queues[0]} since 2026-11-21 12:00:00 UTC"
    return {**finding("no-worker", count=count), "queues": list(queues), "note": note}


@pytest.fixture
def watching(cast: Flask) -> Flask:
    scene.watch(cast)
    return cast


def test_a_verified_service_with_such_a_queue_makes_one_warning_with_what_to_look_at(watching: Flask) -> None:
    scene.poll(watching, "verified")
    scene.poll(watching, "verified", findings=[unserved("reports")])
    scene.poll(watching, "verified", findings=[unserved("reports", count=300)])
    scene.poll(watching, "verified")
    assert scene.titles(watching) == ["Mail: no worker serves the queue reports"]
    [body] = scene.bodies(watching)
    assert body.startswith(
        "250 jobs wait in the queue reports, and no worker serves it: reports since 2026-11-21 12:00"
    )
    [(audience, payload)] = scene.events(watching, "notification.created")
    told = json.loads(payload)
    assert (audience, told["severity"], told["link"]) == ("everyone", "warning", "/services/mail#open-items")


def test_a_queue_that_joins_makes_another_one_that_names_it(watching: Flask) -> None:
    scene.poll(watching, "verified", findings=[unserved("reports")])
    scene.poll(watching, "verified", findings=[unserved("web", "reports", count=252)])
    assert scene.titles(watching)[1:] == ["Mail: no worker serves the queue web"]
    assert scene.bodies(watching)[1].startswith(
        "252 jobs wait in the queues web and reports, and no worker serves them"
    )


def test_an_open_discrepancy_does_not_hush_it_nor_is_it_one(watching: Flask) -> None:
    lost = finding("missing", "a")
    scene.poll(watching, "discrepancy", findings=[lost])
    for _ in range(2):
        scene.poll(watching, "discrepancy", changed=False)
    for count in (250, 900):
        scene.poll(watching, "discrepancy", findings=[lost, unserved("reports", count=count)], later_s=120)
        for _ in range(3):
            scene.poll(watching, "discrepancy", changed=False, later_s=120)
    assert scene.titles(watching) == ["Mail: discrepancy for 3 polls", "Mail: no worker serves the queue reports"]


def test_entries_that_cannot_be_read_are_noticed_while_a_discrepancy_is_open(watching: Flask) -> None:
    lost = finding("missing", "a")
    scene.poll(watching, "discrepancy", findings=[lost])
    for _ in range(2):
        scene.poll(watching, "discrepancy", changed=False)
    scene.poll(watching, "discrepancy", findings=[lost, finding("unreadable", count=2)])
    for _ in range(3):
        scene.poll(watching, "discrepancy", changed=False)
    assert scene.titles(watching)[1:] == ["Mail: 2 listed but unreadable"]


def test_a_service_that_flaps_does_not_hush_it_whatever_state_it_shows(watching: Flask) -> None:
    flaps = finding("flapping", count=4)
    scene.poll(watching, "stale", reason="answered 500", findings=[flaps])
    scene.poll(watching, "stale", reason="answered 500", findings=[flaps, unserved("reports")])
    assert scene.titles(watching)[1:] == ["Mail: no worker serves the queue reports"]


def test_an_outage_between_makes_it_no_news(watching: Flask) -> None:
    scene.poll(watching, "verified", findings=[unserved("reports")])
    scene.poll(watching, "stale", reason="answered 500", later_s=2 * HOUR)
    scene.poll(watching, "verified", findings=[unserved("reports")], later_s=4 * HOUR)
    assert [title for title in scene.titles(watching) if "worker" in title] == [
        "Mail: no worker serves the queue reports"
    ]
