"""A real Beacon beside real workers, busy and healthy for ten minutes: polled every second, not one false finding."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
import sqlalchemy as sa

from app.db import read, write
from app.notifications.models import Notification
from app.reconciliation import registry
from tests.reconciliation.desk import SERVICE, Book
from tests.services import celery_traffic, rq_traffic
from tests.services.celery_scene import Fleet
from tests.services.rq_scene import Scene
from tests.services.valkey import Valkey
from tests.support.beacon_server import Beacon
from tests.support.waiting import wait_for

# `make test` has the same at test_rq_busy.py and test_celery_healthy.py, for seconds.
pytestmark = pytest.mark.long
POLL_S = 1.0
BUSY_S = 600.0


@pytest.fixture
def beacon(tmp_path: Path) -> Iterator[Beacon]:
    with Beacon(tmp_path / "beacon", POLL_INTERVAL_S=POLL_S) as made:
        yield made


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with Valkey() as made:
        yield made


@dataclass(frozen=True)
class Told:
    """All that Beacon has told of the service since it is watched.

    `wrong`: updates that found something. `waited_for`: jobs that were unaccounted for until it was known what became
    of them. `recorded`: discrepancies, and jobs that came to be open items. `facts`: failed jobs by
    type of error, or by message if it names none.
    """

    polls: Counter[str]
    wrong: Sequence[dict[str, Any]]
    waited_for: Sequence[str]
    recorded: Sequence[str]
    notices: Sequence[str]
    log: Sequence[str]
    facts: dict[str | None, int]


def watch(beacon: Beacon, **entry: Any) -> Callable[[], Told]:
    with beacon.app.app_context(), write() as session:
        registry.add(session, id=SERVICE, name="Mail", **entry)
    book = Book()

    def tell() -> Told:
        with beacon.app.app_context(), read() as session:
            updates = book.events()
            return Told(
                polls=Counter(sample.status if sample.ok else "no answer" for sample in book.samples),
                wrong=[one for one in updates if one["status"] == "discrepancy" or _kinds(one) - {"unaccounted"}],
                waited_for=[job_id for one in updates for job_id in _unaccounted(one)],
                recorded=[row.status for row in book.record if row.status == "discrepancy"]
                + [*book.items, *book.closed],
                notices=list(session.scalars(sa.select(Notification.title).where(Notification.service == SERVICE))),
                log=[line for line in beacon.log_text().splitlines() if " WARNING " in line or " ERROR " in line],
                facts=dict(
                    beacon.sql(
                        "SELECT coalesce(error_type, g.message), count(*) FROM failed_job"
                        " JOIN failure_group g ON group_id = g.id WHERE read_at IS NOT NULL GROUP BY 1"
                    )
                ),
            )

    wait_for(lambda: tell().polls["verified"], "the first poll", 30)
    return tell


def _kinds(update: dict[str, Any]) -> set[str]:
    return {found["kind"] for found in update.get("findings") or []}


def _unaccounted(update: dict[str, Any]) -> list[str]:
    return [i for found in update.get("findings") or [] if found["kind"] == "unaccounted" for i in found["jobIds"]]


def assert_nothing_found(beacon: Beacon, tell: Callable[[], Told], jobs: int, cause: str) -> Told:
    """Nothing but `cause`, for which some of the jobs fail on purpose."""

    def nothing_is_left() -> bool:
        with beacon.app.app_context():
            return Book().known == {}

    wait_for(nothing_is_left, "Beacon to know that no job is left", 60)
    told = tell()
    passed = f"{jobs:,} jobs in {BUSY_S:.0f} s, polls: {dict(told.polls)}"
    print(f"{passed}; waited for: {len(told.waited_for)}; facts: {told.facts}; in the log: {told.log}")  # noqa: T201 -- for `pytest -s`
    assert told.polls.total() > BUSY_S / POLL_S / 10  # on a busy machine each takes a while
    assert (told.wrong, told.recorded, told.notices) == ([], [], [f"Mail: {cause}"])
    assert [line for line in told.log if SERVICE in line] == []
    assert set(told.facts) == {"ValueError"}, "the facts of all failed jobs, and nothing else"
    return told


def test_a_busy_healthy_rq_makes_no_false_finding(beacon: Beacon) -> None:
    with Scene() as scene:
        # One queue is taken from through the intermediate list, several are popped straight off their lists.
        scene.worker("mail", name="one", options=("--with-scheduler",))
        scene.worker(*rq_traffic.QUEUES, name="all", options=("-w", "rq.SimpleWorker"))
        scene.worker("reports", "pictures", name="two", options=("-w", "rq.SimpleWorker", "--with-scheduler"))
        tell = watch(beacon, kind="rq", url=scene.valkey.url)
        with rq_traffic.Traffic(scene) as traffic:
            sleep(BUSY_S)
        wait_for(traffic.is_done, "all jobs to end", 120)
        assert assert_nothing_found(beacon, tell, traffic.put, "ValueError in int").waited_for == []


def test_a_busy_healthy_celery_makes_no_false_finding(beacon: Beacon, valkey: Valkey) -> None:
    fleet = Fleet(valkey)
    try:
        fleet.start("one", concurrency=2)
        fleet.start("two", pool="solo")
        fleet.start("three", "-Q", "reports,celery", pool="solo")
        wait_for(lambda: fleet.connected() == 3, "all workers to listen", 60)
        tell = watch(beacon, kind="celery", url=valkey.url, queues=["celery", "reports"], result_backend=True)
        traffic, ends = celery_traffic.Traffic(fleet, ["reports"]), monotonic() + BUSY_S
        traffic.keep_up(lambda: monotonic() >= ends)
        wait_for(lambda: celery_traffic.all_ended(fleet, traffic.ids), "all tasks to end", 120, every_s=0.5)
        # Some may have been waited for: a worker of the pool solo answers nobody while it runs a task.
        assert_nothing_found(beacon, tell, len(traffic.ids) + traffic.without_result, "ValueError")
    finally:
        fleet.close()
