"""Calls that may take longer than a few milliseconds run on a real thread, so that streams do not feel them."""

import sqlite3
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from gevent import get_hub
from gevent.monkey import is_module_patched


def call(function: Callable[..., Any], *args: Any) -> Any:
    """The result of `function`, computed on a native thread where this one is an event loop."""
    if is_module_patched("threading"):
        return get_hub().threadpool.apply(function, args)
    return function(*args)


def checkpoint(path: str) -> None:
    """Move SQLite's write-ahead log into the database file; never waits for readers or writers."""
    call(_checkpoint, path)


def _checkpoint(path: str) -> None:
    connection = sqlite3.connect(f"file:{quote(path)}?mode=rw", uri=True)
    try:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    finally:
        connection.close()
