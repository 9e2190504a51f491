"""Who is online: streams, as their workers say, and polls, of which each worker keeps the names for a minute.

Pages and programs count alike: the stream of either ends when its user goes out, so either counts when they come in.
"""

import threading
import time
from collections.abc import Callable, Sequence

import sqlalchemy as sa
from flask import Flask, current_app
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.db import db, now_epoch, read, write
from app.flags.models import PollingRow

ONLINE_FOR_S = 60.0
POLLS_FLUSH_EVERY_S = 5.0
# Beyond these names a worker forgets whom it has not written yet: a preview may then miss some who poll.
MAX_BUFFERED_POLLS = 10_000

Poll = tuple[str, bool]
"""Whose, and whether with a token."""
StreamingNow = Callable[[Session], set[str]]


class OnlineUsers:
    """One worker's. `note_poll` is called by every poll: it touches memory alone."""

    def __init__(self, app: Flask, streaming_now: StreamingNow) -> None:
        self._app, self._streaming_now = app, streaming_now
        self._polled: set[Poll] = set()
        self._written: dict[Poll, float] = {}
        self._lock = threading.Lock()

    def note_poll(self, user: str, *, as_program: bool = False) -> None:
        if len(self._polled) < MAX_BUFFERED_POLLS:
            self._polled.add((user, as_program))

    def flush(self) -> None:
        """About every five seconds: whoever polled, at most four times a minute each. Raises the database's error."""
        with self._lock:
            polled, self._polled = self._polled, set()
            now = time.monotonic()
            self._written = {poll: at for poll, at in self._written.items() if now - at < ONLINE_FOR_S / 4}
            due = sorted(polled - self._written.keys())
            if not due:
                return
            with self._app.app_context(), write() as session:
                _save_polls(session, due)
            self._written |= dict.fromkeys(due, now)

    def list_streaming(self, session: Session) -> set[str]:
        return self._streaming_now(session)

    def list_all(self) -> set[str]:
        """Whoever streams, or polled within the last minute; hold no connection meanwhile."""
        self.flush()
        with read() as session:  # a look of its own: an older one would not see what was just written
            return (
                self.list_streaming(session)
                | load_polling_users(session, PollingRow.seen).keys()
                | load_polling_programs(session)
            )


def load_polling_users(session: Session, column: InstrumentedAttribute[float]) -> dict[str, float]:
    """Who polled within the last minute, and when they did last: as pages (`seen`), or as programs."""
    young = sa.select(PollingRow.user, column).where(column > now_epoch() - ONLINE_FOR_S)
    return {user: at for user, at in session.execute(young)}  # noqa: C416 -- dict() loses the types


def load_polling_programs(session: Session) -> set[str]:
    """Whoever polled with a token within the last minute."""
    return set(load_polling_users(session, PollingRow.program_seen))


def online_users() -> OnlineUsers:
    """Of the current application."""
    found: OnlineUsers = current_app.extensions["beacon_online"]
    return found


def _save_polls(session: Session, polls: Sequence[Poll]) -> None:
    dialect = sqlite if db.engine.dialect.name == "sqlite" else postgresql
    now = session.scalar(sa.select(now_epoch())) or 0.0
    insert = dialect.insert(PollingRow)
    for as_program, column in ((False, "seen"), (True, "program_seen")):
        # Sorted, so that two workers never wait for each other's rows.
        users = sorted(user for user, is_program in polls if is_program == as_program)
        upsert = insert.on_conflict_do_update(index_elements=["user"], set_={column: insert.excluded[column]})
        if users:
            session.execute(upsert, [{"user": user, "seen": 0.0, "program_seen": 0.0, column: now} for user in users])
    old = now - 2 * ONLINE_FOR_S
    session.execute(sa.delete(PollingRow).where(PollingRow.seen < old, PollingRow.program_seen < old))
