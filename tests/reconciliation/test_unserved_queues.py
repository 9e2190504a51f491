"""Queues whose jobs wait while no worker serves them: said once it lasts, which and since when; no discrepancy."""

import sqlalchemy as sa

from app.db import write
from app.reconciliation import row_memory
from app.reconciliation.accept import accept_items
from app.reconciliation.flapping import MAX_ARRIVALS
from app.reconciliation.incident_continuation import is_continued
from app.reconciliation.known_state import KnownState
from app.reconciliation.models import ServiceState
from app.reconciliation.types import CheckEvidence, ServiceVerdict
from app.reconciliation.unserved_queues import MAX_QUEUES, update_unserved_queues
from app.sources.protocol import ServiceSnapshot, SourceError, UnservedQueue
from tests.reconciliation.desk import SERVICE, Desk
from tests.reconciliation.values import at, heard, judge, kinds_of, known, left_out, look, told

MAIL, WEB = UnservedQueue("mail", 250), UnservedQueue("web", 2)
ODD = {"queued": 3, "running": 0, "succeeded": 0, "failed": 0}


def answer(*queues: UnservedQueue, **more: object) -> ServiceSnapshot:
    return look(queued=["a", "b"], unserved=queues, **more)


def see(before: KnownState, *queues: UnservedQueue, second: float) -> ServiceVerdict:
    return judge(before, heard(answer(*queues), second))


def after(verdict: ServiceVerdict, second: float) -> KnownState:
    """What is known after it."""
    said = told(verdict.status, verdict.counts, findings=list(verdict.findings) or None)
    return known("a", "b", heard_at=second, unserved_since=verdict.unserved_since, last_published=said)


def walk(*looks: tuple[float, tuple[UnservedQueue, ...] | None]) -> ServiceVerdict:
    """The verdict on the last of these looks."""
    before = known("a", "b", heard_at=looks[0][0])
    for second, queues in looks:
        verdict = judge(before, heard(look(queued=["a", "b"], unserved=queues), second))
        before = after(verdict, second)
    return verdict


def lasting(*queues: UnservedQueue, until: int = 60) -> list[tuple[float, tuple[UnservedQueue, ...] | None]]:
    return [(second, queues) for second in range(0, until + 1, 30)]


class TestJudged:
    def test_it_is_named_once_it_has_lasted_and_the_service_stays_verified(self) -> None:
        assert kinds_of(walk(*lasting(MAIL, until=30), (59, (MAIL,)))) == []
        verdict = walk(*lasting(MAIL))
        assert (verdict.status, verdict.details, verdict.changed) == ("verified", None, True)
        [found] = verdict.findings
        assert (found.kind, found.count, found.queues, found.since) == ("no-worker", 250, ["mail"], at(0))
        assert found.note == "mail since 2026-11-21 12:00:00 UTC"

    def test_polls_that_come_seldom_are_waited_for(self) -> None:
        patient = CheckEvidence(unserved_for=at(90) - at(0))
        seen = known("a", "b", heard_at=30, unserved_since={"mail": at(0)})
        assert kinds_of(judge(seen, heard(answer(MAIL), 60), patient)) == []
        assert kinds_of(judge(seen, heard(answer(MAIL), 90), patient)) == ["no-worker"]

    def test_a_worker_that_is_seen_between_starts_it_over(self) -> None:
        assert kinds_of(walk((0, (MAIL,)), (30, (MAIL,)), (40, ()), (50, (MAIL,)), (80, (MAIL,)))) == []

    def test_a_worker_ends_it_at_once(self) -> None:
        verdict = walk(*lasting(MAIL), (65, ()))
        assert (verdict.findings, verdict.unserved_since, verdict.changed) == ((), {}, True)

    def test_where_workers_are_unknown_nothing_is_said_and_nothing_forgotten(self) -> None:
        assert kinds_of(walk((0, None), (60, None), (120, None))) == []
        assert kinds_of(walk(*lasting(MAIL), (65, None))) == []
        [found] = walk(*lasting(MAIL), (65, None), (70, (MAIL,))).findings
        assert found.since == at(0)

    def test_after_a_long_time_without_a_look_it_starts_over(self) -> None:
        assert kinds_of(walk((0, (MAIL,)), (300, (MAIL,)))) == []

    def test_what_was_told_goes_on_however_long_nobody_looked(self) -> None:
        [found] = walk(*lasting(MAIL), (300, (MAIL,))).findings
        assert found.since == at(0)

    def test_a_queue_that_joins_is_news_and_stands_first(self) -> None:
        first = [*lasting(MAIL), (90.0, (MAIL, WEB)), (120.0, (MAIL, WEB))]
        assert walk(*first).findings[0].queues == ["mail"]
        verdict = walk(*first, (150, (MAIL, WEB)))
        assert (verdict.changed, verdict.status_changed) == (True, False)
        [found] = verdict.findings
        assert (found.queues, found.count, found.since) == (["web", "mail"], 252, at(0))
        assert found.note == "web since 2026-11-21 12:01:30 UTC; mail since 2026-11-21 12:00:00 UTC"

    def test_the_same_again_is_no_news(self) -> None:
        first = walk(*lasting(MAIL))
        again = see(after(first, 60), MAIL, second=65)
        assert again.findings == first.findings
        assert not again.changed

    def test_why_is_said_where_the_source_knows(self) -> None:
        [found] = walk(*lasting(MAIL._replace(why="its workers are suspended"))).findings
        assert (found.note or "").endswith("UTC, its workers are suspended")

    def test_of_very_many_queues_some_are_named_and_all_counted(self) -> None:
        queues = tuple(UnservedQueue(f"{number:04}{'q' * 300}", 1) for number in range(MAX_QUEUES + 5))
        seen = update_unserved_queues(
            known(heard_at=30), heard(answer(*queues), 60), CheckEvidence(unserved_for=at(0) - at(0))
        )
        about = seen.contexts["no-worker"]
        assert about.number == MAX_QUEUES
        assert 0 < len("".join(about.queues)) <= 2_000
        assert about.note.endswith("and 997 more")

    def test_names_that_no_page_can_show_are_made_printable(self) -> None:
        [found] = walk(*lasting(UnservedQueue("a\x00\nb" + "c" * 500, 1), UnservedQueue("none", 0))).findings
        assert found.queues == ["a  b" + "c" * 196]


def test_it_makes_no_episode_of_two_discrepancies() -> None:
    odd = answer(MAIL, counts=ODD)
    verdict = judge(known("a", "b", heard_at=30, unserved_since={"mail": at(0)}), heard(odd, 60))
    assert kinds_of(verdict) == ["count-mismatch", "no-worker"]
    before = told("discrepancy", findings=[one for one in verdict.findings if one.kind == "no-worker"])
    assert not is_continued(before, verdict)
    assert is_continued(told("discrepancy", findings=list(verdict.findings)), verdict)


def shift(desk: Desk, seconds: float) -> None:
    """As if its queues had been seen without a worker for so much longer; by a new process."""
    with write() as session:
        row = session.get(ServiceState, SERVICE)
        assert row is not None
        moved = {name: since - (at(seconds) - at(0)) for name, since in row_memory.load_unserved_since(row).items()}
        row.unserved_json = row_memory.dump_since(moved)
    desk.restart()


def kinds(desk: Desk) -> list[str]:
    return [one["kind"] for one in desk.told.get("findings") or []]


class TestRecorded:
    def test_it_is_remembered_by_the_next_process_and_told_in_one_event(self, desk: Desk) -> None:
        desk.observe(answer(MAIL))
        shift(desk, 61)
        for _ in range(3):
            desk.observe()
        [first, second] = desk.events()
        assert (first.get("findings"), second["status"]) == (None, "verified")
        assert [one["queues"] for one in second["findings"]] == [["mail"]]
        assert len(desk.record) == 1, "no change of state"

    def test_a_restart_of_the_workers_writes_no_event(self, desk: Desk) -> None:
        desk.observe(answer())
        for queues in ((MAIL,), (MAIL, WEB), ()):
            desk.observe(answer(*queues))
        assert len(desk.events()) == 1
        assert desk.state.unserved_json is None

    def test_silence_says_nothing_of_it(self, desk: Desk) -> None:
        desk.observe(answer(MAIL))
        shift(desk, 61)
        desk.observe()
        desk.pass_time(20)
        desk.observe(SourceError("answered 500"))
        assert (desk.told["status"], kinds(desk)) == ("stale", [])

    def test_it_stands_beside_a_discrepancy_that_is_open(self, desk: Desk) -> None:
        desk.observe(look(queued=["a", "b", "c"], unserved=(MAIL,)))
        desk.observe(answer(MAIL))
        assert kinds(desk) == ["missing"]
        shift(desk, 61)
        desk.observe()
        assert (desk.told["status"], kinds(desk)) == ("discrepancy", ["missing", "no-worker"])
        with write() as session:
            accept_items(session, SERVICE, {"c"}, "bob", "deleted by hand")
        assert [one["queues"] for one in desk.told["findings"]] == [["mail"]]


class TestWhileItFlaps:
    """No turn of the state hides it."""

    def flap(self, desk: Desk, *queues: UnservedQueue) -> None:
        for _ in range(MAX_ARRIVALS + 1):
            desk.observe(answer(*queues))
            desk.observe(answer(*queues, counts=ODD))
        assert "flapping" in kinds(desk)

    def test_a_queue_and_another_one_are_told_and_turns_are_not(self, desk: Desk) -> None:
        self.flap(desk, MAIL)
        assert "no-worker" not in kinds(desk)
        shift(desk, 61)
        desk.observe(answer(MAIL))
        assert "no-worker" in kinds(desk)
        events = len(desk.events())
        for _ in range(3):
            desk.observe(answer(MAIL, counts=ODD))
            desk.observe(answer(MAIL))
        assert len(desk.events()) == events
        desk.observe(answer(MAIL, WEB))
        shift(desk, 61)
        desk.observe()
        assert desk.told["findings"][-1]["queues"] == ["web", "mail"]
        desk.observe(answer())
        assert "no-worker" not in kinds(desk), "nobody says that it lasts"

    def test_entries_that_cannot_be_read_are_told_too(self, desk: Desk) -> None:
        self.flap(desk)
        record = len(desk.record)
        desk.observe(unreadable())
        assert "unreadable" in kinds(desk)
        events = len(desk.events())
        for _ in range(3):
            desk.observe(answer(counts=ODD))
            desk.observe(unreadable())
        assert (len(desk.events()), len(desk.record)) == (events, record)


def unreadable() -> ServiceSnapshot:
    return left_out(answer(counts={**ODD, "queued": 4}), 2)


def test_a_row_of_before_has_no_queues(desk: Desk) -> None:
    desk.observe(answer())
    with write() as session:
        session.execute(sa.update(ServiceState).values(unserved_json=None))
    desk.restart()
    assert desk.observe().answered
