"""Backup files: which kind a file is, and how to write one so that a failure never leaves half a file."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from app.infra.durable_files import move_into_place

BackupKind = Literal["SQLite", "PostgreSQL"]
_MAGIC: dict[bytes, BackupKind] = {b"SQLite format 3\0": "SQLite", b"PGDMP": "PostgreSQL"}


class BackupError(Exception):
    """The backup or the restore cannot be made; the text says why and what to do."""


def read_kind(path: Path) -> BackupKind:
    """Return which database the backup is of. Raises `BackupError` for a file that is not a backup."""
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise BackupError(f"{path} cannot be read: {error.strerror}") from error
    found = next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), None)
    if found is None:
        raise BackupError(f"{path} is not a backup of Beacon: make one with beacon backup FILE")
    return found


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield a new file beside `path` that only its owner can read; at the end of the block it replaces `path`.

    If the block raises, the new file is removed. Raises `BackupError` if it cannot be written.
    """
    try:
        if path.exists() and not path.is_file():  # a device or a pipe, for which its name would be lost
            raise BackupError(f"{path} is no regular file; choose another place")
        # Not named by the process id: in a container each run has the same, and one that was killed leaves its file.
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.partial-")
    except OSError as error:
        raise BackupError(f"{path} cannot be written: {error.strerror}; choose another place") from error
    os.close(descriptor)
    partial = Path(name)
    try:
        yield partial
        move_into_place(partial, path)
    except OSError as error:
        raise BackupError(f"{path} cannot be written: {error.strerror}; free space, or choose another place") from error
    finally:
        partial.unlink(missing_ok=True)
