"""What somebody saw before deciding: back at the same percentage is not where it was, in either mode."""

import json

import pytest
from flask import Flask

from app.config import Settings
from app.db import read, write
from app.flags import embedded
from app.flags.document import ConfiguredState, Flag, Rollout, serialize_rollouts
from app.flags.embedded import ExpectedState
from app.flags.evaluation import Flags
from app.flags.provider import RolloutConflict
from app.flags.unleash import pending_changes, snapshot_store
from app.flags.unleash.unleash_provider import UnleashProvider
from app.rollout.preview import preview_switches
from tests.support.unleash_stub import Edge, says

FLAG = Flag.SSE_STREAMING


def at(percentage: int) -> str:
    return serialize_rollouts({FLAG: Rollout(True, percentage)})


def unleash_at(edge: Edge, app: Flask, settings: Settings, percentage: int) -> UnleashProvider:
    """Its Admin API says that the flag stands there."""
    parameters = {"rollout": str(percentage)}
    strategies = [{"id": "one", "name": "flexibleRollout", "parameters": parameters}]
    edge.answers = [says(200, json.dumps({"enabled": True, "strategies": strategies}))]
    told = {"unleash_url": edge.url, "unleash_api_token": "x", "unleash_admin_token": "y"}
    return UnleashProvider(app, settings.model_copy(update=told), Flags({}), lambda: None)


def test_what_was_seen_is_met_only_since_the_same_change() -> None:
    now, then, later = Rollout(True, 10), "2026-01-01T00:00:00.000Z", "2026-01-02T00:00:00.000Z"
    assert ExpectedState(10, True, then).matches(now, then)
    assert ExpectedState(10, True).matches(now, later)
    assert not ExpectedState(10, True, then).matches(now, later)
    assert ExpectedState(changed_at="").matches(now, None)
    assert not ExpectedState(changed_at="").matches(now, then)


def test_in_unleash_too_nothing_is_set_over_what_went_and_came_back(
    cast: Flask, settings: Settings, edge: Edge
) -> None:
    unleash = unleash_at(edge, cast, settings, 10)
    keeper = snapshot_store.SnapshotWriter(lambda _: snapshot_store.Author("bob"))
    with cast.app_context():
        keeper.store(at(10))
        with read() as session:
            seen = unleash.view(session, FLAG).changed_at
        assert seen is not None
        with write() as session:  # as one that took a while
            embedded.write_rollout(
                session, FLAG, Rollout(True, 10), "bob", "changed in Unleash", "2027-01-01T00:00:00.000Z"
            )
        with pytest.raises(RolloutConflict) as raised:
            unleash.change(FLAG, "pia", "more", 50, expected=ExpectedState(10, True, seen))
    assert (raised.value.now.actor, raised.value.now.state) == ("bob", ConfiguredState(True, 10))


def test_a_change_on_its_way_to_unleash_has_its_own_reason_and_one_moment_before_and_after_it_arrives(
    cast: Flask, settings: Settings, edge: Edge
) -> None:
    unleash = unleash_at(edge, cast, settings, 50)
    keeper = snapshot_store.SnapshotWriter(lambda _: snapshot_store.Author("bob"))
    with cast.app_context():
        keeper.store(at(50))
        with write() as session:
            change = pending_changes.record_pending(session, FLAG, [Rollout(True, 10)], "pia", "it hurts")
            pending_changes.mark_made(session, change, 1)
        with read() as session:
            on_its_way = unleash.view(session, FLAG)
        keeper.store(at(10))
        with read() as session:
            arrived = unleash.view(session, FLAG)
    assert (on_its_way.actor, on_its_way.reason) == ("pia", "it hurts")
    assert (arrived.actor, arrived.reason, arrived.changed_at) == ("pia", "it hurts", on_its_way.changed_at)


def test_who_would_switch_is_not_known_where_no_single_percentage_says_who_is_in() -> None:
    flags, found = Flags({}), json.loads(at(50))
    assert preview_switches(flags, FLAG, ["ann"], 100, enabled=True) is None
    found["features"][0]["strategies"] *= 2
    flags.load(json.dumps(found))
    assert preview_switches(flags, FLAG, ["ann"], 100, enabled=True) is None
    flags.load(at(0))
    switching = preview_switches(flags, FLAG, ["ann"], 100, enabled=True)
    assert switching is not None
    assert switching.comes == ["ann"]
