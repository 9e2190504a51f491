"""Puts a written file in place of another so that a power cut leaves one of the two, whole."""

import os
from pathlib import Path


def move_into_place(written: Path, path: Path) -> None:
    """Rename `written` to `path`, in the same folder, after its content is on disk. Raises `OSError`."""
    _sync(written)
    written.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
