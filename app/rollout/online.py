"""Who is online: streams, as their workers say, and polls, of which each worker keeps the names for a minute."""

import threading
import time
from collections.abc import Callable

import sqlalchemy as sa
from flask import Flask, current_app
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.db import db, now_epoch, read, write
from app.rollout.models import PollingRow

ONLINE_S = 60.0
FLUSH_EVERY_S = 5.0
# Beyond these names a worker forgets whom it has not written yet: a preview may then miss some who poll.
MAX_NAMES = 10_000

StreamingNow = Callable[[Session], set[str]]


class Online:
    """One worker's. `note_poll` is called by every poll: it touches memory alone."""

    def __init__(self, app: Flask, streaming_now: StreamingNow) -> None:
        self._app, self._streaming_now = app, streaming_now
        self._polled: set[str] = set()
        self._written: dict[str, float] = {}
        self._lock = threading.Lock()

    def note_poll(self, user: str) -> None:
        if len(self._polled) < MAX_NAMES:
            self._polled.add(user)

    def flush(self) -> None:
        """About every five seconds: whoever polled, at most four times a minute each. Raises the database's error."""
        with self._lock:
            polled, self._polled = self._polled, set()
            now = time.monotonic()
            self._written = {user: at for user, at in self._written.items() if now - at < ONLINE_S / 4}
            due = sorted(polled - self._written.keys())
            if not due:
                return
            with self._app.app_context(), write() as session:
                _save(session, due)
            self._written |= dict.fromkeys(due, now)

    def streaming(self, session: Session) -> set[str]:
        return self._streaming_now(session)

    def everybody(self) -> set[str]:
        """Whoever streams, or polled within the last minute; hold no connection meanwhile."""
        self.flush()
        with read() as session:  # a look of its own: an older one would not see what was just written
            young = PollingRow.seen > now_epoch() - ONLINE_S
            return self.streaming(session) | set(session.scalars(sa.select(PollingRow.user).where(young)))


def online() -> Online:
    """Of the current application."""
    found: Online = current_app.extensions["beacon_online"]
    return found


def _save(session: Session, users: list[str]) -> None:
    dialect = sqlite if db.engine.dialect.name == "sqlite" else postgresql
    now = session.scalar(sa.select(now_epoch())) or 0.0
    # Sorted, so that two workers never wait for each other's rows.
    insert = dialect.insert(PollingRow)
    upsert = insert.on_conflict_do_update(index_elements=["user"], set_={"seen": insert.excluded.seen})
    session.execute(upsert, [{"user": user, "seen": now} for user in users])
    session.execute(sa.delete(PollingRow).where(PollingRow.seen < now - 2 * ONLINE_S))
