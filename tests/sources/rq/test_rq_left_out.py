"""An entry of a queue or registry that is no id is counted by its place, and all others are heard."""

from app.sources.protocol import LeftOut
from app.sources.rq.job_places import list_places
from app.sources.rq.placement import list_expected_ids, place_jobs
from app.sources.rq.responses import JobIds
from app.sources.rq.rq_snapshot import RqSnapshot
from tests.sources.test_left_out import LONG, TOO_LONG


def test_what_is_no_id_is_counted_and_the_first_is_named() -> None:
    found = JobIds("rq:queue:mail")
    found.add_entries([b"a", LONG.encode(), b"b", b"\xff", b"", b"c"])
    assert found.ids == ["a", "b", "c"]
    assert found.summary == LeftOut(3, f"entry 2 of rq:queue:mail: {TOO_LONG}")


def test_bytes_that_are_no_text_are_named_as_such() -> None:
    found = JobIds("rq:queue:mail")
    found.add_entries([b"\xff"])
    assert found.summary.first == "entry 1 of rq:queue:mail: its id is not UTF-8"


def test_places_of_entries_are_those_of_the_ids_that_are_left() -> None:
    """Of a registry whose first entries expire: the jobs of the others must exist."""
    found = JobIds("rq:failed:mail")
    found.add_entries([b"kept", b"\xff", b"expiring", b"\xff", b"must-exist"])
    [failed] = [place for place in list_places("mail") if place.state == "failed"]
    expiring = {failed: found.slice_of(1, 4)}
    snapshot = RqSnapshot(0.0, {failed: 5}, {failed: found.ids}, expiring, [], left_out={failed: found.summary})
    assert list(list_expected_ids(snapshot)) == [(failed, ["kept", "must-exist"])]
    [listing] = [one for one in place_jobs(snapshot, lambda: None).listings if one.state == "failed"]
    assert (len(listing.jobs), listing.left_out.number) == (3, 2)
