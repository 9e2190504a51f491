"""Classifies errors of the database driver and explains them to the person who waits for a response."""

from typing import Literal, NamedTuple

from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    InternalError,
    NotSupportedError,
    ProgrammingError,
)

from app.db import DatabaseUnavailable, has_written

DatabaseState = Literal["read-only", "not migrated", "busy", "slow", "full", "damaged", "unreachable"]


# PostgreSQL has codes (appendix A of its manual), SQLite only messages.
_STATE_BY_SQLITE_TEXT: dict[str, DatabaseState] = {
    "readonly database": "read-only",
    "no such table": "not migrated",
    "no such column": "not migrated",
    "database is locked": "busy",
    "database's write lock": "busy",  # our own message in app/db.py
    "disk is full": "full",
    "disk i/o error": "damaged",
    "disk image is malformed": "damaged",
    "malformed database schema": "damaged",
    "is not a database": "damaged",
}
_STATE_BY_SQLSTATE: dict[str, DatabaseState] = {
    "25006": "read-only",  # read_only_sql_transaction
    "42P01": "not migrated",  # undefined_table
    "42703": "not migrated",  # undefined_column
    "55P03": "busy",  # lock_not_available: lock_timeout is over
    "40P01": "busy",  # deadlock_detected
    "40001": "busy",  # serialization_failure
    "53300": "busy",  # too_many_connections
    "57014": "slow",  # query_canceled: statement_timeout is over
    "53100": "full",  # disk_full
    "XX001": "damaged",  # data_corrupted
    "XX002": "damaged",  # index_corrupted
}


# A statement that is wrong, or values that do not fit, unless the message or the code says something else.
_STATEMENT_FAULTS = (ProgrammingError, InternalError, IntegrityError, DataError, NotSupportedError)


class DatabaseTrouble(NamedTuple):
    state: DatabaseState
    """One or two words, for readiness and logs."""
    detail: str
    """What is wrong and what to do. It says that nothing was changed only if that is certain."""


_SENTENCES: dict[DatabaseState, str] = {
    "read-only": "The database is read-only, like a standby or a copy. Reading still works.",
    "not migrated": "The database schema does not match this version. The operator has to run beacon migrate.",
    "busy": "The database is busy: waiting for a lock that another program holds. Try again in a few seconds.",
    "slow": "The database takes too long to respond. Try again in a few seconds.",
    "full": "The disk of the database is full. Reading still works; the operator has to free space.",
    "damaged": "The database cannot read or write its files. The operator has to check its disk and its log.",
    "unreachable": "Beacon cannot reach its database. Try again in a few seconds.",
}


def classify_error(error: BaseException) -> DatabaseTrouble:
    """Classify `error`. If the transaction never began and none before it wrote, nothing was changed; else unknown."""
    state = _classify_state(error)
    nothing = isinstance(error, DatabaseUnavailable) and not has_written()
    return DatabaseTrouble(state, f"{_SENTENCES[state]} Nothing was changed." if nothing else _SENTENCES[state])


def _classify_state(error: BaseException) -> DatabaseState:
    if isinstance(error, DatabaseUnavailable):
        error = error.__cause__ or error  # it has the driver's code
    told = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(told, "sqlstate", None)
    in_words = next((state for part, state in _STATE_BY_SQLITE_TEXT.items() if part in str(told).lower()), None)
    return _STATE_BY_SQLSTATE.get(code or "") or in_words or "unreachable"


def is_statement_fault(error: BaseException) -> bool:
    """True for an error in a SQL statement: a bug in Beacon, not a state of the database."""
    return isinstance(error, _STATEMENT_FAULTS) and _classify_state(error) == "unreachable"
