"""Connections to PostgreSQL on which every wait has a time limit.

A path that drops packets and a frozen server both send no response and close nothing. The kernel's timeouts detect only
the first, `statement_timeout` neither, so the client stops waiting as well. Import this module only if the database is
PostgreSQL: psycopg would add a tenth to the imports of a server on SQLite.
"""

import select
from typing import Any, TypeVar

import psycopg
from gevent.monkey import get_original
from psycopg.abc import PQGen

CONNECT_TIMEOUT_S = 3
# The server cancels a statement itself, which keeps the connection. The client waits a little longer.
STATEMENT_TIMEOUT_S = 5
CLIENT_GRACE_S = 1.0
RESPONSE_TIMEOUT_S = STATEMENT_TIMEOUT_S + CLIENT_GRACE_S
LOCK_TIMEOUT_S = 2
IDLE_IN_TRANSACTION_TIMEOUT_S = 10
_CHECK_INTERVAL_S = 0.1

# Limits for bytes that are not acknowledged, and for a silent peer while nothing is sent.
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
        # A worker that is frozen in a transaction would otherwise block all writers until it continues.
        f"SET idle_in_transaction_session_timeout = '{IDLE_IN_TRANSACTION_TIMEOUT_S}s'",
    )
)

T = TypeVar("T")


class NoResponse(psycopg.OperationalError):
    """The server did not respond in time. The statement may or may not have been executed."""


class Connection(psycopg.Connection[Any]):
    """Closes itself after `response_timeout_s` without a response: a late one would be taken for another's."""

    response_timeout_s: float | None = RESPONSE_TIMEOUT_S

    def wait(self, gen: PQGen[T], interval: float = _CHECK_INTERVAL_S, timeout: float | None = None) -> T:
        if timeout is not None:  # a wait for notifications has its own time limit, and may get none
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, self.response_timeout_s)
        except psycopg.errors._WaitTimeout as error:
            self.pgconn.finish()
            raise NoResponse(f"the database did not respond within {self.response_timeout_s:g} s") from error


def connect(conninfo: str = "", **parameters: Any) -> Connection:
    """Like `psycopg.connect`, but with time limits, unless the database URL sets them itself.

    Takes an address as in `Settings.database_url` too, which names SQLAlchemy's driver.
    """
    conninfo = conninfo.replace("postgresql+psycopg://", "postgresql://", 1)
    named = {name: value for name, value in parameters.items() if name not in ("autocommit", "context")}
    chosen = psycopg.conninfo.conninfo_to_dict(conninfo, **named)
    bounds: dict[str, Any] = {name: value for name, value in _CONNECTION_DEFAULTS.items() if name not in chosen}
    return Connection.connect(conninfo, **parameters, **bounds)


def prepare_session(connection: Connection) -> None:
    """Set the server's limits for this session."""
    connection.execute(_SESSION_SQL.encode())
    connection.commit()


def is_closed(connection: Connection) -> bool:
    """Return whether the server has closed this idle connection, as far as the kernel knows, without a round trip.

    The server sends nothing to an idle session except the reason why it ends it. Keepalives detect a silent peer.
    """
    if connection.pgconn.status != psycopg.pq.ConnStatus.OK:
        return True
    # gevent's own poll would yield to the loop at each checkout.
    waiting = get_original("select", "poll")()
    waiting.register(connection.pgconn.socket, select.POLLIN)
    return bool(waiting.poll(0))


def set_response_timeout(connection: Connection, seconds: float | None) -> None:
    """Wait for statements that take up to `seconds`; None is no limit. `reset_timeout` undoes it."""
    connection.response_timeout_s = None if seconds is None else seconds + CLIENT_GRACE_S


def reset_timeout(connection: Connection | None) -> None:
    """Reset the limit when the connection returns to the pool; None is a discarded connection."""
    if connection is not None:
        connection.response_timeout_s = RESPONSE_TIMEOUT_S
