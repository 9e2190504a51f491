"""Stores Unleash's last response for restarts, and announces its changes once for the whole deployment.

Every worker polls Unleash, and the first one that sees something new stores it. The newest row, together with what
Beacon has changed in Unleash since, is the configuration of the deployment, and the event makes every worker load it.
So a worker that lags reverts nothing, and a kill switch does not wait for an Unleash that has stopped responding.
Everything here needs an application context.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from app.db import read, write
from app.eventlog.event_types import ChangeCause
from app.flags import document, embedded
from app.flags.change_log import RolloutChange, record_change
from app.flags.document import ConfiguredState, Flag, Rollout
from app.flags.models import SnapshotRow
from app.flags.outcome import PLAIN_OUTCOME, RolloutOutcome
from app.flags.unleash import pending_changes
from app.infra.clock import utc_text

SNAPSHOT_SOURCE = "unleash"
# An older revision is either a lagging worker or a restored Unleash; lag never exceeds this.
RESTORED_AFTER_S = 10.0


@dataclass(frozen=True, slots=True)
class Author:
    """Who changed a flag in Unleash, and when, if that can be read."""

    name: str
    at: str | None = None


def load_newest(session: Session) -> str | None:
    """The configuration that Unleash sent last."""
    row = session.get(SnapshotRow, SNAPSHOT_SOURCE)
    return None if row is None else row.state_json


def load_in_force(session: Session) -> str | None:
    """The deployment's configuration: what Unleash sent last, with what Beacon has changed there since."""
    return _apply_pending_changes(session, load_newest(session))


def load_outcome(session: Session, flag: Flag) -> RolloutOutcome:
    """The effect of the flag's rules in the deployment's configuration."""
    text = load_in_force(session)
    return PLAIN_OUTCOME if text is None else RolloutOutcome.of(text, flag)


def _apply_pending_changes(session: Session, text: str | None) -> str | None:
    if text is None:
        return None
    for flag in Flag:
        made = pending_changes.find_pending(session, flag)
        if made is not None:
            text = document.with_percentage(text, flag, made.percentage, made.enabled)
    return text


class SnapshotWriter:
    """Stores new responses. `author` asks Unleash who made a change; it is called outside any transaction."""

    def __init__(self, author: Callable[[Flag], Author]) -> None:
        self._author = author
        self._older_since: float | None = None

    def store(self, text: str) -> bool:
        """True if the stored text is now this one. If not, or if it raises the database's error, call it again."""
        with read() as session:
            before = session.get(SnapshotRow, SNAPSHOT_SOURCE)
        if not self._is_new(before, text):
            return self._older_since is None
        was = None if before is None else before.state_json
        moved = [flag for flag in Flag if _summarize(was, flag) != _summarize(text, flag)]
        authors = {flag: self._author(flag) for flag in moved}
        standing = {flag: read_rollout(text, flag) for flag in Flag}
        with write() as session:
            embedded.lock_flags(session)
            held = _apply_pending_changes(session, was)
            if not _replace_snapshot(session, before, text):
                return False  # another worker was first and announces; the next call shows whether it stored this text
            record_unfinished(session)
            causes = {flag: _mirror_change(session, flag, standing[flag], authors[flag]) for flag in moved}
            session.flush()
            _announce_if_changed(session, held, causes)
        self._older_since = None
        return True

    def drop_undelivered(self) -> None:
        """Drop changes that Unleash has not sent although it responds, and announce what is in force instead."""
        with write() as session:
            embedded.lock_flags(session)
            held = load_in_force(session)
            gone = pending_changes.expire_made(session)
            after = load_in_force(session)
            if held is None or after is None or document.compute_version(held) == document.compute_version(after):
                return
            for row in gone:
                flag, made = Flag(row.flag), Rollout(row.enabled, row.percentage)
                reason = f"Unleash did not confirm what {row.actor} set"[: embedded.MAX_REASON_LENGTH]
                now = read_rollout(after, flag)
                embedded.write_rollout(session, flag, now, "Unleash", reason)
                record_change(session, flag, RolloutChange("Unleash", "unleash", "set", reason, made, now))
            _announce_if_changed(session, held, {Flag(row.flag): "unleash" for row in gone})

    def _is_new(self, before: SnapshotRow | None, text: str) -> bool:
        if before is None:
            return True
        if document.read_revision(text) >= before.revision:
            self._older_since = None
            return document.compute_version(text) != before.version or document.read_revision(text) > before.revision
        self._older_since = self._older_since or time.monotonic()
        return time.monotonic() - self._older_since >= RESTORED_AFTER_S


def record_unfinished(session: Session) -> None:
    """Record changes that a worker began and can no longer finish, as failed. Call it under `embedded.lock_flags`."""
    for row in pending_changes.expire_unfinished(session):
        before, wanted = embedded.load_rollout(session, Flag(row.flag)).rollout, Rollout(row.enabled, row.percentage)
        failed = "Beacon stopped before it knew whether this was done"
        change = RolloutChange(row.actor, row.cause, "set", row.reason, before, wanted, failed)
        record_change(session, Flag(row.flag), change)


def read_rollout(text: str, flag: Flag) -> Rollout:
    """The state of the flag; its percentage is None if no single number describes it."""
    now = document.read_state(text, flag)
    return Rollout(now.enabled, now.percentage)


def _summarize(text: str | None, flag: Flag) -> str:
    return (ConfiguredState(enabled=True, percentage=0) if text is None else document.read_state(text, flag)).summary


def _replace_snapshot(session: Session, before: SnapshotRow | None, text: str) -> bool:
    """Compare and swap: False if another worker has replaced the row since it was read."""
    new = {
        "revision": document.read_revision(text),
        "version": document.compute_version(text),
        "state_json": text,
    }
    now = session.get(SnapshotRow, SNAPSHOT_SOURCE)
    if before is None or now is None:
        if now is None:
            session.add(SnapshotRow(source=SNAPSHOT_SOURCE, **new, kept_at=utc_text()))
        return now is None
    if (now.revision, now.version) != (before.revision, before.version):
        return False
    if now.version != new["version"]:  # a new revision alone is a change of other flags
        now.kept_at = utc_text()
    for name, value in new.items():
        setattr(now, name, value)
    return True


def _mirror_change(session: Session, flag: Flag, now: Rollout, author: Author) -> ChangeCause:
    """Write the new state of the flag and its author: somebody through Beacon, or somebody in Unleash."""
    ours = pending_changes.match_arrival(session, flag, now)
    standing, reason = embedded.load_rollout(session, flag), "changed in Unleash"
    before = None if standing.actor is None else standing.rollout  # unknown if the flag was never seen
    if ours is not None:
        # Keeps the time of the pending change, because people may already have seen the flag with that time.
        embedded.write_rollout(
            session, flag, now, ours.actor, ours.reason, utc_text(datetime.fromtimestamp(ours.at, UTC))
        )
        # The worker that makes the change may have died; if not, it sees that it is recorded.
        if not ours.is_made and pending_changes.is_last_stage(session, ours):
            record_change(session, flag, RolloutChange(ours.actor, ours.cause, "set", ours.reason, before, now))
        return ours.cause
    pending_changes.delete_overtaken(session, flag, author.at)
    embedded.write_rollout(session, flag, now, author.name, reason, author.at)
    record_change(session, flag, RolloutChange(author.name, "unleash", "set", reason, before, now))
    return "unleash"


def _announce_if_changed(session: Session, held: str | None, causes: Mapping[Flag, ChangeCause]) -> None:
    """Announce, unless the configuration equals `held`: a change by Beacon was announced when it was made. `causes` are
    those of the flags that moved; of the others only constraints, segments or strategies changed."""
    after = load_in_force(session)
    if after is None or (held is not None and document.compute_version(held) == document.compute_version(after)):
        return
    for flag in Flag:
        now = read_rollout(after, flag)
        change = RolloutChange("Unleash", "unleash", "conditions", "its conditions changed in Unleash")
        if flag in causes:
            standing, reason = embedded.load_rollout_with_reason(session, flag)
            change = RolloutChange(standing.actor or "Unleash", causes[flag], "set", reason)
        embedded.announce_change(session, flag, now, change, load_outcome(session, flag))
