"""Connections to PostgreSQL on which every wait ends.

A path that drops packets and a server that is frozen both answer nothing, and neither closes anything. The kernel's
timeouts see the first of them, `statement_timeout` neither; so the client itself stops waiting, too. Import this module
only where the database is a PostgreSQL: psycopg is a tenth of all that a server on SQLite would import.
"""

from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen

CONNECT_TIMEOUT_S = 3
# The server ends a statement itself, which keeps the connection; the client waits a little longer than that.
STATEMENT_TIMEOUT_S = 5
CLIENT_GRACE_S = 1.0
RESPONSE_TIMEOUT_S = STATEMENT_TIMEOUT_S + CLIENT_GRACE_S
LOCK_TIMEOUT_S = 2
IDLE_IN_TRANSACTION_TIMEOUT_S = 10
_CHECK_INTERVAL_S = 0.1

# Bytes that nobody acknowledges, and a peer that is silent while nobody sends.
_CONNECTION_DEFAULTS = {
    "connect_timeout": CONNECT_TIMEOUT_S,
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 5_000,
    "application_name": "beacon",
}
_SESSION_SQL = "; ".join(
    (
        f"SET lock_timeout = '{LOCK_TIMEOUT_S}s'",
        f"SET statement_timeout = '{STATEMENT_TIMEOUT_S}s'",
        "SET TIME ZONE 'UTC'",
        # A worker that was frozen in a transaction would otherwise hold its locks, and all writers, until it thaws.
        f"SET idle_in_transaction_session_timeout = '{IDLE_IN_TRANSACTION_TIMEOUT_S}s'",
    )
)

T = TypeVar("T")


class NoResponse(psycopg.OperationalError):
    """The server did not answer in time. What was under way may have been done or not."""


class Connection(psycopg.Connection[Any]):
    """Closes itself after `response_timeout_s` without a response: a late one would be taken for another statement's."""

    response_timeout_s: float | None = RESPONSE_TIMEOUT_S

    def wait(self, gen: PQGen[T], interval: float = _CHECK_INTERVAL_S, timeout: float | None = None) -> T:
        if timeout is not None:  # whoever waits for notifications says how long, and gets none
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, self.response_timeout_s)
        except psycopg.errors._WaitTimeout as error:
            self.pgconn.finish()
            raise NoResponse(f"the database gave no answer within {self.response_timeout_s:g} s") from error


def connect(conninfo: str = "", **parameters: Any) -> Connection:
    """Like `psycopg.connect`; what the database's address itself sets is kept."""
    named = {name: value for name, value in parameters.items() if name not in ("autocommit", "context")}
    chosen = psycopg.conninfo.conninfo_to_dict(conninfo, **named)
    bounds: dict[str, Any] = {name: value for name, value in _CONNECTION_DEFAULTS.items() if name not in chosen}
    return Connection.connect(conninfo, **parameters, **bounds)


def prepare_session(connection: Connection) -> None:
    """What the server bounds of each session."""
    connection.execute(_SESSION_SQL.encode())
    connection.commit()


def set_statement_timeout(connection: Connection, seconds: float | None) -> None:
    """The statements of this transaction may take so long, or as long as they want; `restore` ends that."""
    connection.execute(f"SET LOCAL statement_timeout = {int((seconds or 0) * 1_000)}".encode())
    connection.response_timeout_s = None if seconds is None else seconds + CLIENT_GRACE_S


def reset_timeout(connection: Connection | None) -> None:
    """Where it goes back to the pool; None is one that was given up."""
    if connection is not None:
        connection.response_timeout_s = RESPONSE_TIMEOUT_S
