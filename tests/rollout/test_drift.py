"""Expected beside actual: only what lasts is a discrepancy, and nobody who has left is waited for."""

from flask import Flask

from app.db import write
from app.flags.document import Flag
from app.flags.embedded import change_rollout
from app.flags.models import PollingRow
from app.flags.worker_state import WorkerAgreement
from app.infra.clock import parse_utc
from app.rollout.drift import DRIFT_AFTER_S, MisplacedSince, OnlineSnapshot, compute_drift, is_lagging
from app.rollout.plan_service import read_epoch
from app.stream.models import PresenceRow
from tests.support.cast import ALICE, BOB, CHARLIE


def look(at: float, streaming: str = "", polled: dict[str, float] | None = None, inside: str = "") -> OnlineSnapshot:
    return OnlineSnapshot(at, frozenset(streaming.split()), polled or {}, frozenset(inside.split()))


def looks(*each: OnlineSnapshot) -> tuple[str, ...]:
    """Who is said to be astray after these looks, with the same flags all the while."""
    since = MisplacedSince()
    for one in each:
        since.update(one, "flags")
    found = compute_drift(each[-1], since.seen)
    return found.not_yet + found.still


def test_people_are_counted_as_online_expected_and_streaming() -> None:
    found = compute_drift(look(100, "ann bea", {"bea": 90, "cid": 95}, inside="ann bea cid"), {})
    assert (found.online, found.expected, found.actual, found.streams_outside) == (3, 3, 2, 0)
    assert not found.differs


def test_a_difference_is_one_once_it_has_lasted() -> None:
    late = [look(at, "", {"cid": at - 1}, inside="cid") for at in (100, 115, 130.5, 135)]
    assert [looks(*late[:n]) for n in (1, 2, 3, 4)] == [(), (), (), ("cid",)]
    still = [look(at, "dan") for at in (100, 100 + DRIFT_AFTER_S, 101 + DRIFT_AFTER_S)]
    assert [looks(*still[:n]) for n in (1, 2, 3)] == [(), (), ("dan",)]


def test_somebody_who_polled_and_left_is_not_waited_for() -> None:
    assert looks(*(look(at, "", {"cid": 99}, inside="cid") for at in (100, 120, 140, 155))) == ()


def test_a_program_that_polls_is_online_and_never_late() -> None:
    programs = frozenset({"bot"})
    late = [OnlineSnapshot(at, frozenset(), {}, programs, programs) for at in (100, 120, 140, 160)]
    found = compute_drift(late[0], {})
    assert (found.online, found.expected) == (1, 1)
    assert looks(*late) == ()


def test_it_begins_anew_when_somebody_was_right_meanwhile_or_the_flags_change() -> None:
    wrong, right = look(100, "dan"), look(115, "dan", inside="dan")
    assert looks(wrong, right, look(140, "dan")) == ()
    since = MisplacedSince()
    since.update(wrong, "one")
    since.update(look(140, "dan"), "another")
    assert not compute_drift(look(140, "dan"), since.seen).differs


def test_a_worker_that_does_not_follow_is_a_difference_once_it_has_lasted() -> None:
    at, soon, late = "2026-11-21T12:00:00.000Z", parse_utc("2026-11-21T12:00:20Z"), parse_utc("2026-11-21T12:00:31Z")
    assert is_lagging(WorkerAgreement(3, 4), at, late)
    assert not is_lagging(WorkerAgreement(3, 4), at, soon)
    assert not is_lagging(WorkerAgreement(4, 4), at, late)
    assert not is_lagging(WorkerAgreement(3, 4), None, late)
    assert not is_lagging(None, at, late)
    assert not is_lagging(WorkerAgreement(3, 4, since="2026-11-21T12:00:20Z"), at, late), (
        "conditions changed after the percentage"
    )


def test_the_application_asks_its_own_flags_and_its_own_rows(cast: Flask) -> None:
    with cast.app_context(), write() as session:
        change_rollout(session, Flag.SSE_STREAMING, "test", "a test", 100)
    with cast.app_context(), write() as session:
        now = read_epoch(session)
        session.add(PresenceRow(worker="w", user=ALICE.name, count=1, seen=now))
        session.add(PollingRow(user=BOB.name, seen=now))
        session.add(PollingRow(user=CHARLIE.name, seen=now - 3_600))
    flags = cast.extensions["beacon"].flags
    with cast.app_context():
        flags.load(cast.extensions["beacon"].provider.load())
        found = cast.extensions["beacon"].drift.measure()
    assert (found.online, found.expected, found.actual) == (2, 2, 1)
