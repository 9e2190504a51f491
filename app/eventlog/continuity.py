"""Detects a restored older database: before a worker serves, after a lost connection and while it reads."""

import logging
from dataclasses import dataclass

from flask import Flask
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.config import Settings
from app.db import DatabaseUnavailable, read, write
from app.eventlog import generation
from app.eventlog import reader as log_read
from app.eventlog.generation import LogFingerprint
from app.eventlog.high_water_mark import HighWaterMark
from app.eventlog.reader import EventPage
from app.infra import database_errors

log = logging.getLogger(__name__)

# Gaps between ids within one generation come from rolled-back transactions.
MAX_ID_GAP = 1_000


class LogReplaced(Exception):
    """The log is not the one that was read before."""


@dataclass(frozen=True, slots=True)
class TailPosition:
    """Where to continue reading. `rewound_to` is set if the log no longer has what was read above it."""

    after: int
    rewound_to: int | None = None


class Continuity:
    """The tail calls `resume` to begin or continue and `check` after each read; `record_head` runs every second."""

    def __init__(self, app: Flask, settings: Settings) -> None:
        self._app, self._mark = app, HighWaterMark(settings)
        self._fingerprint: LogFingerprint | None = None
        self._is_suspect = False
        self._read_up_to: int | None = None

    def resume(self, cursor: int | None) -> TailPosition:
        """Return where to continue from `cursor`, or the head. Begins a new generation if the log was replaced."""
        with self._app.app_context():
            self._ensure_generation(cursor)
            before = self._fingerprint
            with read() as session:
                newest, head = generation.current_generation(session), log_read.head(session)
            self._fingerprint, self._is_suspect = LogFingerprint(newest.generation, head), False
            if cursor is None or before is None:
                return TailPosition(head)
            if newest.generation != before.generation:
                return TailPosition(newest.first_id - 1, min(newest.after_id, cursor - 1))
            return TailPosition(head, head) if head < cursor else TailPosition(cursor)

    def check(self, session: Session, cursor: int, page: EventPage) -> None:
        """Raise `LogReplaced` if this page after `cursor` comes from another log."""
        self._read_up_to = page.cursor
        if self._is_suspect:
            raise LogReplaced("an older database was restored, and has grown since")
        if page.events and page.cursor - cursor <= MAX_ID_GAP + len(page.events):
            return
        bounds, known = log_read.bounds(session), self._fingerprint
        if known is not None and (bounds.generation != known.generation or bounds.head < cursor):
            raise LogReplaced("an older database was restored")

    def record_head(self) -> None:
        """Record the highest id that has been handed out, unless the log was replaced.

        The tail reads at least once a second: as long as it finds nothing new, there is nothing to ask the database.
        """
        if self._fingerprint is not None and self._fingerprint.head == self._read_up_to:
            return
        known = self._fingerprint
        with self._app.app_context(), read() as session:
            if known is None or known.head == log_read.head(session):
                return
            current = generation.take_fingerprint(session)
            # Only the tail may go over to a generation that another worker began: it has to rewind its readers.
            is_replaced = current.generation != known.generation or generation.is_replaced(session, known)
        if self._fingerprint is not known:
            return  # the tail has resumed meanwhile
        if is_replaced:
            self._is_suspect = True
            return
        self._fingerprint = current
        self._write_mark(current)

    def _ensure_generation(self, cursor: int | None) -> None:
        with read() as session:
            is_first = (
                generation.current_generation(session).place is None
                and generation.database_identity(session) is not None
            )
            if not is_first and not _is_replaced(session, self._known_fingerprints(cursor)):
                return
        try:
            with write() as session:
                self._begin_generation(session, cursor)
        except (DBAPIError, DatabaseUnavailable) as error:
            if database_errors.classify_error(error).state != "read-only":
                raise
            log.warning("the event log may have been replaced, but the database is read-only: no new generation begun")

    def _begin_generation(self, session: Session, cursor: int | None) -> None:
        handed_out = self._known_fingerprints(cursor)
        if _is_replaced(session, handed_out):
            highest = max((one.head for one in handed_out), default=0)
            made = generation.begin_generation(session, highest)
            log.warning(
                "an older database was restored: the log ends at id %s, highest id handed out=%s; "
                "generation=%s begins at id %s, and every older cursor gets one reset",
                made.after_id,
                highest or "unknown",
                made.generation,
                made.first_id,
            )
        else:
            generation.current_generation(session).place = generation.database_identity(session)
        session.flush()
        # Before the commit, so that the next reader finds both or neither.
        self._write_mark(generation.take_fingerprint(session))

    def _known_fingerprints(self, cursor: int | None) -> list[LogFingerprint]:
        """All fingerprints known to this worker; the log must match each of them."""
        found = [one for one in (self._fingerprint, self._mark.read()) if one is not None]
        if self._fingerprint is not None and cursor is not None:
            found.append(LogFingerprint(self._fingerprint.generation, cursor))
        return found

    def _write_mark(self, known: LogFingerprint) -> None:
        try:
            self._mark.write(known)
        except OSError as error:
            log.error("cannot write the log's high-water mark: head=%s: %s", known.head, error)


def _is_replaced(session: Session, handed_out: list[LogFingerprint]) -> bool:
    if not handed_out:
        return generation.is_replaced(session, None)
    return any(generation.is_replaced(session, known) for known in handed_out)
