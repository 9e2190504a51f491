"""What an error of the database's driver means to somebody who waits for an answer."""

from typing import Literal, NamedTuple

from sqlalchemy.exc import DBAPIError, InternalError, ProgrammingError

from app.db import DatabaseUnavailable

State = Literal["read-only", "not migrated", "busy", "full", "unreachable"]


# PostgreSQL's codes (appendix A of its manual); SQLite has sentences only.
_READ_ONLY, _UNKNOWN_TABLE, _UNKNOWN_COLUMN, _LOCKED = "25006", "42P01", "42703", "55P03"
_IN_SQLITE: dict[str, State] = {
    "readonly database": "read-only",
    "no such table": "not migrated",
    "no such column": "not migrated",
    "database is locked": "busy",
    "database's write lock": "busy",  # our own words, in app/db.py
    "disk is full": "full",
}
_BY_CODE: dict[str, State] = {
    _READ_ONLY: "read-only",
    _UNKNOWN_TABLE: "not migrated",
    _UNKNOWN_COLUMN: "not migrated",
    _LOCKED: "busy",
}


class Trouble(NamedTuple):
    state: State
    """One or two words, for readiness and logs."""
    detail: str
    """What it is and what to do. Whether anything was changed is said only where it is known."""


_SENTENCES: dict[State, str] = {
    "read-only": "The database takes no writes just now, as a standby or a copy does. Reading goes on.",
    "not migrated": "The database is not of this version: whoever runs Beacon has to run beacon migrate.",
    "busy": "The database is busy: another program holds a lock that this has to wait for. Try again in a few seconds.",
    "full": "The disk of the database is full. Reading goes on; whoever runs Beacon has to make room.",
    "unreachable": "Beacon cannot reach its database just now. Try again in a few seconds.",
}


def of(error: BaseException) -> Trouble:
    """A transaction that never began has changed nothing; of every other one that is not known."""
    state = _state(error)
    began = not isinstance(error, DatabaseUnavailable)
    return Trouble(state, _SENTENCES[state] if began else f"{_SENTENCES[state]} Nothing was changed.")


def _state(error: BaseException) -> State:
    told = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(told, "sqlstate", None)
    in_words = next((state for part, state in _IN_SQLITE.items() if part in str(told)), None)
    return _BY_CODE.get(code or "") or in_words or "unreachable"


def is_ours(error: BaseException) -> bool:
    """A fault in a statement, which is a mistake in Beacon and no state of the database."""
    return isinstance(error, ProgrammingError | InternalError) and _state(error) == "unreachable"
