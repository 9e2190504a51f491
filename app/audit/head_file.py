"""Keeps the head of the audit chain in a file on the host, outside the database.

The file reveals when somebody truncates the newest entries, rebuilds the chain or empties the table. Every worker
updates it a few seconds after an entry; a lock lets one write at a time. A head is replaced only by a later one of the
same chain: if the log does not contain the kept head, the file stays unchanged and an error is logged.
"""

import fcntl
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask import Flask, current_app
from sqlalchemy.orm import Session

from app.audit import chain
from app.audit.models import AuditRow
from app.components import components
from app.config import Settings
from app.db import read
from app.infra import concurrency
from app.infra.clock import utc_text
from app.infra.durable_files import move_into_place

log = logging.getLogger(__name__)

# The number of heads replaced by an operator that the file keeps, newest first to stay.
MAX_REPLACED_HEADS = 20
# Minimum time between two log lines about a mismatch.
COMPLAINT_INTERVAL_S = 600.0
MISMATCH_ADVICE = "run beacon audit verify; once you know why, beacon audit accept-head"


class HeadFileError(Exception):
    """The head file cannot be read or written; the text has its path and the reason."""


@dataclass(frozen=True, slots=True)
class KeptHead:
    """The entry `seq` had this hash at the time `at`. `file` is where this is recorded."""

    seq: int
    hash: str
    at: str
    file: str = ""

    @property
    def description(self) -> str:
        when = f"{self.at[:10]} {self.at[11:19]} UTC"
        return f"the head kept in {self.file}, entry {self.seq:,} of {when}"


class HeadFile:
    """One file with a head for each database of this host. Every method may block on the disk."""

    def __init__(self, path: Path, database: str) -> None:
        self.path, self._database = path, database

    def read(self) -> KeptHead | None:
        """Raises `HeadFileError`."""
        kept = self._all().get(self._database, {}).get("head")
        return None if kept is None else self._head(kept)

    def replace(self, before: KeptHead | None, now: KeptHead, replaced: str | None = None) -> bool:
        """Write `now`. False if the file no longer holds `before`, or if another process is writing it.

        `replaced` is an operator's reason for dropping `before`.
        """
        with self._locked() as is_mine:
            if not is_mine or self.read() != before:
                return False
            every = self._all()
            mine = every.setdefault(self._database, {})
            if replaced is not None and before is not None:
                gone = {**_head_to_json(before), "until": now.at, "why": replaced}
                mine["replaced"] = [*mine.get("replaced", []), gone][-MAX_REPLACED_HEADS:]
            mine["head"] = _head_to_json(now)
            self._write(json.dumps(every, indent=1) + "\n")
        return True

    def _all(self) -> dict[str, Any]:
        try:
            found = json.loads(self.path.read_text())
            if not isinstance(found, dict) or not all(isinstance(one, dict) for one in found.values()):
                raise ValueError("it is not a head file")
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            raise HeadFileError(f"{self.path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
        return found

    def _head(self, kept: Any) -> KeptHead:
        try:
            return KeptHead(int(kept["seq"]), str(kept["hash"]), str(kept["at"]), str(self.path))
        except (TypeError, ValueError, LookupError):
            raise HeadFileError(f"{self.path} cannot be read: it is not a head file") from None

    @contextmanager
    def _locked(self) -> Iterator[bool]:
        """Yield True if the lock was acquired. It is not waited for: a stopped process may hold it for hours."""
        try:
            with open(self.path.with_name(self.path.name + ".lock"), "w", opener=_open_private) as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    yield False
                    return
                yield True
        except OSError as error:
            raise HeadFileError(f"{self.path} cannot be written: {error.strerror}") from None

    def _write(self, text: str) -> None:
        """Replace the file atomically, also if the machine loses power."""
        number, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}-")
        try:
            with os.fdopen(number, "w") as file:
                file.write(text)
            move_into_place(Path(name), self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)  # gone if only the folder could not be flushed
            raise


class HeadKeeper:
    """Updates the head file from the log, off the event loop."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self.file = HeadFile(settings.audit_head_path, settings.database_name)
        self._seen = chain.Head(0, chain.GENESIS_HASH, "")
        self._clock, self._complained_at = clock, float("-inf")

    def read_kept(self) -> KeptHead | None:
        """The kept head, or None. Raises `HeadFileError`."""
        found: KeptHead | None = concurrency.run_in_thread(self.file.read)
        return found

    def update(self) -> None:
        """Write the current head to the file. Needs an app context. File errors are logged, not raised."""
        try:
            self._update()
        except HeadFileError as error:
            self._complain(
                f"the audit head cannot be stored: {error}; fix the file or set another one in BEACON_AUDIT_HEAD_FILE"
            )

    def accept(self, why: str) -> KeptHead:
        """Store the current head, whatever the file holds. Raises `HeadFileError`."""
        with read() as session:
            now = self._of(chain.read_head(session))
        before = self.read_kept()
        if not concurrency.run_in_thread(self.file.replace, before, now, why):
            raise HeadFileError(f"{self.file.path} was changed by another process; try again")
        return now

    def _update(self) -> None:
        with read() as session:
            head = chain.read_head(session)
        if head == self._seen and head.seq:
            return
        before = self.read_kept()
        if before is not None:
            with read() as session:
                wrong = find_contradiction(session, before)
            if wrong is not None:
                self._complain(f"the audit does not contain {before.description}: {wrong}; {MISMATCH_ADVICE}")
                return
        if (0 if before is None else before.seq) < head.seq:
            concurrency.run_in_thread(self.file.replace, before, self._of(head))
        self._seen = head

    def _of(self, head: chain.Head) -> KeptHead:
        return KeptHead(head.seq, head.hash, utc_text(), str(self.file.path))

    def _complain(self, words: str) -> None:
        if self._clock() - self._complained_at >= COMPLAINT_INTERVAL_S:
            self._complained_at = self._clock()
            log.error("%s", words)


def current_keeper() -> HeadKeeper:
    return get_keeper(current_app)


def get_keeper(app: Flask) -> HeadKeeper:
    return components(app).head_keeper


def find_contradiction(session: Session, kept: KeptHead) -> str | None:
    """The reason why this log does not contain the kept head, or None. Reads one entry, not the chain."""
    if kept.seq == 0:
        return None
    hash_ = session.scalar(sa.select(AuditRow.hash).where(AuditRow.seq == kept.seq))
    if hash_ == kept.hash:
        return None
    head = chain.read_head(session)
    if head.seq < kept.seq:
        return f"it ends at entry {head.seq:,}, so the log was restored or truncated"
    if hash_ is None:
        return "that entry was deleted under a checkpoint, so it cannot be compared"
    return "that entry has another hash, so the log was rebuilt, or restored and continued"


def _head_to_json(head: KeptHead) -> dict[str, Any]:
    return {"seq": head.seq, "hash": head.hash, "at": head.at}


def _open_private(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)
