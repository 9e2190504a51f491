"""How often each cause made jobs fail in the last day, in slices of the same length, with gaps where nobody looked."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.failures.models import FailedJob, FailureGroup
from app.infra.clock import utc_text
from app.infra.concurrency import yield_to_loop
from app.reconciliation.models import CheckSample, Service

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
TEN_MINUTES = timedelta(minutes=10)
# Counting is work inside the database: other requests get a turn in between.
GROUPS_PER_QUERY = 200

T = TypeVar("T")
_Columns = Mapping[str, Sequence[T]]
Slices = Sequence[int | None]
"""One number for each slice, oldest first; None where nothing failed as far as is known, and nobody looked."""


@dataclass(frozen=True, slots=True)
class SliceScale:
    """The slices of the day that ends at `now`: the last one ends then, too."""

    now: datetime
    length: timedelta

    def list_bounds(self) -> Sequence[tuple[str, str]]:
        """Begin and end of each slice. The last one has no end, because the clock of a service may be ahead of ours."""
        edges = [utc_text(self.now - self.length * ago) for ago in reversed(range(1, DAY // self.length + 1))]
        return list(pairwise([*edges, utc_text(self.now + DAY)]))


def load_history(session: Session, groups: Sequence[FailureGroup], scale: SliceScale) -> Mapping[str, Slices]:
    """The slices of each group by its id, also those of jobs that are no longer failed."""
    counts, bounds = dict[str, Sequence[int]](), scale.list_bounds()
    for start in range(0, len(groups), GROUPS_PER_QUERY):
        counts |= _count_failed(session, [group.id for group in groups[start : start + GROUPS_PER_QUERY]], bounds)
        yield_to_loop()
    looked = _find_looked_at(session, {group.service_id for group in groups}, bounds)
    return {
        group.id: [
            number if number or was_looked_at else None
            for number, was_looked_at in zip(counts[group.id], looked[group.service_id], strict=True)
        ]
        for group in groups
    }


def _count_failed(session: Session, group_ids: Sequence[str], bounds: Sequence[tuple[str, str]]) -> _Columns[int]:
    """A column for each slice: to count within an index costs less than a row for each of thousands of numbers."""
    columns = []
    for begin, end in bounds:
        in_slice = (FailedJob.failed_at >= begin, FailedJob.failed_at < end)
        number = sa.select(sa.func.count()).where(FailedJob.group_id == FailureGroup.id, *in_slice)
        columns.append(number.correlate(FailureGroup).scalar_subquery())
    found = session.execute(sa.select(FailureGroup.id, *columns).where(FailureGroup.id.in_(group_ids)))
    return {group_id: numbers for group_id, *numbers in found}


def _find_looked_at(
    session: Session, service_ids: Collection[str], bounds: Sequence[tuple[str, str]]
) -> _Columns[bool]:
    """Whether each service answered a check in each slice."""
    sample, columns = CheckSample, []
    for begin, end in bounds:
        in_slice = (sample.at >= begin, sample.at < end)
        answered = sa.exists().where(sample.service_id == Service.id, *in_slice, sample.ok)
        columns.append(answered.correlate(Service))
    found = session.execute(sa.select(Service.id, *columns).where(Service.id.in_(service_ids)))
    return {service_id: answers for service_id, *answers in found}
