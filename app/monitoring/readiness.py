"""Checks in the background whether the database answers and accepts writes; `/readyz` waits a second at most."""

import logging
import threading
import time
from collections.abc import Callable

import sqlalchemy as sa
from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from app.db import DatabaseUnavailable, read, write
from app.infra import database_errors, schema_version
from app.monitoring.models import WriteProbe

log = logging.getLogger(__name__)

MAX_WAIT_S = 1.0
# How long a result is reused, so that many simultaneous requests cost one check.
READ_RESULT_VALID_S = 1.0
# A write costs a disk flush, so its result is reused for longer.
WRITE_RESULT_VALID_S = 5.0
# Two pages of SQLite.
FILLER = "." * 8_192
NO_ANSWER = "no answer"


class BackgroundCheck:
    """A check that runs on at most one background thread at a time. `state` is its last result."""

    def __init__(self, look: Callable[[], str], good_for_s: float) -> None:
        self._look, self._good_for_s = look, good_for_s
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._ended_at = float("-inf")
        self._thread: threading.Thread | None = None
        self.state = NO_ANSWER

    def start_if_stale(self) -> None:
        """Start the check unless it is running or its last result is still valid."""
        with self._lock:
            good_for_s = self._good_for_s if self.state == "ok" else READ_RESULT_VALID_S
            if self._thread is not None or time.monotonic() - self._ended_at < good_for_s:
                return
            self._ended.clear()
            self._thread = threading.Thread(target=self._run, name="readiness", daemon=True)
            self._thread.start()

    def wait_until_done(self, within_s: float) -> bool:
        return self._ended.wait(within_s)

    def _run(self) -> None:
        try:
            self.state = self._look()
        except (SQLAlchemyError, DatabaseUnavailable) as error:
            self.state = database_errors.classify_error(error).state
        except Exception:
            self.state = NO_ANSWER  # an earlier "ok" must not outlive a check that cannot be made
            log.exception("unexpected exception in the check of the database")
        finally:
            with self._lock:
                self._ended_at, self._thread = time.monotonic(), None
                self._ended.set()


class Readiness:
    """The state of the database that `/readyz` reports."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._reading = BackgroundCheck(self._read, READ_RESULT_VALID_S)
        self._writing = BackgroundCheck(self._write, WRITE_RESULT_VALID_S)

    def database_state(self) -> str:
        self._reading.start_if_stale()
        if not self._reading.wait_until_done(MAX_WAIT_S):
            return NO_ANSWER
        if self._reading.state != "ok":
            return self._reading.state
        self._writing.start_if_stale()
        # A slow write keeps the last result. Until the first one is done there is none, and reading proves nothing.
        self._writing.wait_until_done(MAX_WAIT_S)
        return self._writing.state

    def _read(self) -> str:
        """Check migrations and, on PostgreSQL, read-only mode: a standby answers reads but takes no writes."""
        with self._app.app_context(), read() as session:
            if schema_version.find_schema_problem(session) is not None:
                return "not migrated"
            if session.get_bind().dialect.name == "postgresql":
                read_only = session.scalar(sa.text("SHOW transaction_read_only")) == "on"
                return "read-only" if read_only else "ok"
        return "ok"

    def _write(self) -> str:
        """Commit a real row, because missing space and missing rights show only then."""
        with self._app.app_context(), write() as session:
            written = session.execute(sa.insert(WriteProbe).values(filler=FILLER).returning(WriteProbe.id)).scalar_one()
            session.execute(sa.delete(WriteProbe).where(WriteProbe.id < written))
        return "ok"
