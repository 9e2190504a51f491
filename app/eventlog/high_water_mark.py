"""Stores the highest id handed out in a file outside the database, which a restored backup does not replace."""

import json
import os
from hashlib import sha256
from pathlib import Path

from app.config import Settings
from app.eventlog.generation import LogFingerprint


class HighWaterMark:
    """One small file, written in place; an unreadable one counts as missing."""

    def __init__(self, settings: Settings) -> None:
        if settings.is_sqlite:
            self._path = Path(settings.database_url.removeprefix("sqlite:///") + "-mark")
        else:
            name = sha256(settings.database_url.encode()).hexdigest()[:12]
            self._path = settings.instance_dir / f"log-{name}-mark"

    def read(self) -> LogFingerprint | None:
        try:
            found = json.loads(self._path.read_text())
            return LogFingerprint(str(found["generation"]), int(found["head"]), str(found["digest"]))
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def write(self, known: LogFingerprint) -> None:
        """Write the mark, but never lower it within a generation: another worker may have handed out more."""
        before = self.read()
        if before is not None and before.generation == known.generation and before.head >= known.head:
            return
        text = json.dumps({"generation": known.generation, "head": known.head, "digest": known.digest})
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.pwrite(descriptor, text.ljust(120).encode(), 0)
        finally:
            os.close(descriptor)
