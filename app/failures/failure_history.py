"""How often each cause made jobs fail in the last day, in slices of the same length, with gaps where nobody looked."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.failures.models import FailedJob, FailureGroup
from app.infra.clock import utc_text
from app.infra.concurrency import yield_to_loop
from app.reconciliation.models import CheckSample

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
TEN_MINUTES = timedelta(minutes=10)
# Counting is work inside the database: other requests get a turn in between.
GROUPS_PER_QUERY = 100

Slices = Sequence[int | None]
"""One number for each slice, oldest first; None where nothing failed as far as is known, and nobody looked."""


@dataclass(frozen=True, slots=True)
class SliceScale:
    """The slices of the day that ends at `now`: the last one ends then, too."""

    now: datetime
    length: timedelta

    @property
    def edges(self) -> Sequence[datetime]:
        number = DAY // self.length
        return [self.now - self.length * ago for ago in reversed(range(number + 1))]

    def build_rows(self) -> sa.CTE:
        """A row for each slice, with its place, begin and end. The clock of a service may be ahead of ours."""
        edges = [*map(utc_text, self.edges[:-1]), utc_text(self.now + DAY)]
        columns = (sa.column("place", sa.Integer), sa.column("begins", sa.Text), sa.column("ends", sa.Text))
        rows = [(place, *pair) for place, pair in enumerate(pairwise(edges))]
        return sa.values(*columns, name="slices").data(rows).cte("slice")


def load_history(session: Session, groups: Sequence[FailureGroup], scale: SliceScale) -> Mapping[str, Slices]:
    """The slices of each group by its id, also those of jobs that are no longer failed."""
    counts, slices = dict[str, list[int]](), scale.build_rows()
    for start in range(0, len(groups), GROUPS_PER_QUERY):
        counts |= _count_failed(session, [group.id for group in groups[start : start + GROUPS_PER_QUERY]], slices)
        yield_to_loop()
    looked = _find_looked_at(session, {group.service_id for group in groups}, slices)
    return {
        group.id: [
            number if number or place in looked[group.service_id] else None
            for place, number in enumerate(counts[group.id])
        ]
        for group in groups
    }


def _count_failed(session: Session, group_ids: Sequence[str], one: sa.CTE) -> dict[str, list[int]]:
    """The result holds numbers only: thousands of ids as text would cost more than the counting."""
    group = _number(group_ids)
    number = sa.select(sa.func.count()).where(
        FailedJob.group_id == group.c.id, FailedJob.failed_at >= one.c.begins, FailedJob.failed_at < one.c.ends
    )
    numbers = number.correlate(group, one).scalar_subquery()
    query = sa.select(group.c.place, numbers).join(one, sa.true()).order_by(one.c.place)
    found: list[list[int]] = [[] for _ in group_ids]
    for row, count in session.execute(query):
        found[row].append(count)
    return dict(zip(group_ids, found, strict=True))


def _find_looked_at(session: Session, service_ids: Collection[str], one: sa.CTE) -> Mapping[str, Collection[int]]:
    """The places of the slices in which each service answered a check."""
    service = _number(sorted(service_ids))
    answered = sa.exists().where(
        CheckSample.service_id == service.c.id,
        CheckSample.at >= one.c.begins,
        CheckSample.at < one.c.ends,
        CheckSample.ok,
    )
    found: dict[str, set[int]] = {service_id: set() for service_id in service_ids}
    query = sa.select(service.c.id, one.c.place).join(one, sa.true()).where(answered.correlate(service, one))
    for service_id, place in session.execute(query):
        found[service_id].add(place)
    return found


def _number(ids: Sequence[str]) -> sa.CTE:
    columns = (sa.column("place", sa.Integer), sa.column("id", sa.Text))
    return sa.values(*columns, name="numbered").data(list(enumerate(ids))).cte("wanted")
