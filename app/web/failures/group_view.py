"""A cause of failures as pages and the API show it: what failed, how often, since when, and what its jobs share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from sqlalchemy.orm import Session

from app.eventlog import deploys as deploy_log
from app.eventlog.deploys import Deploy
from app.failures import mutes, queries
from app.failures.failure_history import DAY, HOUR, Slices, SliceScale, load_history
from app.failures.grouping import describe_cause
from app.failures.models import FailureGroup
from app.failures.shares import Attempts, CommonFacts, load_common_facts
from app.infra.clock import parse_utc, utc_now, utc_text
from app.reconciliation import registry
from app.web.failures.cause_charts import SPARKLINE, DayLine, draw_sparkline
from app.web.failures.deploy_marks import DeployMarks, mark_deploys
from app.web.line_charts import fit_axis

NOTHING_IN_COMMON = CommonFacts()


@dataclass(frozen=True, slots=True)
class GroupView:
    """`hours`: how many of its jobs failed in each of the last 24 hours; the last `hours_shown` of them are in the line
    of each cause of a list. `deploys`: those of this time that may concern it. `new_since`: the deploy before its first
    failure."""

    group: FailureGroup
    service_name: str
    now: datetime
    hours: Slices
    hours_shown: int
    common: CommonFacts
    deploys: Sequence[Deploy]
    marks: DeployMarks
    new_since: Deploy | None

    @property
    def title(self) -> str:
        return describe_cause(self.group.function, self.group.error_type)

    @property
    def href(self) -> str:
        return f"/failures/{quote(self.group.id, safe='')}"

    @property
    def last_hour(self) -> int:
        return self.hours[-1] or 0

    @property
    def sparkline(self) -> DayLine:
        return draw_sparkline(self.hours, self.marks, self.hours_shown)

    @property
    def shared(self) -> str:
        """`all in queue emails, 26 of 28 on mail-7, all at attempt 3 of 3`: what most of its jobs have in common."""
        queue, worker = self._share("in queue", self.common.queues), self._share("on", self.common.workers)
        return ", ".join(filter(None, (queue, worker, self.attempts)))

    @property
    def attempts(self) -> str:
        return describe_attempts(self.common.attempts, self.group.jobs)

    @property
    def is_muted(self) -> bool:
        return mutes.is_muted(self.group, utc_text(self.now))

    def _share(self, word: str, counts: Mapping[str, int]) -> str:
        name, number = next(iter(counts.items()), ("", 0))
        if number * 2 <= self.group.jobs:
            return ""
        of = "all" if number == self.group.jobs else f"{number:,} of {self.group.jobs:,}"
        return f"{of} {word} {name}"

    def to_json(self, sample_job_ids: Sequence[str]) -> dict[str, Any]:
        group, attempts, deploy = self.group, self.common.attempts, self.new_since
        return {
            "group": group.id,
            "service": group.service_id,
            "function": group.function,
            "errorType": group.error_type,
            "message": group.message,
            "frame": group.frame,
            "count": group.jobs,
            "lastHour": self.last_hour,
            "lastDay": list(self.hours),
            "firstAt": group.first_at,
            "lastAt": group.last_at,
            "sampleJobIds": list(sample_job_ids),
            "queues": dict(self.common.queues),
            "workers": dict(self.common.workers),
            "attempts": attempts_to_json(attempts) if attempts else None,
            **({"newSince": {"event": deploy.name, "at": deploy.at, "id": deploy.id}} if deploy else {}),
            **({"muted": mute_to_json(group)} if self.is_muted else {}),
        }


def mute_to_json(group: FailureGroup) -> dict[str, str | None]:
    return {"until": group.muted_until, "by": group.muted_by}


def describe_attempts(attempts: Attempts | None, jobs: int) -> str:
    """`all at attempt 3 of 3`, `attempts 1 to 3 of 5`; empty if no attempt is told."""
    if attempts is None:
        return ""
    of = "" if attempts.most is None else f" of {attempts.most}"
    if attempts.first < attempts.last:
        words = f"attempts {attempts.first} to {attempts.last}{of}"
    else:
        words = f"{'all ' if attempts.jobs == jobs > 1 else ''}at attempt {attempts.first}{of}"
    return words if attempts.jobs >= jobs else f"{words} where known ({attempts.jobs:,} of {jobs:,})"


def attempts_to_json(attempts: Attempts) -> dict[str, int | None]:
    return {"min": attempts.first, "max": attempts.last, "of": attempts.most, "jobs": attempts.jobs}


def to_json(session: Session, views: Sequence[GroupView]) -> list[dict[str, Any]]:
    samples = queries.sample_job_ids(session, [view.group.id for view in views])
    return [view.to_json(samples.get(view.group.id, [])) for view in views]


def build_views(session: Session, groups: Sequence[FailureGroup]) -> list[GroupView]:
    """The same few queries, however many groups these are."""
    if not groups:
        return []
    now = utc_now()
    common = load_common_facts(session, [group.id for group in groups])
    hours = load_history(session, groups, SliceScale(now, HOUR))
    deploys = _read_deploys(session, groups, now)
    recent = {service_id: _select_recent(deploys, service_id, now) for service_id in {one.service_id for one in groups}}
    shown = max(map(fit_axis, hours.values()))  # the same for all, so that the lines can be compared
    marks = {service_id: mark_deploys(SPARKLINE, found, now, HOUR * shown) for service_id, found in recent.items()}
    return [
        GroupView(
            group,
            registry.service_name(group.service_id),
            now,
            hours[group.id],
            shown,
            common.get(group.id, NOTHING_IN_COMMON),
            recent[group.service_id],
            marks[group.service_id],
            deploy_log.find_cause(deploys, group.service_id, group.first_at),
        )
        for group in groups
    ]


def _read_deploys(session: Session, groups: Sequence[FailureGroup], now: datetime) -> Sequence[Deploy]:
    """The deploys of the last day, and those before the first failures."""
    first = parse_utc(min(group.first_at for group in groups))
    return deploy_log.read_deploys(session, min(first, now) - max(DAY, deploy_log.MAX_AGE) - timedelta(seconds=1), now)


def _select_recent(deploys: Sequence[Deploy], service_id: str, now: datetime) -> Sequence[Deploy]:
    since = utc_text(now - DAY)
    return [deploy for deploy in deploys if deploy.at >= since and deploy.concerns(service_id)]
