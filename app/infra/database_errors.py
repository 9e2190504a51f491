"""What an error of the database's driver means to somebody who waits for an answer."""

from typing import Literal, NamedTuple

from sqlalchemy.exc import DBAPIError, InternalError, ProgrammingError

from app.db import DatabaseUnavailable, has_written

DatabaseState = Literal["read-only", "not migrated", "busy", "slow", "full", "damaged", "unreachable"]


# PostgreSQL's codes (appendix A of its manual); SQLite has sentences only.
_STATE_BY_SQLITE_TEXT: dict[str, DatabaseState] = {
    "readonly database": "read-only",
    "no such table": "not migrated",
    "no such column": "not migrated",
    "database is locked": "busy",
    "database's write lock": "busy",  # our own words, in app/db.py
    "disk is full": "full",
    "disk i/o error": "damaged",
    "disk image is malformed": "damaged",
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


class DatabaseTrouble(NamedTuple):
    state: DatabaseState
    """One or two words, for readiness and logs."""
    detail: str
    """What it is and what to do. Whether anything was changed is said only where it is known."""


_SENTENCES: dict[DatabaseState, str] = {
    "read-only": "The database takes no writes just now, as a standby or a copy does. Reading goes on.",
    "not migrated": "The database is not of this version: whoever runs Beacon has to run beacon migrate.",
    "busy": "The database is busy: waiting for a lock that another program holds. Try again in a few seconds.",
    "slow": "The database takes too long to answer just now. Try again in a few seconds.",
    "full": "The disk of the database is full. Reading goes on; whoever runs Beacon has to make room.",
    "damaged": "The database cannot read or write its files: whoever runs Beacon has to look at its disk and log.",
    "unreachable": "Beacon cannot reach its database just now. Try again in a few seconds.",
}


def classify_error(error: BaseException) -> DatabaseTrouble:
    """A transaction that never began has changed nothing, unless one before it has. Of others that is not known."""
    state = _classify_state(error)
    nothing = isinstance(error, DatabaseUnavailable) and not has_written()
    return DatabaseTrouble(state, f"{_SENTENCES[state]} Nothing was changed." if nothing else _SENTENCES[state])


def _classify_state(error: BaseException) -> DatabaseState:
    told = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(told, "sqlstate", None)
    in_words = next((state for part, state in _STATE_BY_SQLITE_TEXT.items() if part in str(told).lower()), None)
    return _STATE_BY_SQLSTATE.get(code or "") or in_words or "unreachable"


def is_statement_fault(error: BaseException) -> bool:
    """A fault in a statement, which is a mistake in Beacon and no state of the database."""
    return isinstance(error, ProgrammingError | InternalError) and _classify_state(error) == "unreachable"
