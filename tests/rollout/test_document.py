"""What decides about a flag in Unleash's own words: its parents, its segments, what its percentage is a share of."""

import json
from typing import Any

import pytest

from app.flags import document
from app.flags.document import Flag, Rollout
from app.flags.evaluation import build_evaluator

FLAG = Flag.SSE_STREAMING
USERS = [f"user{number}" for number in range(200)]


def strategy(**more: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(document.serialize_rollouts({FLAG: Rollout(percentage=50)}))
    return {**found["features"][0]["strategies"][0], **more}


def feature(name: str, *parents: str, enabled: bool = True, **more: Any) -> dict[str, Any]:
    depends = [{"feature": parent, "enabled": True} for parent in parents]
    return {"name": name, "enabled": enabled, "strategies": [strategy()], "dependencies": depends, **more}


def text(*features: dict[str, Any], **more: Any) -> str:
    return json.dumps({"version": 2, "features": features, "meta": {"revisionId": 7}, **more})


def sticky(value: str | None, **more: str) -> str:
    parameters = {"rollout": "50", "groupId": FLAG.value, **more} | ({} if value is None else {"stickiness": value})
    return text({"name": FLAG.value, "enabled": True, "strategies": [strategy(parameters=parameters)]})


def inside(of: str) -> set[str]:
    ask = build_evaluator(of)
    return {user for user in USERS if ask(FLAG, user)}


class TestVersion:
    def family(self, grandparent: dict[str, Any], **more: Any) -> str:
        return text(feature(FLAG, "parent"), feature("parent", "grandparent"), grandparent, **more)

    def test_a_parent_that_is_switched_off_is_another_however_far_up(self) -> None:
        on, off = (self.family(feature("grandparent", enabled=each, strategies=[])) for each in (True, False))
        assert document.compute_version(on) != document.compute_version(off)

    def test_so_is_another_variant_of_a_parent(self) -> None:
        blue, red = (self.family(feature("grandparent", variants=[{"name": name}])) for name in ("blue", "red"))
        assert document.compute_version(blue) != document.compute_version(red)

    def test_parents_of_each_other_come_to_an_end(self) -> None:
        assert document.compute_version(self.family(feature("grandparent", "parent", FLAG)))

    def test_what_decides_nothing_is_the_same(self) -> None:
        segments = [{"id": 9, "constraints": []}]
        plain, more = self.family(feature("grandparent")), self.family(feature("grandparent"), segments=segments)
        assert document.compute_version(plain) == document.compute_version(more)

    def test_a_segment_that_is_used_is_another_when_it_changes(self) -> None:
        uses = {"name": FLAG.value, "enabled": True, "strategies": [strategy(segments=[9])]}
        versions = {document.compute_version(text(uses, segments=[{"id": 9, "constraints": [n]}])) for n in (1, 2)}
        assert len(versions) == 2


class TestCut:
    def test_only_what_decides_about_declared_flags_is_kept_and_people_are_the_same(self) -> None:
        only = {"contextName": "userId", "operator": "NOT_IN", "values": USERS[:100]}
        segments = [
            {"id": 1, "name": "staff", "constraints": [only]},
            {"id": 2, "name": "other", "constraints": [only]},
        ]
        others = [feature(f"other{number}", "third") for number in range(50)]
        family = [
            feature(FLAG, "parent", strategies=[strategy(segments=[1])]),
            feature("parent", strategies=[]),
            feature("third", strategies=[strategy(segments=[2])]),
        ]
        whole = text(*others, *family, segments=segments, query={"environment": "development"})
        cut = document.restrict_to_declared(whole)
        kept = json.loads(cut)
        assert [each["name"] for each in kept["features"]] == [FLAG, "parent"]
        assert [each["name"] for each in kept["segments"]] == ["staff"]
        assert (document.compute_version(cut), document.read_revision(cut)) == (document.compute_version(whole), 7)
        assert inside(cut) == inside(whole) < set(USERS[100:])
        assert inside(cut)

    @pytest.mark.parametrize("features", [[{"name": 3}], [{"name": FLAG, "dependencies": ["x"]}], ["x"], 3])
    def test_anything_else_is_unreadable(self, features: Any) -> None:
        with pytest.raises(document.InvalidConfiguration):
            document.restrict_to_declared(json.dumps({"features": features}))


class TestStickiness:
    @pytest.mark.parametrize("value", ["userId", "default", None])
    def test_people_stay_in_where_it_is_the_user(self, value: str | None) -> None:
        assert document.read_state(sticky(value), FLAG).percentage == 50
        assert inside(sticky(value)) == inside(document.serialize_rollouts({FLAG: Rollout(percentage=50)}))

    @pytest.mark.parametrize("value", ["sessionId", "email", ""])
    def test_what_beacon_does_not_know_lets_nobody_in_and_no_percentage_is_claimed(self, value: str) -> None:
        found = document.read_state(sticky(value), FLAG)
        assert (found.percentage, inside(sticky(value))) == (None, set())
        assert found.why is not None
        assert f"its stickiness is {value}, which Beacon does not have, so nobody is in" in found.why

    def test_chance_is_no_percentage_of_people(self) -> None:
        found = document.read_state(sticky("random"), FLAG)
        assert found.percentage is None
        assert found.why == "its stickiness is random, so nobody stays in or out; set it to userId or default there"

    def test_another_group_is_named(self) -> None:
        assert document.find_other_group(sticky("userId", groupId="others"), FLAG) == "others"
        assert document.find_other_group(sticky("userId"), FLAG) is None
        assert document.find_other_group(text(), FLAG) is None
