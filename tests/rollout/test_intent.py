"""A change on its way to Unleash and back counts from when it was made: what was reported before it is no evidence."""

from flask import Flask

from app.config import Settings
from app.db import db, read, write
from app.flags.document import Flag, Rollout, serialize_rollouts
from app.flags.evaluation import Flags
from app.flags.models import FlagRow
from app.flags.unleash import pending_changes, snapshot_store
from app.flags.unleash.unleash_provider import UnleashProvider
from app.infra.clock import parse_utc
from app.rollout import plan_service


def test_it_has_the_time_at_which_it_was_made(cast: Flask, settings: Settings) -> None:
    flag, url = Flag.SSE_STREAMING, "http://127.0.0.1:9"
    unleash = UnleashProvider(
        cast, settings.model_copy(update={"unleash_url": url, "unleash_api_token": "x"}), Flags({}), lambda: None
    )
    with cast.app_context():
        snapshot_store.SnapshotWriter(lambda _: snapshot_store.Author("bob")).store(
            serialize_rollouts({flag: Rollout(True, 50)})
        )
        with write() as session:
            session.execute(db.update(FlagRow).values(level_since=1.0))
            change = pending_changes.record_pending(session, flag, [Rollout(True, 10)], "guardrail", "trouble")
            pending_changes.mark_made(session, change, 1)
        with read() as session:
            found, now = unleash.view(session, flag), plan_service.read_epoch(session)
    assert (found.state.percentage, found.actor) == (10, "guardrail")
    assert found.changed_at is not None
    assert abs(parse_utc(found.changed_at).timestamp() - now) < 60
    assert abs(found.level_since - now) < 60
