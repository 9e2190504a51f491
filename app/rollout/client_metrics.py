"""What browsers reported, by cohort and minute, beside the moments at which the flag was changed.

A minute in which nobody reported is not known, which is not the same as nothing having happened.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Self

from sqlalchemy.orm import Session

from app.config import current_settings
from app.flags import error_baseline
from app.flags.document import Flag
from app.flags.models import ReportRow
from app.infra.clock import parse_utc, utc_text
from app.rollout import changes_history, client_reports

MAX_MINUTES = 24 * 60
CURRENT_RATE_MINUTES = 5
# Shares of few attempts jump: within so much of what it was, the error rate is back.
ERROR_RATE_TOLERANCE = 0.01


@dataclass(frozen=True, slots=True)
class MinuteMetrics:
    """Of one cohort. `minute` counts from 1970; times in seconds, None where none was measured."""

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
        """The share of attempts to connect that succeeded; None where nobody tried."""
        return 1 - self.failures / self.attempts if self.attempts else None

    def as_json(self) -> dict[str, Any]:
        found = asdict(self)
        for name in ("cohort", "minute", "hello_s", "lag_s"):
            del found[name]
        return {"at": _to_utc_text(self.minute), **found, "helloP95S": self.hello_s, "lagP95S": self.lag_s}


@dataclass(frozen=True, slots=True)
class ChangeMark:
    """A moment at which more or fewer people were let in."""

    at: str
    actor: str
    percentage: float | None
    enabled: bool


@dataclass(frozen=True, slots=True)
class ClientMetrics:
    """The `minutes` that end with the minute `newest`. Each cohort's list has those alone that are known."""

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
    """`minutes` from 1 to `MAX_MINUTES`, the one that runs included."""
    found = [MinuteMetrics.of(row) for row in client_reports.load_minutes(session, minutes)]
    newest = int(time.time() // 60)
    cohorts = {name: [one for one in found if one.cohort == name] for name in client_reports.COHORTS}
    oldest = _to_utc_text(newest - minutes + 1)
    entries = [entry for entry in changes_history.load_entries(session, flag) if entry.at >= oldest]
    return ClientMetrics(flag, minutes, newest, cohorts, list_change_marks(entries))


def list_change_marks(entries: Iterable[changes_history.HistoryEntry]) -> list[ChangeMark]:
    """Oldest first. Pure."""
    found = [
        ChangeMark(entry.at, entry.actor, entry.after.percentage, entry.after.enabled)
        for entry in entries
        if entry.has_moved_users and entry.after is not None
    ]
    return found[::-1]


ErrorRateVerdict = Literal["back", "higher", "unknown"]


@dataclass(frozen=True, slots=True)
class ErrorRate:
    """The share of attempts to connect that fail now, and that did before the rollout began; None is not known."""

    now: float | None
    before: float | None

    @property
    def verdict(self) -> ErrorRateVerdict:
        if self.now is None or self.before is None:
            return "unknown"
        return "back" if self.now <= self.before + ERROR_RATE_TOLERANCE else "higher"


def load_error_rate(session: Session, flag: Flag, began: str | None, lowered: str) -> ErrorRate:
    """`began` is when the rollout's first increase was made, `lowered` when it was taken back. A share of fewer
    attempts than the guardrail asks for is not known: one poll that succeeds is no recovery."""
    enough = current_settings().guardrail_min_attempts
    after = max(_to_minute(lowered), int(time.time() // 60) - CURRENT_RATE_MINUTES)
    attempts, failures = error_baseline.count_attempts(session, ReportRow.minute > after)
    now = failures / attempts if attempts >= max(1, enough) else None
    return ErrorRate(now, error_baseline.load_failure_rate(session, flag, began, enough))


def _to_minute(at: str) -> int:
    return int(parse_utc(at).timestamp() // 60)


def _to_utc_text(minute: int) -> str:
    return utc_text(datetime.fromtimestamp(minute * 60, UTC))
