"""From what RQ holds to jobs by state: pure, so every arrangement is tried."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from app.sources.rq.job_places import FINISHED, FLOW, JobPlace, list_places
from app.sources.rq.placement import list_expected_ids, place_jobs
from app.sources.rq.rq_snapshot import RqSnapshot

PLACES = [*list_places("mail"), *list_places("pictures")]
JOBS = st.sampled_from([f"job{n}" for n in range(6)])
HELD = st.dictionaries(st.sampled_from(PLACES), st.lists(JOBS, max_size=6))


def snapshot(held: dict[JobPlace, list[str]], unlisted: frozenset[str] = frozenset()) -> RqSnapshot:
    """`unlisted`: states beyond the bound."""
    listed = {place: held.get(place, []) for place in PLACES if place.state not in unlisted}
    return RqSnapshot(at=0.0, counts={p: len(held.get(p, [])) for p in PLACES}, ids=listed, expiring={}, started=[])


def no_pause() -> None:
    """Nobody waits."""


@given(HELD)
def test_every_job_is_listed_exactly_once(held: dict[JobPlace, list[str]]) -> None:
    listed = Counter(job_id for listing in place_jobs(snapshot(held), no_pause).listings for job_id in listing.jobs)
    assert set(listed) == {job_id for ids in held.values() for job_id in ids}
    assert set(listed.values()) <= {1}


@given(HELD)
def test_counts_and_lists_differ_only_by_ids_twice_in_one_place(held: dict[JobPlace, list[str]]) -> None:
    counted = place_jobs(snapshot(held), no_pause)
    repeated = {p: len(ids) - len(set(ids)) for p, ids in held.items() if p.state != "started"}
    if not any(repeated.values()):
        assert {one.state: len(one.jobs) for one in counted.listings} == counted.counts
    assert sum(counted.counts.values()) >= sum(len(one.jobs) for one in counted.listings)


@given(HELD)
def test_an_unfinished_place_wins_over_one_from_last_time(held: dict[JobPlace, list[str]]) -> None:
    unfinished = {job_id for place, ids in held.items() if place.state not in FINISHED for job_id in ids}
    listings = place_jobs(snapshot(held), no_pause).listings
    assert {job_id for one in listings if not one.finished for job_id in one.jobs} == unfinished


@given(HELD, st.frozensets(st.sampled_from(FLOW)))
def test_a_state_beyond_the_bound_keeps_its_number_and_names_nobody(
    held: dict[JobPlace, list[str]], unlisted: frozenset[str]
) -> None:
    counted = place_jobs(snapshot(held, unlisted), no_pause)
    for listing in counted.listings:
        assert listing.complete is (listing.state not in unlisted)
        if not listing.complete:
            assert listing.jobs == {}
            assert counted.counts[listing.state] == sum(len(i) for p, i in held.items() if p.state == listing.state)


@given(HELD)
def test_only_places_that_exclude_each_other_make_a_duplicate(held: dict[JobPlace, list[str]]) -> None:
    doubled = place_jobs(snapshot(held), no_pause).doubled
    for job_id in {job_id for ids in held.values() for job_id in ids}:
        where = [place for place, ids in held.items() for found in ids if found == job_id]
        unfinished = {place for place in where if place.state not in FINISHED}
        legal = len({p for p in unfinished if not p.taken}) <= 1 and len({p for p in unfinished if p.taken}) <= 1
        legal = legal and (len(unfinished) < 2 or any(place.state == "started" for place in unfinished))
        twice = any(count > 1 and place.state != "started" for place, count in Counter(where).items())
        if legal and not twice:
            assert job_id not in doubled
        if len({p for p in unfinished if not p.taken}) > 1:
            assert job_id in doubled


def test_what_may_have_expired_is_not_checked() -> None:
    failed = next(place for place in PLACES if place.state == "failed")
    held = RqSnapshot(
        at=0.0,
        counts={failed: 4},
        ids={failed: ["for ever", "over", "nearly over", "good for long"]},
        expiring={failed: slice(1, 3)},
        started=[],
    )
    assert dict(list_expected_ids(held)) == {failed: ["for ever", "good for long"]}
