"""Who is in once every rule has had its say: told as the engine decides, and never as the percentage alone."""

import json
from typing import Any

import pytest

from app.flags import document
from app.flags.document import ConfiguredState, Flag
from app.flags.evaluation import build_evaluator
from app.flags.outcome import PLAIN_OUTCOME, Override, RolloutOutcome

FLAG = Flag.SSE_STREAMING
PEOPLE = [f"user{number}" for number in range(500)]
NOT_MALLORY = {"contextName": "userId", "operator": "NOT_IN", "values": ["mallory"]}
ONLY_ANN = {"contextName": "userId", "operator": "IN", "values": ["ann"]}
BETA = {"id": 7, "name": "beta", "constraints": [ONLY_ANN]}
FRIENDS = {**BETA, "name": "friends"}


def rollout_of(percentage: object = "100", group: str = FLAG, **more: Any) -> dict[str, Any]:
    parameters = {"rollout": percentage, "stickiness": "userId", "groupId": group}
    return {"name": "flexibleRollout", "parameters": parameters, "constraints": [], **more}


def parent(*, enabled: bool = True, strategies: Any = (), name: str = "parent", **more: Any) -> dict[str, Any]:
    return {"name": name, "enabled": enabled, "strategies": [*strategies], **more}


def sent(*strategies: dict[str, Any], enabled: bool = True, parents: Any = (), segments: Any = (), **more: Any) -> str:
    flag = {"name": FLAG.value, "enabled": enabled, "strategies": [*strategies], **more}
    return json.dumps({"version": 2, "features": [flag, *parents], "segments": [*segments]})


NEEDS = {"dependencies": [{"feature": "parent", "enabled": True}]}
NEEDS_OFF = {"dependencies": [{"feature": "parent", "enabled": False}]}
READ = "and the flag engine reads whole numbers in text alone"
EVERYBODY, NOBODY = len(PEOPLE), 0


@pytest.mark.parametrize(
    ("text", "said", "inside"),
    [
        (sent(rollout_of()), "100 % of users are in", EVERYBODY),
        (sent(rollout_of("0")), "0 % of users are in", NOBODY),
        (sent(rollout_of(), enabled=False), "switched off: nobody is in", NOBODY),
        (sent(rollout_of(), parents=[parent(enabled=False)], **NEEDS), "parent parent is off: nobody is in", NOBODY),
        (sent(rollout_of(), **NEEDS), "parent parent is not there: nobody is in", NOBODY),
        (sent(rollout_of(), parents=[parent()], **NEEDS), "100 % of users are in", EVERYBODY),
        (
            sent(rollout_of(), parents=[parent(strategies=[rollout_of(group="parent")])], **NEEDS),
            "100 % of users are in",
            EVERYBODY,
        ),
        (
            sent(rollout_of(), parents=[parent(strategies=[rollout_of("30", "parent")])], **NEEDS),
            "100 % of those whom parent parent lets in",
            None,
        ),
        (
            sent(rollout_of(), parents=[parent(enabled=False)], **NEEDS_OFF),
            "100 % of users are in",
            EVERYBODY,
        ),
        (sent(rollout_of(segments=[7]), segments=[BETA]), "100 % of those whom segment beta lets in", NOBODY),
        (sent(rollout_of(segments=[7]), segments=[FRIENDS]), "100 % of those whom segment friends lets in", NOBODY),
        (sent(rollout_of(segments=[7])), "segment 7 is not there: nobody is in", NOBODY),
        (sent(rollout_of("50", constraints=[NOT_MALLORY])), "50 % of those whom its constraint lets in", None),
        (
            sent(rollout_of(constraints=[NOT_MALLORY, ONLY_ANN], segments=[7]), segments=[BETA]),
            "100 % of those whom segment beta and its 2 constraints let in",
            NOBODY,
        ),
        (sent(rollout_of(), rollout_of("20")), "no single percentage says who is in", None),
        (sent(), "it has no strategy: everybody is in", EVERYBODY),
        (
            sent(rollout_of("12.5")),
            f'its percentage is written as "12.5", {READ}: nobody is in',
            NOBODY,
        ),
        (sent(rollout_of("100.0")), f'its percentage is written as "100.0", {READ}: nobody is in', NOBODY),
        (sent(rollout_of(100)), f"its percentage is written as 100, {READ}: nobody is in", NOBODY),
    ],
)
def test_what_is_said_is_what_the_engine_does(text: str, said: str, inside: int | None) -> None:
    assert RolloutOutcome.of(text, FLAG).describe(document.read_state(text, FLAG)) == said
    ask = build_evaluator(text)
    found = sum(ask(FLAG, user) for user in PEOPLE)
    assert found == inside if inside is not None else 0 < found <= len(PEOPLE)


def test_a_parent_is_off_too_where_its_own_parent_is() -> None:
    family = [
        parent(dependencies=[{"feature": "grandparent"}]),
        parent(name="grandparent", enabled=False),
    ]
    text = sent(rollout_of(), parents=family, **NEEDS)
    said = "parent parent is off (parent grandparent is off): nobody is in"
    assert RolloutOutcome.of(text, FLAG).describe(document.read_state(text, FLAG)) == said
    assert not build_evaluator(text)(FLAG, "ann")


@pytest.mark.parametrize(
    ("raw", "percentage"),
    [("50", 50), (50, 50), ("12.5", 12.5), ("100.0", 100), ("-1", None), ("101", None), ("nan", None), ("x", None)],
)
def test_a_percentage_is_read_as_unleash_writes_it(raw: object, percentage: float | None) -> None:
    found = document.parse_percentage(raw)
    assert (found, isinstance(found, float)) == (percentage, percentage == 12.5)


OFF = RolloutOutcome(nobody="parent checkout is off")
BETA_ONLY = RolloutOutcome(limits=("segment beta",))
ON_AT_10, OFF_AT_100 = ConfiguredState(True, 10), ConfiguredState(False, 100)


@pytest.mark.parametrize(
    ("outcome", "before", "percentage", "enabled", "override", "said"),
    [
        (PLAIN_OUTCOME, ON_AT_10, 100, None, None, "Everybody will be in."),
        (PLAIN_OUTCOME, ON_AT_10, 25, None, None, "25 % of users will be in."),
        (PLAIN_OUTCOME, OFF_AT_100, None, True, None, "Everybody will be in."),
        (PLAIN_OUTCOME, OFF_AT_100, 100, None, None, "Once it is switched on, everybody will be in."),
        (
            PLAIN_OUTCOME,
            ON_AT_10,
            100,
            None,
            "off",
            "The setting decides: off for everybody. Without it everybody will be in.",
        ),
        (OFF, ON_AT_10, 100, None, None, "Nobody will be in: parent checkout is off."),
        (BETA_ONLY, ON_AT_10, 100, None, None, "100 % of those whom segment beta lets in will be in."),
        (
            PLAIN_OUTCOME,
            ConfiguredState(False, None, "it has 2 strategies"),
            None,
            True,
            None,
            "Everybody may be in: no single percentage says how many.",
        ),
    ],
)
def test_whoever_confirms_a_change_is_told_what_it_comes_to(
    outcome: RolloutOutcome,
    before: ConfiguredState,
    percentage: int | None,
    enabled: bool | None,
    override: Override,
    said: str,
) -> None:
    assert outcome.describe_change(before, percentage, enabled, override) == said


def test_a_percentage_that_the_engine_cannot_read_is_mended_by_setting_one_and_not_by_switching_on() -> None:
    text = sent(rollout_of("100.0"), enabled=False)
    outcome, now = RolloutOutcome.of(text, FLAG), document.read_state(text, FLAG)
    assert outcome.describe_change(now, 100, True) == "Everybody will be in."
    assert all(build_evaluator(document.with_percentage(text, FLAG, 100, True))(FLAG, user) for user in PEOPLE)
    assert outcome.describe_change(now, None, True).startswith("Nobody will be in: its percentage is written as")
    assert not any(build_evaluator(document.with_percentage(text, FLAG, None, True))(FLAG, user) for user in PEOPLE)


def test_the_steps_of_a_plan_say_whose_share_they_are() -> None:
    assert PLAIN_OUTCOME.describe_steps() is None
    assert OFF.describe_steps() == "parent checkout is off: nobody is in, whatever the percentage"
    assert BETA_ONLY.describe_steps() == "each percentage is of those whom segment beta lets in"
    assert PLAIN_OUTCOME.describe_steps("off") == "the setting decides: off for everybody, whatever the percentage"
