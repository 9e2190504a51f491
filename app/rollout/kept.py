"""What Unleash sent last, kept for restarts; what it changed is told to everybody, once in the whole deployment.

Every worker asks Unleash, and whoever sees something new first writes it down: the newest row is the configuration of
the deployment, and the event beside it makes every worker load that. So a worker that lags takes nobody back.
All of it runs inside the application's context.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from app.clock import utc_text
from app.db import read, write
from app.rollout import configuration, intents, store
from app.rollout.configuration import Flag, Nominal, Rollout
from app.rollout.flags import evaluator
from app.rollout.models import KeptRow

SOURCE = "unleash"
# An older revision than the kept one is a worker that lags, or an Unleash that was set back: nobody lags so long.
SET_BACK_AFTER_S = 10.0
# Their share is told where the strategies have no single percentage.
SAMPLE = [f"sample-{number}" for number in range(1_000)]


@dataclass(frozen=True, slots=True)
class Author:
    """Who changed a flag in Unleash, and when, as far as that can be read."""

    name: str
    at: str | None = None


def newest(session: Session) -> str | None:
    """What the deployment holds, or should."""
    row = session.get(KeptRow, SOURCE)
    return None if row is None else row.state_json


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
            store.lock(session)
            if not _replace(session, before, text):
                return False  # another worker was first, and tells; whether of this or of something else shows then
            unfinished(session)
            for flag in moved:
                _mirror(session, flag, standing[flag], authors[flag])
            if was is None or configuration.version(was) != configuration.version(text):
                for flag in Flag:
                    _tell(session, flag, standing[flag], alone=flag not in moved)
        self._older_since = None
        return True

    def _is_news(self, before: KeptRow | None, text: str) -> bool:
        if before is None:
            return True
        if configuration.revision(text) >= before.revision:
            self._older_since = None
            return configuration.version(text) != before.version or configuration.revision(text) > before.revision
        self._older_since = self._older_since or time.monotonic()
        return time.monotonic() - self._older_since >= SET_BACK_AFTER_S


def unfinished(session: Session) -> None:
    """Audits what a worker began and never said the end of, once it can no longer come; under `store.lock`."""
    for row in intents.expire(session):
        flag, wanted = Flag(row.flag), Rollout(row.enabled, row.percentage)
        before, why = store.standing(session, flag).rollout, "Beacon ended before it knew whether this was done"
        store.audited(session, flag, row.actor, row.reason, before, wanted, failed=why)


def rollout(text: str, flag: Flag) -> Rollout:
    """Where the flag stands; where no number says it, the share of a sample that is in while it is on: a kill switch
    keeps it."""
    now = configuration.nominal(text, flag)
    if now.percentage is not None:
        return Rollout(now.enabled, now.percentage)
    ask = evaluator(configuration.put_at(text, flag, None, enabled=True))
    return Rollout(now.enabled, round(100 * sum(ask(flag, user) for user in SAMPLE) / len(SAMPLE)))


def _words(text: str | None, flag: Flag) -> str:
    return (Nominal(enabled=True, percentage=0) if text is None else configuration.nominal(text, flag)).words


def _replace(session: Session, before: KeptRow | None, text: str) -> bool:
    """Compare and set: False where somebody else has replaced it since it was read."""
    new = {
        "revision": configuration.revision(text),
        "version": configuration.version(text),
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
    ours = intents.arrived(session, flag, now)
    before, reason = store.standing(session, flag).rollout, "changed in Unleash"
    if ours is not None:
        # The moment that it has had since: whoever has looked at it meanwhile has seen this same change.
        store.move(session, flag, now, ours.actor, ours.reason, utc_text(datetime.fromtimestamp(ours.at, UTC)))
        if not ours.is_made and intents.is_last(session, ours):  # whoever makes it may have died; if not, it will see
            store.audited(session, flag, ours.actor, ours.reason, before, now)
        return
    intents.overtaken(session, flag, author.at)
    store.move(session, flag, now, author.name, reason, author.at)
    store.audited(session, flag, author.name, reason, before, now, action="rollout-seen")


def _tell(session: Session, flag: Flag, now: Rollout, *, alone: bool) -> None:
    """`alone`: nothing but strategies that have no single percentage, constraints or segments changed."""
    standing, reason = store.reasoned(session, flag)
    who = standing.actor or "Unleash"
    store.told(
        session, flag, now, "Unleash" if alone else who, "its conditions changed in Unleash" if alone else reason
    )
