"""Retries a write while the database is briefly unavailable, so that a known result is not lost."""

import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.commands.leases import LEASE_S
from app.db import DatabaseUnavailable

RETRY_INTERVAL_S = 0.2
# Database down, lock wait timeout, or connection pool exhausted: each is temporary.
TRANSIENT_ERRORS = (DatabaseUnavailable, OperationalError, InterfaceError, PoolTimeout)
T = TypeVar("T")


def retry_transient(record: Callable[[], T], within_s: float = LEASE_S) -> T:
    """Retry until `record` succeeds, for at most one lease: after that another runner has the command.

    `record` must be idempotent: a commit that failed with an error may have succeeded in the database.
    """
    ends = time.monotonic() + within_s
    while True:
        try:
            return record()
        except TRANSIENT_ERRORS:
            if time.monotonic() >= ends:
                raise
            time.sleep(RETRY_INTERVAL_S)
