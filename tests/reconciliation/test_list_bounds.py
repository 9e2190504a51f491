"""Where a bound cuts a list: what was known stays known, other queues are judged as ever, and nothing is invented."""

from collections.abc import Iterable
from dataclasses import replace

from flask import Flask

from app.reconciliation.known_state import KnownState
from app.reconciliation.reconcile import find_absent_jobs
from app.reconciliation.types import CheckEvidence, Observation
from app.sources.protocol import Job, JobLookup, Listing, ServiceSnapshot
from tests.reconciliation.desk import Desk
from tests.reconciliation.values import at, heard, ids_of, judge, told

BIG, SMALL = "big", "small"


def jobs(queue: str, *ids: str) -> dict[str, Job]:
    return {job_id: Job(job_id, "queued", queue) for job_id in ids}


def answer(
    queued: dict[str, Job], *, cut: Iterable[str] = (), queued_count: int | None = None, **done: str
) -> ServiceSnapshot:
    """`cut`: queues whose waiting jobs are not listed; `done`: queues by the id of what finished there."""
    is_cut = bool(tuple(cut))
    finished = {job_id: Job(job_id, "finished", queue) for job_id, queue in done.items()}
    listings = (
        Listing("queued", False, queued, not is_cut, cut=frozenset(cut)),
        Listing("finished", True, finished),
    )
    counts = {"queued": len(queued) if queued_count is None else queued_count, "finished": len(finished)}
    return ServiceSnapshot(counts, listings, 7, one_revision=True)


def known(*held: dict[str, Job], **more: object) -> KnownState:
    everything = {job_id: job for some in held for job_id, job in some.items()}
    return KnownState(jobs=everything, heard_at=at(0), last_published=told(), **more)  # type: ignore[arg-type]


def evidence(second: ServiceSnapshot) -> CheckEvidence:
    return CheckEvidence(500.0, heard(second, 6))


CUT = answer(jobs(SMALL, "s2"), cut=[BIG], queued_count=120_001)
BEFORE = known(jobs(BIG, "b1", "b2"), jobs(SMALL, "s1", "s2"))


class TestOneQueueThatIsCut:
    def test_a_job_that_is_lost_from_another_queue_is_missed(self) -> None:
        verdict = judge(BEFORE, heard(CUT), evidence(CUT))
        assert (verdict.status, ids_of(verdict, "missing")) == ("discrepancy", ["s1"])
        assert (verdict.counts_only, verdict.counts_only_queues) == (("queued",), (BIG,))

    def test_its_own_jobs_stay_known_and_raise_no_suspicion(self) -> None:
        assert find_absent_jobs(BEFORE, heard(CUT), CheckEvidence(500.0)) == ["s1"]
        verdict = judge(BEFORE, heard(CUT), evidence(CUT))
        assert verdict.job_diff is not None
        assert set(verdict.job_diff.jobs) == {"b1", "b2", "s2"}
        assert verdict.job_diff.upserts == ()
        assert verdict.job_diff.unseen == {}

    def test_one_that_is_met_among_those_that_ended_is_let_go(self) -> None:
        verdict = judge(BEFORE, heard(answer(jobs(SMALL, "s1", "s2"), cut=[BIG], b1=BIG)))
        assert verdict.job_diff is not None
        assert set(verdict.job_diff.jobs) == {"b2", "s1", "s2"}
        assert verdict.status == "verified"

    def test_nothing_is_written_of_its_jobs_however_long_it_lasts(self) -> None:
        first = judge(BEFORE, heard(CUT), evidence(CUT))
        assert first.cut_since == {BIG: at(0)}
        again = judge(replace(BEFORE, heard_at=at(5), cut_since=first.cut_since), heard(CUT, 10), evidence(CUT))
        assert again.cut_since == {BIG: at(0)}


class TestOnceItIsWholeAgain:
    def test_a_job_that_was_seen_recently_enough_is_missing(self) -> None:
        whole = answer(jobs(BIG, "b1"))
        verdict = judge(self.later(100), heard(whole, 105), evidence(whole))
        assert ids_of(verdict, "missing") == ["b2"]

    def test_one_that_may_have_ended_and_gone_meanwhile_is_let_go(self) -> None:
        whole = answer(jobs(BIG, "b1"))
        verdict = judge(
            self.later(3_600), heard(whole, 3_605), CheckEvidence(500.0, Observation(whole, at(3_606), at(3_606)))
        )
        assert (verdict.status, verdict.findings, verdict.cut_since) == ("verified", (), {})
        assert verdict.job_diff is not None
        assert set(verdict.job_diff.jobs) == {"b1"}

    def test_where_the_service_knows_by_id_what_it_never_had_is_missing_and_what_was_not_asked_is_let_go(self) -> None:
        whole = answer({})
        second = Observation(whole, at(3_606), at(3_606))
        verdict = judge(
            self.later(3_600), heard(whole, 3_605), CheckEvidence("lookup", second, {"b1": JobLookup("unknown")})
        )
        assert (ids_of(verdict, "missing"), ids_of(verdict, "unaccounted")) == (["b1"], [])

    def later(self, seconds: float) -> KnownState:
        """The list was whole at T0 and cut since."""
        return replace(known(jobs(BIG, "b1", "b2")), heard_at=at(seconds), cut_since={BIG: at(0)})


def test_all_of_it_survives_a_restart(believing: Flask) -> None:
    with believing.app_context():
        desk = Desk()
        desk.source.capabilities = type(desk.source.capabilities)(500.0)
        desk.observe(answer({**jobs(BIG, "b1", "b2"), **jobs(SMALL, "s1", "s2")}))
        desk.observe(
            replace(CUT, listings=(Listing("queued", False, jobs(SMALL, "s1", "s2"), False, cut=frozenset([BIG])),))
        )
        assert desk.told["countsOnlyQueues"] == [BIG]
        desk.restart()
        desk.pass_time(3_600)
        desk.observe(CUT)
        assert set(desk.known) == {"b1", "b2", "s2"}
        desk.restart()
        desk.observe(answer(jobs(SMALL, "s2")))
        assert set(desk.known) == {"s2"}
