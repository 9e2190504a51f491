"""Which workers hold what people are shown: with Unleash the conditions count too, which no percentage tells."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from flask import Flask

from app.db import now_epoch, read, write
from app.flags import document, worker_state
from app.flags.document import ConfiguredState, Flag, Rollout
from app.flags.evaluation import Flags
from app.flags.models import WorkerStateRow
from app.flags.unleash import snapshot_store
from app.flags.unleash.unleash_provider import UnleashProvider
from tests.rollout.test_snapshot_store import beside

FLAG = Flag.SSE_STREAMING


def text(revision: int, *constraints: str) -> str:
    found = json.loads(document.serialize_rollouts({FLAG: Rollout(percentage=50)}))
    found["features"][0]["strategies"][0]["constraints"] = [
        {"contextName": "userId", "operator": "NOT_IN", "values": [*constraints]}
    ]
    return json.dumps({**found, "meta": {"revisionId": revision}})


def report(worker: str, of: str) -> None:
    states = json.dumps({FLAG: asdict(document.read_state(of, FLAG))})
    with write() as session:
        session.add(
            WorkerStateRow(worker=worker, version=document.compute_version(of), nominal_json=states, seen=now_epoch())
        )


def test_a_worker_with_older_conditions_does_not_hold_the_same_percentage(cast: Flask, tmp_path: Path) -> None:
    unleash = UnleashProvider(cast, beside("http://127.0.0.1:9", tmp_path), Flags({}), pytest.fail)
    cast.extensions["beacon"].provider = unleash
    keeper = snapshot_store.SnapshotWriter(lambda _: snapshot_store.Author("eve"))
    with cast.app_context():
        keeper.store(text(1))
        report("old", text(1))
        keeper.store(text(2, "mallory"))
        report("new", text(2, "mallory"))
        with read() as session:
            found = worker_state.load_worker_agreement(session, FLAG, ConfiguredState(enabled=True, percentage=50))
            assert found is not None
            since = found.since
        keeper.store(text(3, "mallory"))  # something else in that Unleash changed
        with read() as session:
            assert worker_state.load_worker_agreement(
                session, FLAG, ConfiguredState(enabled=True, percentage=50)
            ) == worker_state.WorkerAgreement(1, 2, since)


def test_a_worker_of_an_earlier_version_is_not_said_to_hold_anything(cast: Flask) -> None:
    with cast.app_context():
        with write() as session:
            session.add(
                WorkerStateRow(worker="old", version="v", nominal_json=f'{{"{FLAG}": "on 50"}}', seen=now_epoch())
            )
        with read() as session:
            found = worker_state.load_worker_agreement(session, FLAG, ConfiguredState(enabled=True, percentage=50))
    assert found is not None
    assert (found.holding, found.total, found.lets_anyone_in) == (0, 1, True)
    assert found.in_force == [worker_state.WorkerGroup(True, None, 1)]
