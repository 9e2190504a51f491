"""What a command is said to have done is what became of its own targets: nothing that others moved meanwhile."""

import pytest

from app.commands import effects
from app.sources.protocol import Capabilities, Job, JobDetail, OperationResult
from tests.commands.scripted import Scene

QUEUED = OperationResult("done", "It is queued.", {"state": "queued"})


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effects, "RETRY_FOLLOW_INTERVAL_S", 0.01)


def last_line(scene: Scene, *states: str | None, targets: tuple[str, ...] = ("j1",), action: str = "retry-job") -> str:
    """Of a command that was seen; `states`: those in which its job is found, the first before anything is asked."""
    scene.script.capabilities = Capabilities("lookup", extras=frozenset({"promote-job"}))
    scene.script.acts, scene.script.settles = [QUEUED], [QUEUED]
    scene.script.details = [JobDetail(Job("j1", state)) if state else None for state in states]
    command_id = scene.give(*targets, action=action)
    scene.run(command_id)
    return scene.lines(command_id)[-1]


def test_a_retried_job_that_fails_again_is_told_so_and_when(scene: Scene) -> None:
    said = last_line(scene, "failed", "queued", "running", "failed")
    assert said.startswith("queued again, failed again ")
    assert " s later, verified " in said


def test_one_that_succeeds_is_told_so_too(scene: Scene) -> None:
    assert last_line(scene, "failed", "running", "succeeded").startswith("queued again, succeeded ")


def test_one_that_waits_is_followed_for_a_while_and_then_left(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effects, "RETRY_FOLLOW_S", 0.05)
    assert last_line(scene, "failed", "queued").startswith("queued again, verified ")
    assert last_line(scene, "failed", "running").startswith("queued again, running now, verified ")


@pytest.mark.parametrize(("state", "said"), [("queued", "verified"), ("running", "running now, verified")])
def test_a_promoted_job_is_told_where_it_is_and_not_followed(scene: Scene, state: str, said: str) -> None:
    line = last_line(scene, "queued", state, "failed", action="promote-job")
    assert line.startswith(f"moved to the front of its queue, {said} ")


def test_of_many_it_is_counted_how_many_failed_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    assert last_line(scene, "failed", "failed", "queued", targets=("j1", "j2", "j3")).startswith(
        "3 of 3 done, 2 failed again, verified "
    )
    monkeypatch.setattr(effects, "MAX_JOBS_READ", 2)
    assert last_line(scene, "failed", "queued", targets=("j4", "j5", "j6")).startswith(
        "3 of 3 done, 1 of the 2 checked failed again, verified "
    )


@pytest.mark.parametrize(("action", "state"), [("retry-job", "succeeded"), ("delete-job", None)])
def test_how_the_counts_of_the_service_moved_meanwhile_is_no_part_of_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, action: str, state: str | None
) -> None:
    counts = iter([{"queued": 6, "running": 9}])
    monkeypatch.setattr(
        "app.commands.verification._parse_counts", lambda _state: next(counts, {"queued": 2, "running": 13})
    )
    said = last_line(scene, "failed", state, action=action)
    assert "→" not in said
    assert "13" not in said
