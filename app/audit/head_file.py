"""The head of the chain, kept in a file of the host's: who cuts off the newest entries, makes the chain anew or empties
the table in the database leaves this behind.

Every worker keeps it, a few seconds after an entry; a lock lets one write at a time. A head is replaced only by a later
one of the same chain: as long as the log does not hold what is kept, the file stays as it is and says so.
"""

import fcntl
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask import Flask, current_app
from sqlalchemy.orm import Session

from app.audit import chain
from app.audit.models import AuditRow
from app.config import Settings
from app.db import read
from app.infra import concurrency
from app.infra.clock import utc_text

log = logging.getLogger(__name__)

# Heads that an operator has replaced stay in the file, the newest so many.
MAX_REPLACED = 20
# So often the log is told that it does not hold what is kept.
REPEAT_S = 600.0
ADVICE = "run beacon audit verify; once you know why, beacon audit accept-head"


class Unreadable(Exception):
    """The file cannot be read or written; the text names it and says why."""


@dataclass(frozen=True, slots=True)
class KeptHead:
    """The entry `seq` had this hash `at` that time; `file` says where that is kept."""

    seq: int
    hash: str
    at: str
    file: str = ""

    @property
    def words(self) -> str:
        when = f"{self.at[:10]} {self.at[11:19]} UTC"
        return f"the head kept in {self.file}, entry {self.seq:,} of {when}"


class HeadFile:
    """One file for the databases of this host, each under its own name. Every method may wait for the disk."""

    def __init__(self, path: Path, database: str) -> None:
        self.path, self._database = path, database

    def read(self) -> KeptHead | None:
        """Raises `Unreadable`."""
        kept = self._all().get(self._database, {}).get("head")
        return None if kept is None else self._head(kept)

    def replace(self, before: KeptHead | None, now: KeptHead, replaced: str | None = None) -> bool:
        """Keep `now`, unless the file says something else than `before` by now, or somebody else writes it just now.

        `replaced`: why `before` is given up.
        """
        with self._locked() as is_mine:
            if not is_mine or self.read() != before:
                return False
            every = self._all()
            mine = every.setdefault(self._database, {})
            if replaced is not None and before is not None:
                gone = {**_plain(before), "until": now.at, "why": replaced}
                mine["replaced"] = [*mine.get("replaced", []), gone][-MAX_REPLACED:]
            mine["head"] = _plain(now)
            self._write(json.dumps(every, indent=1) + "\n")
        return True

    def _all(self) -> dict[str, Any]:
        try:
            found = json.loads(self.path.read_text())
            if not isinstance(found, dict) or not all(isinstance(one, dict) for one in found.values()):
                raise ValueError("it holds no heads")
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            raise Unreadable(f"{self.path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
        return found

    def _head(self, kept: Any) -> KeptHead:
        try:
            return KeptHead(int(kept["seq"]), str(kept["hash"]), str(kept["at"]), str(self.path))
        except (TypeError, ValueError, LookupError):
            raise Unreadable(f"{self.path} cannot be read: it holds no heads") from None

    @contextmanager
    def _locked(self) -> Iterator[bool]:
        """Whether the lock is ours. Nobody waits for it: a process that was stopped may hold it for hours."""
        try:
            with open(self.path.with_name(self.path.name + ".lock"), "w", opener=_private) as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    yield False
                    return
                yield True
        except OSError as error:
            raise Unreadable(f"{self.path} cannot be written: {error.strerror}") from None

    def _write(self, text: str) -> None:
        """Whole or not at all, also where the machine loses its power meanwhile."""
        number, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}-")
        try:
            with os.fdopen(number, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path)
        except BaseException:
            Path(name).unlink()
            raise
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class HeadKeeper:
    """Brings the file up to the log, off the event loop."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self.file = HeadFile(settings.audit_head_path, settings.database_name)
        self._seen = chain.Head(0, chain.FIRST, "")
        self._clock, self._complained_at = clock, float("-inf")

    def kept(self) -> KeptHead | None:
        """Raises `Unreadable`."""
        found: KeptHead | None = concurrency.run_in_thread(self.file.read)
        return found

    def keep(self) -> None:
        """The head as it is now. Needs an app context; never raises for the file's sake, but says so in the log."""
        try:
            self._keep()
        except Unreadable as error:
            self._complain(
                f"the head of the audit is not kept: {error}; mend the file or name another one in "
                "BEACON_AUDIT_HEAD_FILE"
            )

    def accept(self, why: str) -> KeptHead:
        """Keep the head as it is now, whatever was kept. Raises `Unreadable`."""
        with read() as session:
            now = self._of(chain.head(session))
        before = self.kept()
        if not concurrency.run_in_thread(self.file.replace, before, now, why):
            raise Unreadable(f"{self.file.path} was changed just now; try again")
        return now

    def _keep(self) -> None:
        with read() as session:
            head = chain.head(session)
        if head == self._seen and head.seq:
            return
        before = self.kept()
        if before is not None:
            with read() as session:
                wrong = contradiction(session, before)
            if wrong is not None:
                self._complain(f"the audit does not hold {before.words}: {wrong}; {ADVICE}")
                return
        if (0 if before is None else before.seq) < head.seq:
            concurrency.run_in_thread(self.file.replace, before, self._of(head))
        self._seen = head

    def _of(self, head: chain.Head) -> KeptHead:
        return KeptHead(head.seq, head.hash, utc_text(), str(self.file.path))

    def _complain(self, words: str) -> None:
        if self._clock() - self._complained_at >= REPEAT_S:
            self._complained_at = self._clock()
            log.error("%s", words)


def keeper() -> HeadKeeper:
    """The one of the current application."""
    return keeper_of(current_app)


def keeper_of(app: Flask) -> HeadKeeper:
    found: HeadKeeper = app.extensions["beacon_head_keeper"]
    return found


def contradiction(session: Session, kept: KeptHead) -> str | None:
    """Why this log is not the one that had this head; a quick look, which reads no chain."""
    if kept.seq == 0:
        return None
    hash_ = session.scalar(sa.select(AuditRow.hash).where(AuditRow.seq == kept.seq))
    if hash_ == kept.hash:
        return None
    head = chain.head(session)
    if head.seq < kept.seq:
        return f"it ends at entry {head.seq:,}, so the log was restored or cut"
    if hash_ is None:
        return "that entry has gone under a checkpoint, so nobody can tell"
    return "that entry has another hash, so the log was made anew, or restored and written on"


def _plain(head: KeptHead) -> dict[str, Any]:
    return {name: value for name, value in asdict(replace(head, file="")).items() if name != "file"}


def _private(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)
