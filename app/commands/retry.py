"""What is known already is not forgotten because the database is away for a moment."""

import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.commands.leases import LEASE_S
from app.db import DatabaseUnavailable

AGAIN_S = 0.2
# The database is away, somebody holds a lock for too long, or no connection is free: each of them ends.
FLEETING = (DatabaseUnavailable, OperationalError, InterfaceError, PoolTimeout)
T = TypeVar("T")


def insist(record: Callable[[], T], within_s: float = LEASE_S) -> T:
    """Try until it is recorded. After a lease without the database another runner has the command anyway.

    `record` must do no harm when done twice: of a commit that broke off nobody knows whether it came through.
    """
    ends = time.monotonic() + within_s
    while True:
        try:
            return record()
        except FLEETING:
            if time.monotonic() >= ends:
                raise
            time.sleep(AGAIN_S)
