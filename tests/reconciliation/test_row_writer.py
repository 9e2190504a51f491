"""What the tables themselves hold: one open item for one trouble, samples that may go, many jobs read in pages."""

import pytest
import sqlalchemy as sa

from app.db import read, write
from app.reconciliation import loader
from app.reconciliation.models import CheckSample, KnownJob, OpenItem, prune_samples
from app.sources.protocol import JobLookup
from tests.reconciliation.desk import SERVICE, Desk
from tests.reconciliation.values import look


def sample(at: str) -> CheckSample:
    return CheckSample(service_id=SERVICE, at=at, ok=True, status="verified", latency_ms=1, counts_json="{}")


def item(job_id: str, **more: str) -> OpenItem:
    given = {"id": f"{job_id}-{len(more)}", "service_id": SERVICE, "job_id": job_id, "kind": "missing", "since": "now"}
    return OpenItem(**{**given, "last_state": "queued", **more})


def test_samples_are_pruned_in_steps_and_newer_ones_stay(desk: Desk) -> None:
    with write() as session:
        session.add_all(sample(f"2026-11-2{day}T00:00:00.000Z") for day in (0, 1, 1, 2, 3))
    pruned = []
    for _ in range(3):
        with write() as session:
            pruned.append(prune_samples(session, "2026-11-22T00:00:00.000Z", limit=2))
    assert pruned == [2, 1, 0]
    assert [row.at[:10] for row in desk.samples] == ["2026-11-22", "2026-11-23"]


def test_a_job_has_one_open_item_of_a_kind(desk: Desk) -> None:
    with write() as session:
        session.add(item("a"))
    with pytest.raises(sa.exc.IntegrityError), write() as session:
        session.add(item("a", id="another"))
    with write() as session:
        session.add(item("a", id="third", kind="unaccounted"))


def test_a_closed_item_does_not_stand_in_the_way_of_a_new_one(desk: Desk) -> None:
    with write() as session:
        session.add(item("a", closed_at="then", closed_how="finished"))
        session.add(item("a"))
    assert desk.items == {"a": "missing"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "odd"},
        {"closed_at": "then"},
        {"closed_at": "then", "closed_how": "forgotten"},
        {"closed_how": "expired"},
    ],
)
def test_an_item_of_another_shape_is_refused_by_the_database(desk: Desk, wrong: dict[str, str]) -> None:
    with pytest.raises(sa.exc.IntegrityError), write() as session:
        session.add(item("a", **wrong))


def test_many_known_jobs_are_read_in_pages(desk: Desk) -> None:
    ids = [f"j{n:06}" for n in range(2 * loader.ROWS_PER_PAGE + 1)]
    desk.observe(look(queued=ids))
    with read() as session:
        found = loader.load_known_jobs(session, SERVICE)
    assert (list(found.jobs), found.unseen) == (ids, {})


def test_a_job_that_waits_for_its_look_up_keeps_when_it_was_seen(desk: Desk) -> None:
    desk.source.fates["a"] = JobLookup("cannot-tell")
    desk.observe(look(queued=["a", "b"]))
    seen_at = desk.state.heard_at
    for _ in range(2):
        desk.observe(look(queued=["b"]))
        desk.restart()
    with read() as session:
        rows = {row.job_id: row.seen_at for row in session.scalars(sa.select(KnownJob))}
    assert rows == {"a": seen_at, "b": None}


def test_a_discrepancy_that_lasts_while_work_goes_on_says_that_only_figures_changed(desk: Desk) -> None:
    for queued in (["a", "b"], ["b"], ["b", "c"], ["b", "c", "d"], ["c", "d"]):
        desk.observe(look(queued=queued))
    told = [(event["status"], event["counts"]["queued"], event.get("change")) for event in desk.events()]
    assert told == [
        ("verified", 2, None),
        ("discrepancy", 1, None),
        ("discrepancy", 2, "figures"),
        ("discrepancy", 3, "figures"),
        ("discrepancy", 2, None),  # another job is missing
    ]
