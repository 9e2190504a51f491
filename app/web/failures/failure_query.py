"""Query parameters of the failures: `?q=smtp&since=2026-11-21&muted=true`."""

from typing import Annotated

from pydantic import Field, StringConstraints

from app.failures.queries import GroupFilter
from app.infra.list_query import ListQuery, RangeEnd, RangeStart

MAX_WORDS = 10


class FailureQuery(ListQuery):
    """Which causes are wanted. `muted` is left out by the page, which shows the muted ones apart."""

    limit: int = Field(200, ge=1, le=500)
    since: RangeStart = None
    until: RangeEnd = None
    q: Annotated[str, StringConstraints(max_length=200)] = ""
    muted: bool | None = None

    def as_filter(self, service_id: str | None) -> GroupFilter:
        return GroupFilter(service_id, self.since, self.until, tuple(self.q.split()[:MAX_WORDS]), self.muted)
