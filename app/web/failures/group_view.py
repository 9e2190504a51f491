"""A cause of failures as pages and the API show it: what failed, how often, since when, and what its jobs share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from sqlalchemy.orm import Session

from app.failures import queries
from app.failures.grouping import describe_cause
from app.failures.models import FailureGroup
from app.failures.queries import CommonFacts, GroupFilter
from app.infra.clock import utc_text
from app.reconciliation import registry


@dataclass(frozen=True, slots=True)
class GroupView:
    """`last_hour`: how many of its jobs failed within the last hour."""

    group: FailureGroup
    service_name: str
    last_hour: int
    common: CommonFacts

    @property
    def title(self) -> str:
        return describe_cause(self.group.function, self.group.error_type)

    @property
    def href(self) -> str:
        return f"/failures/{quote(self.group.id, safe='')}"

    @property
    def shared(self) -> str:
        """`all in queue emails, 26 of 28 on mail-7`: what most of its jobs have in common."""
        return ", ".join(
            filter(None, (self._share("in queue", self.common.queues), self._share("on", self.common.workers)))
        )

    @property
    def is_muted(self) -> bool:
        return self.group.muted_until is not None and self.group.muted_until > utc_text()

    def _share(self, word: str, counts: Mapping[str, int]) -> str:
        if not counts:
            return ""
        name, number = max(counts.items(), key=lambda one: one[1])
        if number * 2 <= self.common.compared:
            return ""
        of = "all" if number == self.common.compared else f"{number:,} of {self.common.compared:,}"
        return f"{of} {word} {name}"

    def to_json(self) -> dict[str, Any]:
        group = self.group
        return {
            "group": group.id,
            "service": group.service_id,
            "function": group.function,
            "errorType": group.error_type,
            "message": group.message,
            "frame": group.frame,
            "count": group.jobs,
            "lastHour": self.last_hour,
            "firstAt": group.first_at,
            "lastAt": group.last_at,
            "sampleJobIds": list(self.common.sample_job_ids),
            "queues": dict(self.common.queues),
            "workers": dict(self.common.workers),
            **({"muted": {"until": group.muted_until, "by": group.muted_by}} if self.is_muted else {}),
        }


def load_groups(session: Session, wanted: GroupFilter, limit: int) -> list[GroupView]:
    return build_views(session, queries.list_groups(session, wanted, limit))


def build_views(session: Session, groups: Sequence[FailureGroup]) -> list[GroupView]:
    recent = queries.count_last_hour(session, [group.id for group in groups])
    return [
        GroupView(
            group,
            registry.service_name(group.service_id),
            recent.get(group.id, 0),
            queries.compare_jobs(session, group.id),
        )
        for group in groups
    ]
