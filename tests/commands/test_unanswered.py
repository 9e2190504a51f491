"""A command whose service, worker or database fails it: bounded in time, counted once, true in the end."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa

from app.commands import command_retention, command_store, executor, leases, rejections, submit, verification
from app.commands.actions import ACTIONS
from app.commands.command_store import ItemAttempt, ItemResult
from app.commands.models import CommandRow, ItemRow
from app.db import DatabaseUnavailable, read, write
from app.infra.clock import utc_now, utc_text
from app.reconciliation import registry
from app.sources.protocol import (
    Capabilities,
    Job,
    JobDetail,
    NotSent,
    Operation,
    OperationResult,
    OutcomeUnknown,
    SourceError,
)
from tests.commands.operator_desk import new_id
from tests.commands.scripted import Scene, Script

QUEUED = OperationResult("done", "It is queued.", {"state": "queued"})


def long_ago(command_id: str) -> None:
    with write() as session:
        mine = sa.update(CommandRow).where(CommandRow.id == command_id)
        session.execute(mine.values(created_at="2026-01-01T00:00:00.000Z"))


class Remembers(Script):
    """A service that can prove that an order did not arrive, once it no longer can."""

    def resolve_outcome(self, order: Operation, asked_at: datetime) -> OperationResult | None:
        is_over = order.not_after is not None and utc_now() > order.not_after
        return OperationResult("refused", "It was not carried out in time.") if is_over else None


class TestNobodyAnswers:
    def test_an_order_that_never_arrived_is_known_not_to_have_been_done(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(executor, "SETTLE_TIMEOUT_S", 20.0)  # however slow the machine: it ends with the answer
        scene.script = Remembers(acts=[OutcomeUnknown("closed the connection")])
        command_id = scene.give("j1")
        assert scene.run(command_id) == "error"
        assert scene.states(command_id) == {"j1": "refused"}

    def test_after_the_first_that_nobody_knows_of_the_rest_is_not_asked(self, scene: Scene) -> None:
        scene.script.acts = [OutcomeUnknown("answered 502")]
        command_id = scene.give(*(f"j{n}" for n in range(50)))
        assert scene.run(command_id) == "error"
        assert len(scene.script.asked) == 1
        states = scene.states(command_id)
        assert (states.pop("j0"), set(states.values())) == ("timeout", {"failed"})
        assert executor.NO_ANSWER_DETAIL in scene.logs(command_id)

    def test_after_three_in_a_row_that_could_not_be_asked_the_rest_is_not_asked(self, scene: Scene) -> None:
        scene.script.acts = [NotSent("refused the connection")]
        command_id = scene.give(*(f"j{n}" for n in range(50)), action="delete-job")
        assert scene.run(command_id) == "error"
        assert len(scene.script.asked) == executor.MAX_UNANSWERED_IN_A_ROW
        assert (scene.row(command_id).done, scene.row(command_id).failed) == (0, 50)

    def test_an_answer_in_between_lets_it_go_on(self, scene: Scene) -> None:
        silence = NotSent("refused the connection")
        scene.script.acts = [
            silence,
            silence,
            QUEUED,
            silence,
            silence,
            OperationResult("refused", "It runs."),
            silence,
            silence,
        ]
        command_id = scene.give(*(f"j{n}" for n in range(8)), action="delete-job")
        scene.run(command_id)
        assert len(scene.script.asked) == 8

    def test_a_mistake_while_reading_ends_as_a_timeout(self, scene: Scene) -> None:
        scene.script.acts, scene.script.settles = [OutcomeUnknown("closed the connection")], [ZeroDivisionError()]
        command_id = scene.give("j1")
        assert scene.run(command_id) == "timeout"
        [_, result] = scene.entries(command_id)
        assert (result.stage, result.outcome) == ("result", "timeout")
        assert "Beacon could not read the answer" in (result.logs_json or "")

    def test_a_mistake_while_looking_for_the_effect_is_not_verified(self, scene: Scene) -> None:
        scene.script.settles = [ZeroDivisionError()]
        command_id = scene.give("j1")
        assert scene.run(command_id) == "success"
        assert scene.row(command_id).verified is False

    def test_a_service_that_was_removed_while_nobody_knew_ends_as_a_timeout(self, scene: Scene) -> None:
        command_id = scene.give("j1", "j2")
        claim = leases.claim_command(command_id, "r1")
        assert claim is not None
        command_store.start_next_item(claim, None, 0.1, [], publish=True)
        scene.lapse(command_id)
        with write() as session:
            registry.remove(session, "mail", "ada")
        assert scene.run(command_id, "r2") == "timeout"
        assert scene.entries(command_id)[-1].outcome == "timeout"
        assert scene.states(command_id) == {"j1": "timeout", "j2": "failed"}

    def test_a_source_that_hangs_before_or_after_it_acts_does_not_keep_its_lease(self, scene: Scene) -> None:
        bounds: list[float] = []
        scene.script.capabilities = Capabilities("lookup")
        scene.script.on_read = lambda: bounds.append(scene.execution.busy_until if scene.execution else 0.0)
        scene.run(scene.give("j1"))
        assert len(bounds) > 2
        assert max(bounds) < float("inf")


class TestOneAnswer:
    def test_an_answer_is_counted_once_when_its_worker_leaves(self, scene: Scene) -> None:
        scene.script.settles, scene.script.on_act = [QUEUED], scene.leaving.set
        command_id = scene.give("j1")
        assert scene.run(command_id) == "success"
        assert (scene.row(command_id).done, scene.row(command_id).failed) == (1, 0)

    def test_an_answer_that_is_told_twice_counts_once(self, scene: Scene) -> None:
        claim = leases.claim_command(scene.give("j1", "j2"), "r1")
        assert claim is not None
        asking = command_store.start_next_item(claim, None, 1, [], publish=True)
        assert asking is not None
        for state in ("done", "failed"):
            command_store.record_result(claim, ItemResult(asking.place, state, "Said."))  # type: ignore[arg-type]
        assert (scene.row(claim.command_id).done, scene.row(claim.command_id).failed) == (1, 0)

    @pytest.mark.parametrize("came_through", [False, True])
    def test_an_answer_is_kept_when_the_database_fails_just_then(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch, came_through: bool
    ) -> None:
        """Also where the commit came through and only its answer was lost: then j2 was marked, and never asked."""
        real, failures = command_store.start_next_item, [DatabaseUnavailable("away")]

        def failing(
            claim: leases.Claim, answer: ItemResult | None, *args: object, **more: object
        ) -> ItemAttempt | None:
            if answer is None or not failures:
                return real(claim, answer, *args, **more)  # type: ignore[arg-type]
            if came_through:
                real(claim, answer, *args, **more)  # type: ignore[arg-type]
            raise failures.pop()

        monkeypatch.setattr(command_store, "start_next_item", failing)
        command_id = scene.give("j1", "j2", "j3")
        scene.run(command_id)
        asked = [order.target for order in scene.script.asked]
        assert asked == (["j1", "j3"] if came_through else ["j1", "j2", "j3"])
        kept = scene.states(command_id)
        assert kept == {"j1": "done", "j2": "timeout" if came_through else "done", "j3": "done"}

    def test_the_state_that_was_read_is_told_and_not_the_one_that_was_promised(self, scene: Scene) -> None:
        scene.script.capabilities = Capabilities("lookup")
        scene.script.acts = [QUEUED]
        scene.script.details = [JobDetail(Job("j1", "failed")), JobDetail(Job("j1", "running"))]
        command_id = scene.give("j1")
        scene.run(command_id)
        assert '"state": "running"' in (scene.row(command_id).after_json or "")
        assert "job j1 running" in scene.logs(command_id)

    def test_an_id_that_is_used_again_is_another_order_for_the_service(self, scene: Scene) -> None:
        command_id = scene.give("j1")
        scene.run(command_id)
        with write() as session:
            session.execute(sa.delete(CommandRow))
        scene.run(scene.give("j1", command_id=command_id))
        first, second = scene.script.asked
        assert first.key != second.key

    def test_many_are_verified_although_each_takes_its_time_to_read(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(ACTIONS, "retry-job", replace(ACTIONS["retry-job"], confirm_timeout_s=0.0))
        monkeypatch.setattr(verification, "CONFIRM_PER_ITEM_S", 1.0)
        monkeypatch.setattr(verification, "CONFIRM_PAGE_ITEMS", 3)
        scene.script.settles = [QUEUED]
        command_id = scene.give(*(f"j{n}" for n in range(10)))
        assert scene.run(command_id) == "success"
        assert scene.row(command_id).verified is True


class TestTakenAgain:
    def test_what_was_taken_and_never_asked_is_not_carried_out_the_next_morning(self, scene: Scene) -> None:
        command_id = scene.give("j1")
        assert leases.claim_command(command_id, "r1") is not None
        scene.lapse(command_id)
        long_ago(command_id)
        assert scene.run(command_id, "r2") == "timeout"
        assert scene.script.asked == []

    def test_what_was_begun_goes_on_however_late_it_is(self, scene: Scene) -> None:
        command_id = scene.give("j1", "j2")
        claim = leases.claim_command(command_id, "r1")
        assert claim is not None
        asking = command_store.start_next_item(claim, None, 0.1, [], publish=True)
        assert asking is not None
        command_store.record_result(claim, ItemResult(asking.place, "done", "Queued."))
        scene.lapse(command_id)
        long_ago(command_id)
        scene.script.settles = [QUEUED]
        assert scene.run(command_id, "r2") == "success"

    def test_a_worker_that_leaves_in_order_is_no_crash(self, scene: Scene) -> None:
        command_id = scene.give("j1")
        for number in range(leases.MAX_CRASHES + 1):
            claim = leases.claim_command(command_id, f"r{number}")
            assert claim is not None
            leases.hand_over(claim, executor.HANDOVER_REASON)
            with pytest.raises(leases.CommandLeaseLost), write() as session:
                claim.lock_command(session)
        scene.script.settles = [QUEUED]
        assert scene.run(command_id, "last") == "success"

    def test_an_action_that_only_another_version_knows_comes_to_an_end(self, scene: Scene) -> None:
        command_id = scene.give("j1")
        with write() as session:
            session.execute(sa.update(CommandRow).values(action="dance"))
        for number in range(leases.MAX_CRASHES + 1):
            phase = scene.run(command_id, f"r{number}")
            scene.lapse(command_id)
        assert (phase, scene.script.asked) == ("timeout", [])

    def test_a_service_has_no_more_than_its_share_of_a_worker(self, scene: Scene) -> None:
        for number in range(3):
            scene.give(f"j{number}")
        assert len(leases.find_claimable(10, {}, 2)) == 2
        assert len(leases.find_claimable(10, {"mail": 1, "print": 2}, 2)) == 1
        assert leases.find_claimable(10, {"mail": 2}, 2) == []
        assert len(leases.find_claimable(10)) == 3


class TestBounds:
    def test_a_service_takes_at_most_twenty_of_all_users_together(self, scene: Scene) -> None:
        for number in range(submit.MAX_OPEN_COMMANDS_PER_SERVICE):
            scene.give(f"j{number}", by=f"user{number // submit.MAX_OPEN_COMMANDS_PER_USER}")
        with pytest.raises(rejections.CommandRejected, match="A service takes at most 20"):
            scene.give("one-more", by="another")

    def test_an_id_is_remembered_for_a_day_at_least_and_goes_after_that(self, scene: Scene) -> None:
        young, old = scene.give("j1"), scene.give("j2")
        for command_id, hours in ((young, 25), (old, 49)):
            scene.run(command_id)
            at = utc_text(utc_now() - timedelta(hours=hours))
            with write() as session:
                mine = sa.update(CommandRow).where(CommandRow.id == command_id)
                session.execute(mine.values(created_at=at, ended_at=at))
        command_retention.prune(0)
        with read() as session:
            assert list(session.scalars(sa.select(CommandRow.id))) == [young]

    @pytest.mark.sqlite("asks SQLite for its plan")
    def test_what_is_held_is_found_by_its_index(self, scene: Scene) -> None:
        held = sa.select(ItemRow.command_id).where(
            ItemRow.service_id == "mail", ItemRow.held, ItemRow.hold.in_(["job:j1", "job:j2"])
        )
        with read() as session:
            text = held.compile(session.connection(), compile_kwargs={"literal_binds": True})
            plan = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {text}").all()
        assert any("uq_command_item_held" in str(row) for row in plan), plan

    def test_of_thousands_each_is_held_and_one_that_another_has_refuses_them_all(self, scene: Scene) -> None:
        ids = [f"j{n}" for n in range(999)]
        command_id = scene.give(*ids)
        assert len(scene.states(command_id)) == 999
        with pytest.raises(rejections.CommandRejected, match="Conflicting command in progress"):
            scene.give("a", "j998", "b", by="ada")
        with read() as session:
            assert session.scalar(sa.select(sa.func.count()).select_from(ItemRow)) == 999


def test_reading_that_fails_is_no_proof(scene: Scene) -> None:
    scene.script.settles = [SourceError("refused the connection")]
    command_id = scene.give("j1", command_id=new_id())
    assert scene.run(command_id) == "success"
    assert scene.row(command_id).verified is False
