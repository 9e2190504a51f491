"""A holder that was frozen between deciding and asking Unleash: nothing was asked, and the next look decides anew."""

from typing import Any

import pytest
from flask import Flask

from app.config import Settings
from app.db import write
from app.flags.document import Rollout
from app.flags.provider import FlagView, TooLate
from tests.rollout.test_controller import BAD, STEPS, Scene, Slow


class Frozen(Slow):
    """What was decided is committed, and then too much time is gone."""

    is_held_up = True

    def change(self, *args: Any, **kwargs: Any) -> FlagView:
        if not self.is_held_up:
            return super().change(*args, **kwargs)
        with write() as session:
            kwargs["precondition"](session, Rollout(), Rollout())
        raise TooLate


def scene_of(cast: Flask, settings: Settings, mode: str) -> tuple[Scene, Frozen]:
    scene, frozen = Scene(cast, settings), Frozen()
    scene.provider = frozen
    scene.watch = scene.watcher(settings.model_copy(update={"guardrail_mode": mode}), "one")
    return scene, frozen


@pytest.mark.parametrize("mode", ["hold", "step-back"])
def test_a_plan_stays_at_its_step_and_waits_for_nobody(cast: Flask, settings: Settings, mode: str) -> None:
    scene, frozen = scene_of(cast, settings, mode)
    scene.plan("PUT", STEPS)
    scene.watch.run_once()
    shown = scene.plan("GET").get_json()["plan"]
    assert (shown["step"], shown["paused"], scene.desk.get()["percentage"]) == (-1, False, 0)
    frozen.is_held_up = False
    scene.watch.run_once()
    assert scene.desk.get()["percentage"] == 10


def test_a_step_back_is_no_refusal_and_comes_with_the_next_look(cast: Flask, settings: Settings) -> None:
    scene, frozen = scene_of(cast, settings, "step-back")
    for percentage in (10, 50):
        scene.desk.put(percentage=percentage)
    scene.reported(2, **BAD)
    scene.watch.run_once()
    assert (scene.retries(), scene.audited("rollout-hold"), scene.desk.get()["percentage"]) == (0, [], 50)
    frozen.is_held_up = False
    scene.watch.run_once()
    assert scene.desk.get()["percentage"] == 10
