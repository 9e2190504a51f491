"""Wakes the tails of all processes through Redis or Valkey, if `BEACON_REDIS_URL` is set.

This replaces `LISTEN`, which takes one database connection of every process. A message says only that there are new
events; the tail reads them from the log. Each tail also reads once a second by itself, so without the server events
come up to a second late and nothing is lost.
"""

import contextlib
import logging
import secrets
import threading
from collections.abc import Callable

import redis

from app.infra.logs import FailureLog

log = logging.getLogger(__name__)

CHANNEL = "beacon:events"
RETRY_S = 1.0
# The longest wait for a message, and so the longest that `stop` takes.
LISTEN_S = 0.5
CONNECT_S = 2.0
# An idle subscriber asks whether the server is there. It asks again at each wait until an answer comes.
ASK_EVERY_S = 10
MAX_UNANSWERED = int(CONNECT_S / LISTEN_S)


class RedisWakeups:
    """Announces the commits of this process to all others, and calls `wake` at theirs."""

    def __init__(self, url: str, wake: Callable[[], None]) -> None:
        self._client = connect(url)
        self._wake = wake
        self._sender = secrets.token_hex(8).encode()
        self._pending = threading.Event()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def announce(self) -> None:
        """Tell the other processes that there are new events. Returns at once; several announcements may become one."""
        self._pending.set()

    def start(self) -> None:
        self._threads = [
            threading.Thread(target=self._retry, args=(what, turn), name=what, daemon=True)
            for what, turn in (("redis-subscriber", self._listen), ("redis-publisher", self._publish))
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._pending.set()
        for thread in self._threads:
            thread.join(timeout=CONNECT_S + LISTEN_S)
        self._client.close()

    def _retry(self, what: str, turn: Callable[[FailureLog], None]) -> None:
        failures = FailureLog(log, f"{what} (BEACON_REDIS_URL)")
        while not self._stopping.is_set():
            try:
                turn(failures)
            except (redis.RedisError, OSError) as error:
                failures.record_failure(error)
                self._stopping.wait(RETRY_S)

    def _listen(self, failures: FailureLog) -> None:
        with self._client.pubsub(ignore_subscribe_messages=True) as channel:  # type: ignore[no-untyped-call]
            channel.subscribe(CHANNEL)
            channel.get_message(timeout=LISTEN_S)
            failures.record_success()
            self._wake()  # messages may have been missed until now
            while not self._stopping.is_set():
                message = channel.get_message(timeout=LISTEN_S)
                if channel.health_check_response_counter > MAX_UNANSWERED:  # the client itself would wait for ever
                    raise redis.TimeoutError("the server does not answer")
                if message is not None and message["data"] != self._sender:
                    self._wake()

    def _publish(self, failures: FailureLog) -> None:
        self._pending.wait()
        self._pending.clear()
        if not self._stopping.is_set():
            self._client.publish(CHANNEL, self._sender)
            failures.record_success()


def connect(url: str) -> redis.Redis:
    """Return a client that gives up after two seconds; it connects at its first use. Raises `ValueError`."""
    return redis.Redis.from_url(
        url,
        socket_connect_timeout=CONNECT_S,
        socket_timeout=CONNECT_S,
        socket_keepalive=True,
        health_check_interval=ASK_EVERY_S,
        client_name="beacon",
        driver_info=None,
    )


def find_problem(url: str) -> str:
    """Return the client's reason why the server cannot be used; empty if it answers within two seconds."""
    with contextlib.closing(connect(url)) as client:
        try:
            client.ping()
        except (redis.RedisError, OSError) as error:
            return str(error)
    return ""
