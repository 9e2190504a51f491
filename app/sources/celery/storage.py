"""The two places that a Celery source reads, which may be one server: the broker, and the result backend."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from app.sources.celery.broker import Broker, Snapshot
from app.sources.celery.failure_count import Counted, Failures
from app.sources.celery.results import Ended, Results
from app.sources.protocol import SourceError
from app.sources.redis.client import RedisServer

if TYPE_CHECKING:
    import redis

NO_RESULTS = "without a result backend Celery keeps no trace of a task that failed"


class Reads:
    """`backend` is the broker itself, another server, or None where no results are kept."""

    def __init__(self, server: RedisServer, backend: RedisServer | None, broker: Broker, results: Results) -> None:
        self._server, self._backend = server, backend
        self._broker, self._results = broker, results
        self._failures = Failures(results)

    @property
    def keeps_results(self) -> bool:
        return self._backend is not None

    def snapshot(self) -> Snapshot:
        with self._server.reading() as client:
            return self._broker.snapshot(client)

    def states(self, task_ids: Sequence[str]) -> dict[str, str]:
        """Celery's word for the state of each task that has a result."""
        if self._backend is None or not task_ids:
            return {}
        with self._reading(self._backend) as client:
            return self._results.states(client, task_ids)

    def failures(self) -> Counted:
        """How many tasks failed; the rest of a look stands without it."""
        if self._backend is None:
            return Counted(None, NO_RESULTS)
        try:
            with self._backend.reading() as client:
                return self._failures.follow(client)
        except SourceError as error:
            return Counted(None, f"its result backend {error.reason}")

    def ended(self, task_id: str) -> Ended | None:
        if self._backend is None:
            return None
        with self._reading(self._backend) as client:
            return self._results.ended(client, task_id)

    def close(self) -> None:
        self._server.close()
        if self._backend is not None:
            self._backend.close()

    @contextlib.contextmanager
    def _reading(self, backend: RedisServer) -> "Iterator[redis.Redis]":
        try:
            with backend.reading() as client:
                yield client
        except SourceError as error:
            if backend is self._server:
                raise
            raise SourceError(f"has a result backend that {error.reason}") from None
