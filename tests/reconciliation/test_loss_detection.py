"""A store that was emptied is said to be, with both numbers; busy, healthy and restarted services are not."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from app.db import read, write
from app.reconciliation import loss_detection
from app.reconciliation.accept import accept_items
from app.reconciliation.known_state import Figures, KnownState, Loss
from app.reconciliation.loader import load_known_state
from app.reconciliation.reconcile import judge_silence
from app.reconciliation.types import CheckEvidence
from app.sources.protocol import ServiceSnapshot, Worker
from tests.reconciliation.desk import Desk
from tests.reconciliation.values import at, heard, kinds_of, known, look

FULL = Figures(unfinished=50_000, ended=8, workers=2, queues=3)
WORKERS = (Worker("w1", "idle"), Worker("w2", "busy"))


def before(figures: Figures = FULL, **more: Any) -> KnownState:
    return known(figures=figures, **more)


def now(queued: int = 0, failed: int = 0, workers: int = 0, queues: int | None = 0, **more: Any) -> ServiceSnapshot:
    counts = {"queued": queued, "failed": failed}
    return look(cut=["queued", "failed"], counts=counts, workers=WORKERS[:workers], queues=queues, **more)


def lost(
    was: KnownState, answer: ServiceSnapshot, evidence: CheckEvidence | None = None, began: float = 5
) -> Loss | None:
    return loss_detection.update_loss(was, heard(answer, began), evidence or CheckEvidence(500.0), at(began))


class TestALoss:
    def test_an_emptied_store_is_one(self) -> None:
        assert lost(before(), now()) == Loss(at(5), 50_008, 0)

    def test_also_a_small_one_whose_first_new_job_has_come(self) -> None:
        assert lost(before(Figures(30, 10, 2, 3)), now(queued=1, queues=1)) == Loss(at(5), 40, 1)

    def test_an_emptied_broker_whose_workers_notice_nothing_is_one(self) -> None:
        was = before(Figures(300, 0, 2, 1))
        answer = now(workers=2, queues=0)
        assert lost(was, replace(answer, queues_outlive_work=True)) == Loss(at(5), 300, 0)
        assert lost(was, answer) is None, "a queue for one batch, which is done"

    def test_a_store_that_went_back_to_an_old_state_under_another_run_is_one(self) -> None:
        answer = now(queued=100, failed=2, workers=2, queues=3, instance_id="two")
        assert lost(before(Figures(400, 9, 2, 3)), answer) == Loss(at(5), 409, 102)

    def test_more_gone_between_two_looks_than_can_be_done_is_one(self) -> None:
        assert lost(before(), now(failed=8, workers=2, queues=3)) == Loss(at(5), 50_008, 8)


class TestWorkThatIsDone:
    @pytest.mark.parametrize(
        "answer",
        [
            now(queued=50_000, failed=8, workers=2, queues=3),
            now(queued=46_000, failed=8, workers=2, queues=3),
            now(queued=100, failed=50_000, workers=2, queues=3),
            now(queued=60_000, failed=0, workers=0, queues=3),
        ],
        ids=["nothing", "5 s of work", "all failed", "ended jobs were cleaned up"],
    )
    def test_is_none(self, answer: ServiceSnapshot) -> None:
        assert lost(before(), answer) is None

    def test_a_burst_that_leaves_nothing_behind_is_none(self) -> None:
        """Jobs that keep no result, and a worker that ends with them: the queue stays."""
        assert lost(before(Figures(3_000, 0, 1, 1)), now(queues=1)) is None

    def test_a_restart_of_the_store_that_keeps_its_data_is_none(self) -> None:
        answer = now(queued=49_900, failed=108, workers=0, queues=3, instance_id="two")
        assert lost(before(), answer) is None

    def test_long_silence_is_time_to_work(self) -> None:
        assert lost(before(), now(failed=8, workers=2, queues=3), began=60) is None

    def test_a_command_that_purged_is_an_explanation(self) -> None:
        assert lost(before(), now(), CheckEvidence(500.0, purged=True)) is None

    def test_a_service_that_answers_for_each_id_is_asked_instead(self) -> None:
        assert lost(before(), now(failed=8, workers=2, queues=None), CheckEvidence("lookup")) is None

    def test_the_first_look_has_nothing_to_compare_with(self) -> None:
        assert lost(known(), now()) is None


class TestItsEnd:
    OPEN = Loss(at(0), 50_008, 0)

    def test_it_stays_while_the_jobs_are_away(self) -> None:
        assert lost(before(Figures(0, 0, 0, 0), loss=self.OPEN), now(queued=40)) == self.OPEN

    def test_it_closes_once_as_many_jobs_are_there_again(self) -> None:
        assert lost(before(Figures(0, 0, 0, 0), loss=self.OPEN), now(queued=50_008)) is None

    def test_it_closes_after_a_day(self) -> None:
        was = before(Figures(0, 0, 0, 0), loss=replace(self.OPEN, since=at(5) - timedelta(days=1)))
        assert lost(was, now()) is None


class TestToldAndAccepted:
    @pytest.fixture
    def emptied(self, believing: Flask) -> Desk:
        with believing.app_context():
            desk = Desk()
            desk.source.capabilities = type(desk.source.capabilities)(500.0)
            desk.observe(now(queued=50_000, failed=8, workers=2, queues=3))
            desk.observe(now())
            return desk

    def test_it_is_a_discrepancy_with_both_numbers_that_later_looks_repeat(
        self, believing: Flask, emptied: Desk
    ) -> None:
        with believing.app_context():
            for _ in range(2):
                [found] = emptied.told["findings"]
                assert (emptied.told["status"], found["kind"], found["count"]) == ("discrepancy", "lost", 50_008)
                assert found["note"].startswith("50,008 jobs before, 0 in the next answer at ")
                emptied.restart()
                emptied.observe(now())
            assert len(emptied.events()) == 2

    def test_a_service_that_falls_silent_keeps_it(self, believing: Flask, emptied: Desk) -> None:
        with believing.app_context():
            with read() as session:
                was = load_known_state(session, emptied.service_id, emptied.state)
            assert kinds_of(judge_silence(was, 1, "refused the connection", at(0))) == ["lost"]

    def test_accepting_everything_ends_it(self, believing: Flask, emptied: Desk) -> None:
        with believing.app_context():
            with write() as session:
                assert accept_items(session, emptied.service_id, ["a"], "bob", "another job") == []
            assert emptied.told["status"] == "discrepancy"
            with write() as session:
                accept_items(session, emptied.service_id, None, "bob", "emptied on purpose")
            assert (emptied.told["status"], emptied.told.get("findings")) == ("verified", None)
            emptied.observe(now())
            assert emptied.told["status"] == "verified"
