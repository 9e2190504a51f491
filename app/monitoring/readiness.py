"""Whether the database answers and takes writes, found out beside the requests: `/readyz` waits a second, no longer."""

import threading
import time
from collections.abc import Callable

import sqlalchemy as sa
from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from app.db import DatabaseUnavailable, read, write
from app.infra import database_errors, schema_version
from app.monitoring.models import WriteProbe

ANSWER_S = 1.0
# What a look has found is good for so long, so that many who ask together cost one look.
GOOD_FOR_S = 1.0
# Writing costs a flush of the disk. A lock that somebody else holds is waited for meanwhile, as every write does.
WRITE_GOOD_FOR_S = 5.0
# Two pages of SQLite.
FILLER = "." * 8_192
NO_ANSWER = "no answer"


class Look:
    """One look at a thing, by at most one thread at a time. `state` is what it found last."""

    def __init__(self, look: Callable[[], str], good_for_s: float) -> None:
        self._look, self._good_for_s = look, good_for_s
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._ended_at = float("-inf")
        self._thread: threading.Thread | None = None
        self.state = NO_ANSWER

    def begin(self) -> None:
        """Unless one is under way, or the last one is recent."""
        with self._lock:
            good_for_s = self._good_for_s if self.state == "ok" else GOOD_FOR_S
            if self._thread is not None or time.monotonic() - self._ended_at < good_for_s:
                return
            self._ended.clear()
            self._thread = threading.Thread(target=self._run, name="readiness", daemon=True)
            self._thread.start()

    def has_ended(self, within_s: float) -> bool:
        return self._ended.wait(within_s)

    def _run(self) -> None:
        try:
            self.state = self._look()
        except (SQLAlchemyError, DatabaseUnavailable) as error:
            self.state = database_errors.classify_error(error).state
        finally:
            with self._lock:
                self._ended_at, self._thread = time.monotonic(), None
                self._ended.set()


class Readiness:
    """What `/readyz` says of the database."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._reading = Look(self._read, GOOD_FOR_S)
        self._writing = Look(self._write, WRITE_GOOD_FOR_S)

    def database(self) -> str:
        self._reading.begin()
        if not self._reading.has_ended(ANSWER_S):
            return NO_ANSWER
        if self._reading.state != "ok":
            return self._reading.state
        self._writing.begin()
        # A write that waits is no news; the first one is waited for, because nothing is known without it.
        if not self._writing.has_ended(ANSWER_S) and self._writing.state == NO_ANSWER:
            return "ok"
        return self._writing.state

    def _read(self) -> str:
        """A standby answers every look, and takes nothing."""
        with self._app.app_context(), read() as session:
            if schema_version.find_schema_problem(session) is not None:
                return "not migrated"
            if session.get_bind().dialect.name == "postgresql":
                read_only = session.scalar(sa.text("SHOW transaction_read_only")) == "on"
                return "read-only" if read_only else "ok"
        return "ok"

    def _write(self) -> str:
        """Really committed: room and rights are missed only then."""
        with self._app.app_context(), write() as session:
            written = session.execute(sa.insert(WriteProbe).values(filler=FILLER).returning(WriteProbe.id)).scalar_one()
            session.execute(sa.delete(WriteProbe).where(WriteProbe.id < written))
        return "ok"
