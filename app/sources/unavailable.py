"""The source of a service that cannot be polled from this host: always stale, with the reason."""

from typing import NoReturn

from app.sources.protocol import ACTION_NAMES, VIEWS, Capabilities, JobLookup, ReadOnlySource, SourceError


class UnavailableSource(ReadOnlySource):
    def __init__(self, reason: str) -> None:
        self._reason = reason

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(None, dict.fromkeys((*ACTION_NAMES, *VIEWS), f"the service {self._reason}"))

    def read_snapshot(self) -> NoReturn:
        raise SourceError(self._reason)

    def look_up(self, job_id: str) -> JobLookup:  # noqa: ARG002 -- no job is known
        return JobLookup("cannot-tell")

    def detail(self, job_id: str) -> NoReturn:  # noqa: ARG002 -- no job is known
        raise SourceError(self._reason)

    def stuck(self) -> NoReturn:
        raise SourceError(self._reason)

    def close(self) -> None:
        """Do nothing: no connection was opened."""
