"""What Unleash sent last, kept for restarts; what it changed is told to everybody, once in the whole deployment.

Every worker asks Unleash, and whoever sees something new first writes it down: the newest row, with what Beacon itself
has changed there since, is the configuration of the deployment, and the event beside it makes every worker load that.
So a worker that lags takes nobody back, and a kill switch does not wait for an Unleash that has stopped answering.
All of it runs inside the application's context.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from app.db import read, write
from app.flags import document, embedded
from app.flags.document import Flag, Nominal, Rollout
from app.flags.models import KeptRow
from app.flags.outcome import PLAIN, Outcome
from app.flags.unleash import pending_changes
from app.infra.clock import utc_text

SOURCE = "unleash"
# An older revision than the kept one is a worker that lags, or an Unleash that was set back: nobody lags so long.
SET_BACK_AFTER_S = 10.0


@dataclass(frozen=True, slots=True)
class Author:
    """Who changed a flag in Unleash, and when, as far as that can be read."""

    name: str
    at: str | None = None


def newest(session: Session) -> str | None:
    """What Unleash sent last."""
    row = session.get(KeptRow, SOURCE)
    return None if row is None else row.state_json


def in_force(session: Session) -> str | None:
    """What the deployment holds, or should: what Unleash sent last, and what Beacon has changed there since."""
    return _with_changes(session, newest(session))


def outcome(session: Session, flag: Flag) -> Outcome:
    """What the rules say that no percentage says, as they are in force."""
    text = in_force(session)
    return PLAIN if text is None else Outcome.of(text, flag)


def _with_changes(session: Session, text: str | None) -> str | None:
    if text is None:
        return None
    for flag in Flag:
        made = pending_changes.pending(session, flag)
        if made is not None:
            text = document.put_at(text, flag, made.percentage, made.enabled)
    return text


class Keeper:
    """Writes what is new. `author` asks Unleash who did it; it is called outside any transaction."""

    def __init__(self, author: Callable[[Flag], Author]) -> None:
        self._author = author
        self._older_since: float | None = None

    def keep(self, text: str) -> bool:
        """Whether what is kept is this by now; otherwise, and where it raises the database's error, come again."""
        with read() as session:
            before = session.get(KeptRow, SOURCE)
        if not self._is_news(before, text):
            return self._older_since is None
        was = None if before is None else before.state_json
        moved = [flag for flag in Flag if _words(was, flag) != _words(text, flag)]
        authors = {flag: self._author(flag) for flag in moved}
        standing = {flag: rollout(text, flag) for flag in Flag}
        with write() as session:
            embedded.lock(session)
            held = _with_changes(session, was)
            if not _replace(session, before, text):
                return False  # another worker was first, and tells; whether of this or of something else shows then
            unfinished(session)
            for flag in moved:
                _mirror(session, flag, standing[flag], authors[flag])
            session.flush()
            _tell_where_new(session, held, moved)
        self._older_since = None
        return True

    def settle(self) -> None:
        """Unleash answers, so what was changed there and has not come back by now is not to come."""
        with write() as session:
            embedded.lock(session)
            held = in_force(session)
            gone = pending_changes.expire_made(session)
            after = in_force(session)
            if held is None or after is None or document.version(held) == document.version(after):
                return
            for row in gone:
                flag, made = Flag(row.flag), Rollout(row.enabled, row.percentage)
                reason = f"what {row.actor} set is not what Unleash says"[: embedded.MAX_REASON]
                now = rollout(after, flag)
                embedded.move(session, flag, now, "Unleash", reason)
                embedded.audited(session, flag, "Unleash", reason, made, now, action="rollout-seen")
            _tell_where_new(session, held, [Flag(row.flag) for row in gone])

    def _is_news(self, before: KeptRow | None, text: str) -> bool:
        if before is None:
            return True
        if document.revision(text) >= before.revision:
            self._older_since = None
            return document.version(text) != before.version or document.revision(text) > before.revision
        self._older_since = self._older_since or time.monotonic()
        return time.monotonic() - self._older_since >= SET_BACK_AFTER_S


def unfinished(session: Session) -> None:
    """Audits what a worker began and never said the end of, once it can no longer come; under `store.lock`."""
    for row in pending_changes.expire(session):
        flag, wanted = Flag(row.flag), Rollout(row.enabled, row.percentage)
        before, why = embedded.standing(session, flag).rollout, "Beacon ended before it knew whether this was done"
        embedded.audited(session, flag, row.actor, row.reason, before, wanted, failed=why)


def rollout(text: str, flag: Flag) -> Rollout:
    """Where the flag stands, without a percentage where no single number says it."""
    now = document.nominal(text, flag)
    return Rollout(now.enabled, now.percentage)


def _words(text: str | None, flag: Flag) -> str:
    return (Nominal(enabled=True, percentage=0) if text is None else document.nominal(text, flag)).words


def _replace(session: Session, before: KeptRow | None, text: str) -> bool:
    """Compare and set: False where somebody else has replaced it since it was read."""
    new = {
        "revision": document.revision(text),
        "version": document.version(text),
        "state_json": text,
    }
    now = session.get(KeptRow, SOURCE)
    if before is None or now is None:
        if now is None:
            session.add(KeptRow(source=SOURCE, **new, kept_at=utc_text()))
        return now is None
    if (now.revision, now.version) != (before.revision, before.version):
        return False
    if now.version != new["version"]:  # others of its flags change all day long
        now.kept_at = utc_text()
    for name, value in new.items():
        setattr(now, name, value)
    return True


def _mirror(session: Session, flag: Flag, now: Rollout, author: Author) -> None:
    """Where the flag stands now, and who put it there: Beacon for somebody, or somebody in Unleash."""
    ours = pending_changes.arrived(session, flag, now)
    standing, reason = embedded.standing(session, flag), "changed in Unleash"
    before = None if standing.actor is None else standing.rollout  # of what nobody has seen nobody knows where it was
    if ours is not None:
        # The moment that it has had since: whoever has looked at it meanwhile has seen this same change.
        embedded.move(session, flag, now, ours.actor, ours.reason, utc_text(datetime.fromtimestamp(ours.at, UTC)))
        if not ours.is_made and pending_changes.is_last(
            session, ours
        ):  # whoever makes it may have died; if not, it will see
            embedded.audited(session, flag, ours.actor, ours.reason, before, now)
        return
    pending_changes.overtaken(session, flag, author.at)
    embedded.move(session, flag, now, author.name, reason, author.at)
    embedded.audited(session, flag, author.name, reason, before, now, action="rollout-seen")


def _tell_where_new(session: Session, held: str | None, moved: Sequence[Flag]) -> None:
    """Unless what is in force is what was `held`: a change from Beacon was told when it was made."""
    now = in_force(session)
    if now is None or (held is not None and document.version(held) == document.version(now)):
        return
    for flag in Flag:
        _tell(session, flag, rollout(now, flag), alone=flag not in moved)


def _tell(session: Session, flag: Flag, now: Rollout, *, alone: bool) -> None:
    """`alone`: nothing but strategies that have no single percentage, constraints or segments changed."""
    standing, reason = embedded.reasoned(session, flag)
    who = standing.actor or "Unleash"
    who, why = ("Unleash", "its conditions changed in Unleash") if alone else (who, reason)
    embedded.told(session, flag, now, who, why, outcome(session, flag))
