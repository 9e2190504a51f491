"""Reads the lists of a Palantir HTTP job service page by page, within one time limit for all requests of a read."""

import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import TypeVar

from app.sources.http_client import HttpClient
from app.sources.palantir.api import PAGE_SIZE, A, PageAnswer, WholePageAnswer, is_finished, parse_body
from app.sources.palantir.job_rows import read_rows
from app.sources.palantir.late_jobs import SCHEDULED, parse_due_times
from app.sources.protocol import NOTHING_LEFT_OUT, Job, LeftOut, Listing, SourceError

P = TypeVar("P", PageAnswer, WholePageAnswer)
# A poll consists of many requests. It must end before the service would count as silent.
READ_TIMEOUT_S = 15.0


class BoundedReader:
    """The requests of one read: keeps the time left and the revisions seen."""

    def __init__(self, http: HttpClient, bound: int, seconds: float = READ_TIMEOUT_S) -> None:
        self._http, self._left, self._seconds = http, bound, seconds
        self._began = time.monotonic()
        self.revisions: set[int | str | None] = set()
        # When the scheduled jobs that were listed should start.
        self.due: dict[str, datetime] = {}

    @property
    def latency_ms(self) -> int:
        return round((time.monotonic() - self._began) * 1000)

    def get(self, path: str, model: type[A]) -> A:
        return parse_body(model, self._fetch(path))

    def _fetch(self, path: str, params: Mapping[str, str | int] | None = None) -> bytes:
        left = self._began + self._seconds - time.monotonic()
        if left <= 0:
            raise SourceError(f"did not finish answering within {self._seconds:g} s")
        return self._http.fetch(path, params, within_s=left)

    def read_listing(self, state: str, is_listed: bool) -> Listing:
        """Return all jobs of `state`, or none if there are more than the limit leaves room for."""
        jobs: dict[str, Job] = {}
        finished = is_finished(state)
        if not is_listed:
            return Listing(state, finished, {}, complete=False)
        left_out = NOTHING_LEFT_OUT
        for page, bad in self.read_pages(state, PageAnswer):
            left_out = left_out.merge(bad)
            if state.lower() == SCHEDULED:
                self.due.update(parse_due_times(page.jobs))
            # Do not use the state in the row: a job that moves on may already have the next one.
            jobs |= {(i := job["id"]): Job(i, state, job.get("queue"), job.get("attempt")) for job in page.jobs}
            if len(jobs) > self._left:
                return Listing(state, finished, {}, complete=False)
        self._left -= len(jobs)
        return Listing(state, finished, jobs, left_out=left_out)

    def read_pages(self, state: str, model: type[P]) -> Iterator[tuple[P, LeftOut]]:
        """Yield each page with the rows that were left out of it."""
        after, before = "", 0
        while True:
            query: Mapping[str, str | int] = {"state": state, "after": after, "limit": PAGE_SIZE}
            page, left_out = read_rows(model, self._fetch("/api/v1/jobs", query), partial(_row_name, state, before))
            self.revisions.add(page.revision)
            yield page, left_out
            rows = len(page.jobs) + left_out.number
            if page.next is None:
                return
            if page.next <= after or not rows:
                raise SourceError("answered a list of jobs that does not end")
            after, before = page.next, before + rows


def _row_name(state: str, before: int, place: int) -> str:
    return f"entry {before + place + 1:,} of {state}"
