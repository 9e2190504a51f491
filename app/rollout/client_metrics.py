"""Client reports by cohort and minute, with the times at which the flag was changed.

A minute without reports is unknown, which is not the same as a minute in which nothing happened.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Self

from sqlalchemy.orm import Session

from app.config import current_settings
from app.flags import error_baseline
from app.flags.change_log import RolloutChange
from app.flags.document import Flag
from app.flags.models import ReportRow
from app.infra.clock import parse_utc, utc_text
from app.rollout import changes_history, client_reports

MAX_MINUTES = 24 * 60
CURRENT_RATE_MINUTES = 5
# The error rate counts as recovered within this tolerance, because shares of few attempts fluctuate.
ERROR_RATE_TOLERANCE = 0.01


@dataclass(frozen=True, slots=True)
class MinuteMetrics:
    """One minute of one cohort. `minute` counts from 1970. Times are in seconds, None if none was measured."""

    minute: int
    cohort: str
    reports: int
    attempts: int
    failures: int
    fallbacks: int
    reconnects: int
    hello_s: float | None
    lag_s: float | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        given = dict(row)
        return cls(hello_s=given.pop("helloP95S"), lag_s=given.pop("lagP95S"), **given)

    @property
    def success(self) -> float | None:
        """The share of connection attempts that succeeded; None if there were none."""
        return 1 - self.failures / self.attempts if self.attempts else None

    def as_json(self) -> dict[str, Any]:
        found = asdict(self)
        for name in ("cohort", "minute", "hello_s", "lag_s"):
            del found[name]
        return {"at": _to_utc_text(self.minute), **found, "helloP95S": self.hello_s, "lagP95S": self.lag_s}


@dataclass(frozen=True, slots=True)
class ChangeMark:
    """A time at which the effective percentage changed."""

    at: str
    actor: str
    percentage: float | None
    enabled: bool


@dataclass(frozen=True, slots=True)
class ClientMetrics:
    """Reports of the `minutes` that end with the minute `newest`. Unknown minutes are missing from the lists."""

    flag: Flag
    minutes: int
    newest: int
    cohorts: Mapping[str, Sequence[MinuteMetrics]]
    changes: Sequence[ChangeMark]

    def as_json(self) -> dict[str, Any]:
        cohorts = {name: [minute.as_json() for minute in known] for name, known in self.cohorts.items()}
        changes = [asdict(change) for change in self.changes]
        return {"flag": self.flag, "minutes": self.minutes, "cohorts": cohorts, "changes": changes}


def load_metrics(session: Session, flag: Flag, minutes: int) -> ClientMetrics:
    """`minutes` is 1 to `MAX_MINUTES` and includes the current one."""
    found = [MinuteMetrics.of(row) for row in client_reports.load_minutes(session, minutes)]
    newest = int(time.time() // 60)
    cohorts = {name: [one for one in found if one.cohort == name] for name in client_reports.COHORTS}
    oldest = _to_utc_text(newest - minutes + 1)
    entries = [entry for entry in changes_history.load_entries(session, flag) if entry.at >= oldest]
    return ClientMetrics(flag, minutes, newest, cohorts, list_change_marks(entries))


def list_change_marks(entries: Iterable[RolloutChange]) -> list[ChangeMark]:
    """The changes of the effective percentage, oldest first. Pure."""
    found = [
        ChangeMark(entry.at, entry.actor, entry.after.percentage, entry.after.enabled)
        for entry in entries
        if entry.has_moved_users and entry.after is not None
    ]
    return found[::-1]


ErrorRateVerdict = Literal["back", "higher", "unknown"]


@dataclass(frozen=True, slots=True)
class ErrorRate:
    """The share of connection attempts that fail now, and that failed before the rollout. None is unknown."""

    now: float | None
    before: float | None

    @property
    def verdict(self) -> ErrorRateVerdict:
        if self.now is None or self.before is None:
            return "unknown"
        return "back" if self.now <= self.before + ERROR_RATE_TOLERANCE else "higher"


def load_error_rate(session: Session, flag: Flag, began: str | None, lowered: str) -> ErrorRate:
    """`began` is the time of the rollout's first increase, `lowered` the time it was taken back. With fewer attempts
    than the guardrail requires, the share is unknown: one successful poll is no recovery."""
    enough = current_settings().guardrail_min_attempts
    after = max(_to_minute(lowered), int(time.time() // 60) - CURRENT_RATE_MINUTES)
    attempts, failures = error_baseline.count_attempts(session, ReportRow.minute > after)
    now = failures / attempts if attempts >= max(1, enough) else None
    return ErrorRate(now, error_baseline.load_failure_rate(session, flag, began, enough))


def _to_minute(at: str) -> int:
    return int(parse_utc(at).timestamp() // 60)


def _to_utc_text(minute: int) -> str:
    return utc_text(datetime.fromtimestamp(minute * 60, UTC))
