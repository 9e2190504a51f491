"""Tracks who is online: streaming users, as reported by the workers, and users who polled within a minute.

Pages and programs both count: the stream of either ends when a flag excludes its user, so a preview has to count both.
"""

import threading
import time
from collections.abc import Callable, Sequence

import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.components import components
from app.db import insert_into, now_epoch, read, write
from app.flags.models import PollingRow

ONLINE_FOR_S = 60.0
POLLS_FLUSH_EVERY_S = 5.0
# Limit of polls that a worker buffers before it writes them. Beyond it, a preview may miss polling users.
MAX_BUFFERED_POLLS = 10_000

Poll = tuple[str, bool]
"""The user, and whether they polled with a token."""
StreamingNow = Callable[[Session], set[str]]


class OnlineUsers:
    """The online users seen by one worker. `note_poll` is called by every poll and uses only memory."""

    def __init__(self, app: Flask, streaming_now: StreamingNow) -> None:
        self._app, self._streaming_now = app, streaming_now
        self._polled: set[Poll] = set()
        self._written: dict[Poll, float] = {}
        self._lock = threading.Lock()

    def note_poll(self, user: str, *, as_program: bool = False) -> None:
        if len(self._polled) < MAX_BUFFERED_POLLS:
            self._polled.add((user, as_program))

    def flush(self) -> None:
        """Write the polls; each user at most four times a minute. Raises the database's error."""
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
        """Everybody who streams or polled within the last minute. The caller must not hold a database connection."""
        self.flush()
        with read() as session:  # a new transaction: an older one would not see what was just written
            return (
                self.list_streaming(session)
                | load_polling_users(session, PollingRow.seen).keys()
                | load_polling_programs(session)
            )


def load_polling_users(session: Session, column: InstrumentedAttribute[float]) -> dict[str, float]:
    """Users who polled within the last minute, and when: as pages (`seen`) or as programs (`program_seen`)."""
    young = sa.select(PollingRow.user, column).where(column > now_epoch() - ONLINE_FOR_S)
    return {user: at for user, at in session.execute(young)}  # noqa: C416 -- dict() loses the types


def load_polling_programs(session: Session) -> set[str]:
    """Users who polled with a token within the last minute."""
    return set(load_polling_users(session, PollingRow.program_seen))


def online_users() -> OnlineUsers:
    """The online users of the current application."""
    return components().online_users


def _save_polls(session: Session, polls: Sequence[Poll]) -> None:
    now = session.scalar(sa.select(now_epoch())) or 0.0
    insert = insert_into(PollingRow)
    for as_program, column in ((False, "seen"), (True, "program_seen")):
        # Sorted, so that two workers cannot deadlock on each other's rows.
        users = sorted(user for user, is_program in polls if is_program == as_program)
        upsert = insert.on_conflict_do_update(index_elements=["user"], set_={column: insert.excluded[column]})
        if users:
            session.execute(upsert, [{"user": user, "seen": 0.0, "program_seen": 0.0, column: now} for user in users])
    old = now - 2 * ONLINE_FOR_S
    session.execute(sa.delete(PollingRow).where(PollingRow.seen < old, PollingRow.program_seen < old))
