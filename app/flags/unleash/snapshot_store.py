"""Stores Unleash's last response for restarts, and announces its changes once for the whole deployment.

Every worker polls Unleash, and the first one that sees something new stores it. The newest row, together with what
Beacon has changed in Unleash since, is the configuration of the deployment, and the event makes every worker load it.
So a worker that lags reverts nothing, and a kill switch does not wait for an Unleash that has stopped responding.
Everything here needs an application context.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from app.db import read, write
from app.flags import document, embedded
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
            audit_unfinished(session)
            for flag in moved:
                _mirror_change(session, flag, standing[flag], authors[flag])
            session.flush()
            _announce_if_changed(session, held, moved)
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
                embedded.audit_change(session, flag, "Unleash", reason, made, now, action="rollout-seen")
            _announce_if_changed(session, held, [Flag(row.flag) for row in gone])

    def _is_new(self, before: SnapshotRow | None, text: str) -> bool:
        if before is None:
            return True
        if document.read_revision(text) >= before.revision:
            self._older_since = None
            return document.compute_version(text) != before.version or document.read_revision(text) > before.revision
        self._older_since = self._older_since or time.monotonic()
        return time.monotonic() - self._older_since >= RESTORED_AFTER_S


def audit_unfinished(session: Session) -> None:
    """Audit changes that a worker began and can no longer finish, as failed. Call it under `embedded.lock_flags`."""
    for row in pending_changes.expire_unfinished(session):
        flag, wanted = Flag(row.flag), Rollout(row.enabled, row.percentage)
        before, why = (
            embedded.load_rollout(session, flag).rollout,
            "Beacon stopped before it knew whether this was done",
        )
        embedded.audit_change(session, flag, row.actor, row.reason, before, wanted, failed=why)


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


def _mirror_change(session: Session, flag: Flag, now: Rollout, author: Author) -> None:
    """Write the new state of the flag and its author: somebody through Beacon, or somebody in Unleash."""
    ours = pending_changes.match_arrival(session, flag, now)
    standing, reason = embedded.load_rollout(session, flag), "changed in Unleash"
    before = None if standing.actor is None else standing.rollout  # unknown if the flag was never seen
    if ours is not None:
        # Keeps the time of the pending change, because people may already have seen the flag with that time.
        embedded.write_rollout(
            session, flag, now, ours.actor, ours.reason, utc_text(datetime.fromtimestamp(ours.at, UTC))
        )
        # The worker that makes the change may have died; if not, it sees that it is audited.
        if not ours.is_made and pending_changes.is_last_stage(session, ours):
            embedded.audit_change(session, flag, ours.actor, ours.reason, before, now)
        return
    pending_changes.delete_overtaken(session, flag, author.at)
    embedded.write_rollout(session, flag, now, author.name, reason, author.at)
    embedded.audit_change(session, flag, author.name, reason, before, now, action="rollout-seen")


def _announce_if_changed(session: Session, held: str | None, moved: Sequence[Flag]) -> None:
    """Announce, unless the configuration equals `held`: a change by Beacon was announced when it was made."""
    now = load_in_force(session)
    if now is None or (held is not None and document.compute_version(held) == document.compute_version(now)):
        return
    for flag in Flag:
        _announce(session, flag, read_rollout(now, flag), alone=flag not in moved)


def _announce(session: Session, flag: Flag, now: Rollout, *, alone: bool) -> None:
    """`alone`: only constraints, segments or strategies without a single percentage changed."""
    standing, reason = embedded.load_rollout_with_reason(session, flag)
    who = standing.actor or "Unleash"
    who, why = ("Unleash", "its conditions changed in Unleash") if alone else (who, reason)
    embedded.announce_change(session, flag, now, who, why, load_outcome(session, flag))
