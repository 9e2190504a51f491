"""Reads from a Celery service's broker and result backend, which may be the same server."""

import contextlib
from collections.abc import Iterator, Sequence

import redis

from app.sources.celery.broker import Broker, BrokerSnapshot
from app.sources.celery.failure_count import FailureCount, FailureCounter
from app.sources.celery.messages import TaskCall, parse_call
from app.sources.celery.results import Results, TaskResult
from app.sources.protocol import SourceError
from app.sources.redis.client import RedisServer

NO_RESULTS = "without a result backend Celery keeps no record of failed tasks"


class CeleryStorage:
    """The broker and the result backend. `backend` is the broker's server, another one, or None without results."""

    def __init__(self, server: RedisServer, backend: RedisServer | None, broker: Broker, results: Results) -> None:
        self._server, self._backend = server, backend
        self._broker, self._results = broker, results
        self._failures = FailureCounter(results)
        self._failed_keys, self._failed_ids = frozenset[bytes](), frozenset[str]()

    @property
    def keeps_results(self) -> bool:
        return self._backend is not None

    def read_snapshot(self) -> BrokerSnapshot:
        with self._server.reading() as client:
            return self._broker.read_snapshot(client)

    def read_states(self, task_ids: Sequence[str]) -> dict[str, str]:
        """Return Celery's state of each task that has a result."""
        if self._backend is None or not task_ids:
            return {}
        with self._reading(self._backend) as client:
            return self._results.read_states(client, task_ids)

    def count_failures(self) -> FailureCount:
        """Count failed tasks. Never raises: the rest of a poll is useful without the count."""
        if self._backend is None:
            return FailureCount(None, NO_RESULTS)
        try:
            with self._backend.reading() as client:
                return self._failures.count_next_part(client)
        except SourceError as error:
            return FailureCount(None, f"its result backend {error.reason}")

    def read_result(self, task_id: str) -> TaskResult | None:
        if self._backend is None:
            return None
        with self._reading(self._backend) as client:
            return self._results.read_result(client, task_id)

    def find_task_ids(self, keys: frozenset[bytes]) -> frozenset[str]:
        """The ids of the tasks with these results. Remembered, because most polls count the same ones."""
        if keys is not self._failed_keys:
            self._failed_keys, self._failed_ids = keys, self._results.find_task_ids(keys)
        return self._failed_ids

    def read_results(self, task_ids: Sequence[str]) -> dict[str, TaskResult]:
        if self._backend is None:
            return {}
        with self._reading(self._backend) as client:
            return self._results.read_results(client, task_ids)

    def find_call(self, task_id: str) -> TaskCall | None:
        """Return the call of a task whose message the latest snapshot had."""
        raw = self._broker.find_message(task_id)
        return parse_call(raw) if raw else None

    def close(self) -> None:
        self._server.close()
        if self._backend is not None:
            self._backend.close()

    @contextlib.contextmanager
    def _reading(self, backend: RedisServer) -> Iterator[redis.Redis]:
        try:
            with backend.reading() as client:
                yield client
        except SourceError as error:
            if backend is self._server:
                raise
            raise SourceError(f"has a result backend that {error.reason}") from None
