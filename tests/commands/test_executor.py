"""A command whose service or runner misbehaves: what is not known is said, and nothing is asked twice."""

from typing import Any

import pytest
import sqlalchemy as sa

from app.commands import command_store, executor, leases
from app.commands.leases import Claim, CommandLeaseLost
from app.commands.models import CommandRow, ItemRow
from app.commands.removed_jobs import CommandExplanations
from app.db import now_epoch, read, write
from app.infra.clock import utc_now
from app.reconciliation import registry
from app.reconciliation.explanations import EventExplainer, is_fall_explained
from app.reconciliation.models import KnownJob
from app.sources.protocol import NotSent, OperationResult, OutcomeUnknown, SourceError
from tests.commands.scripted import Scene


def test_an_answer_that_was_lost_is_found_by_reading(scene: Scene) -> None:
    scene.script.acts = [OutcomeUnknown("closed the connection")]
    scene.script.settles = [None, SourceError("did not answer"), OperationResult("done", "It was queued again.")]
    command_id = scene.give("j1")
    assert scene.run(command_id) == "success"
    assert len(scene.script.asked) == 1
    assert "closed the connection" in scene.logs(command_id)


def test_what_reading_cannot_tell_ends_as_a_timeout_with_the_reason(scene: Scene) -> None:
    scene.script.acts = [OutcomeUnknown("closed the connection")]
    scene.script.settles = [SourceError("refused the connection")]
    command_id = scene.give("j1")
    assert scene.run(command_id) == "timeout"
    assert "It is not known whether that was done: the service refused the connection." in scene.logs(command_id)
    assert len(scene.script.asked) == 1


def test_that_it_was_not_done_counts_only_once_it_can_no_longer_be_done(scene: Scene) -> None:
    scene.script.acts = [OutcomeUnknown("did not answer")]
    scene.script.settles = [OperationResult("refused", "It is failed still.")]
    command_id = scene.give("j1")
    assert scene.run(command_id) == "error"
    with read() as session:
        item = session.scalars(sa.select(ItemRow)).one()
    assert item.deadline is not None
    # What is read before the deadline decides nothing. On a slow machine there may be no such reading.
    assert scene.script.read_at[-1].timestamp() >= item.deadline - 0.05


def test_a_mistake_of_a_source_is_not_taken_for_an_answer(scene: Scene) -> None:
    scene.script.acts = [ZeroDivisionError()]
    command_id = scene.give("j1", action="delete-job")
    assert scene.run(command_id) == "timeout"
    assert len(scene.script.asked) == 1


def test_a_retry_that_was_certainly_not_asked_is_tried_again_with_the_same_key(scene: Scene) -> None:
    scene.script.acts = [
        NotSent("refused the connection"),
        NotSent("refused the connection"),
        OperationResult("done", "Queued."),
    ]
    scene.script.settles = [OperationResult("done", "Queued.")]
    assert scene.run(scene.give("j1")) == "success"
    assert len({order.key for order in scene.script.asked}) == 1
    assert len(scene.script.asked) == 3


def test_a_delete_that_was_certainly_not_asked_is_not_tried_again(scene: Scene) -> None:
    scene.script.acts = [NotSent("refused the connection")]
    command_id = scene.give("j1", action="delete-job")
    assert scene.run(command_id) == "error"
    assert len(scene.script.asked) == 1
    assert "Nothing was sent: the service refused the connection." in scene.logs(command_id)
    assert "verified" not in scene.logs(command_id)


def test_done_without_being_seen_is_a_success_that_is_not_verified(scene: Scene) -> None:
    command_id = scene.give("j1")
    assert scene.run(command_id) == "success"
    with read() as session:
        assert session.get_one(CommandRow, command_id).verified is False
    assert "not verified" in scene.logs(command_id)


def test_a_runner_whose_command_was_taken_from_it_records_nothing_more(scene: Scene) -> None:
    command_id = scene.give("j1", "j2")

    def taken_over() -> None:
        scene.lapse(command_id)
        assert leases.claim_command(command_id, "r2") is not None

    scene.script.on_act = taken_over
    assert scene.run(command_id) == "unknown"
    assert scene.states(command_id) == {"j1": "running", "j2": "waiting"}
    assert len(scene.script.asked) == 1


def test_the_next_runner_reads_what_was_asked_and_asks_for_the_rest(scene: Scene) -> None:
    command_id = scene.give("j1", "j2", "j3")
    claim = leases.claim_command(command_id, "r1")
    assert claim is not None
    first = command_store.start_next_item(claim, None, 0.1, [], publish=True)
    assert first is not None
    command_store.start_next_item(
        claim, command_store.ItemResult(first.place, "done", "Queued."), 0.1, [], publish=True
    )  # j2 is asked, r1 dies
    scene.lapse(command_id)
    scene.script.settles = [OperationResult("done", "Queued.")]
    assert scene.run(command_id, "r2") == "success"
    assert [order.target for order in scene.script.asked] == ["j3"]
    assert set(scene.states(command_id).values()) == {"done"}


def test_a_worker_that_leaves_hands_over_what_is_left(scene: Scene) -> None:
    command_id = scene.give("j1", "j2", "j3")
    scene.script.settles = [OperationResult("done", "Queued.")]
    scene.script.on_act = scene.leaving.set
    assert scene.run(command_id) == "running"
    assert scene.states(command_id) == {"j1": "done", "j2": "waiting", "j3": "waiting"}
    scene.leaving.clear()
    scene.script.on_act = lambda: None
    assert leases.find_claimable(10) == [command_id]
    assert scene.run(command_id, "r2") == "success"
    assert [order.target for order in scene.script.asked] == ["j1", "j2", "j3"]


def test_a_command_that_nobody_took_in_time_is_not_carried_out_later(scene: Scene) -> None:
    command_id = scene.give("j1")
    with write() as session:
        session.execute(sa.update(CommandRow).values(created_at="2026-01-01T00:00:00.000Z"))
    assert scene.run(command_id) == "timeout"
    assert scene.script.asked == []


def test_a_command_that_kills_its_runners_is_given_up(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "MAX_CRASHES", 3)
    command_id = scene.give("j1")
    for number in range(3):
        assert leases.claim_command(command_id, f"r{number}") is not None
        scene.lapse(command_id)
    assert scene.run(command_id, "last") == "timeout"
    assert scene.script.asked == []


def test_a_service_that_was_removed_meanwhile_ends_its_commands(scene: Scene) -> None:
    command_id = scene.give("j1", "j2")
    with write() as session:
        registry.remove(session, "mail", "ada")
    assert scene.run(command_id) == "error"
    assert scene.states(command_id) == {"j1": "failed", "j2": "failed"}


def test_a_lease_that_ran_out_cannot_be_renewed(scene: Scene) -> None:
    claim = leases.claim_command(scene.give("j1"), "r1")
    assert isinstance(claim, Claim)
    scene.lapse(claim.command_id)
    leases.renew_leases([claim])
    with pytest.raises(CommandLeaseLost), write() as session:
        claim.lock_command(session)


class TestRemoved:
    """What reconciliation is told, also while nobody knows yet."""

    def ended(self, job_ids: set[str]) -> set[str]:
        with read() as session:
            return CommandExplanations().find_ended(session, "mail", job_ids, utc_now())

    def test_a_job_is_explained_from_its_asking_on(self, scene: Scene) -> None:
        command_id = scene.give("j1", "j2", action="delete-job")
        assert self.ended({"j1", "j2"}) == set()
        claim = leases.claim_command(command_id, "r1")
        assert claim is not None
        command_store.start_next_item(claim, None, 1, [], publish=True)
        assert self.ended({"j1", "j2", "j3"}) == {"j1"}

    def test_a_job_that_was_not_deleted_is_not_explained(self, scene: Scene) -> None:
        scene.script.acts = [OperationResult("refused", "It runs.")]
        scene.run(scene.give("j1", action="delete-job"))
        assert self.ended({"j1"}) == set()

    def test_a_retried_job_is_not_explained(self, scene: Scene) -> None:
        scene.run(scene.give("j1"))
        assert self.ended({"j1"}) == set()

    def explains_a_fall(self) -> bool:
        with read() as session:
            return is_fall_explained(session, [EventExplainer(), CommandExplanations()], "mail", utc_now())

    def test_a_deletion_explains_no_fall(self, scene: Scene) -> None:
        scene.run(scene.give("j1", action="delete-job"))
        assert not self.explains_a_fall()

    @pytest.mark.parametrize(("effect", "gone"), [({"jobIds": ["j1"]}, {"j1"}), ({"purged": 2}, {"j1", "j2"})])
    def test_a_purge_explains_what_it_named_or_what_waited_there(
        self, scene: Scene, effect: dict[str, Any], gone: set[str]
    ) -> None:
        with write() as session:
            for job_id, state, queue in (("j1", "queued", "a"), ("j2", "queued", "a"), ("j3", "running", "a")):
                session.add(KnownJob(service_id="mail", job_id=job_id, state=state, queue=queue))
            session.add(KnownJob(service_id="mail", job_id="j4", state="queued", queue="b"))
            session.flush()
            row = {"command_id": "purge-aaaa", "place": 0, "service_id": "mail", "action": "purge-queue"}
            command = {"id": "purge-aaaa", "body_hash": "", "asked_json": "{}", "service_id": "mail", "target": "a"}
            told = {"action": "purge-queue", "actor": "bob", "phase": "running", "created_at": "", "total": 1}
            session.add(CommandRow(**command, **told))
            session.flush()
            now = session.execute(sa.select(now_epoch())).scalar_one()
            item = ItemRow(**row, target="a", hold="queue:a", held=True, state="done", asked_at=now)
            item.effect_json = str(effect).replace("'", '"')
            session.add(item)
        assert self.ended({"j1", "j2", "j3", "j4"}) == gone
        assert self.explains_a_fall()
