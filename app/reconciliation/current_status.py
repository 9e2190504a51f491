"""Computes the current status of a service, the same for tile, attention strip, pages and API.

The newest published status holds until it is older than `STALE_AFTER_INTERVALS` polls. After that nobody has checked
the service, and it is stale, whatever the cause.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from app.infra.clock import parse_utc
from app.reconciliation.finding_text import describe_silence, is_flapping
from app.reconciliation.models import ServiceState

STALE_AFTER_INTERVALS = 3
NOT_CHECKED_REASON = "was not checked in time"
NEVER_CHECKED_REASON = "has not been checked since it was added"
# A first poll may take so much longer: it reads everything.
FIRST_CHECK_TAKES = timedelta(seconds=15)
# A service that does not answer is polled up to a minute apart.
FAILING_AGED_AFTER = timedelta(minutes=2)

StatusWord = Literal["unknown", "verified", "stale", "discrepancy"]


@dataclass(frozen=True, slots=True)
class CurrentStatus:
    """`status` is what is shown, `published` is what was published last; `unknown` before the first check.

    `is_aged`: the two differ because there was no check for too long. `health` is that of the health endpoint, which is
    part of every poll. `reason` says why the service is stale. `silent_since` is the last answer of a service that does
    not answer.
    """

    status: StatusWord
    published: StatusWord
    is_aged: bool
    health: str
    reason: str | None = None
    silent_since: str | None = None


def current_status(
    state: ServiceState | None,
    payload: Mapping[str, Any] | None,
    now: datetime,
    interval: timedelta,
    registered_at: str | None = None,
) -> CurrentStatus:
    """The current status; `payload` is the newest `reconciliation.update`.

    `registered_at`: since when it is watched. A service that nobody checks must not be "not checked yet" for ever.
    """
    health = _health(state, now, interval)
    if payload is None:
        first_due = interval * STALE_AFTER_INTERVALS + FIRST_CHECK_TAKES
        if registered_at is not None and now - parse_utc(registered_at) > first_due:
            reason = state.reason if state and state.failing_since else None
            return CurrentStatus("stale", "unknown", False, health, reason or NEVER_CHECKED_REASON)
        return CurrentStatus("unknown", "unknown", is_aged=False, health=health)
    published: StatusWord = payload["status"]
    if is_aged(published, (state.checked_at if state else None) or payload["checkedAt"], now, interval):
        return CurrentStatus("stale", published, is_aged=True, health=health, reason=NOT_CHECKED_REASON)
    if published != "stale":
        return CurrentStatus(published, published, is_aged=False, health=health)
    if is_flapping(payload):
        return CurrentStatus("stale", published, False, health, f"is {describe_silence(payload)}")
    return CurrentStatus("stale", published, False, health, payload.get("reason"), payload.get("silentSince"))


def current_counts(current: CurrentStatus, payload: Mapping[str, Any] | None) -> tuple[Mapping[str, int] | None, str]:
    """The number of jobs by state; None and the reason if it is unknown. Unknown is not zero."""
    if current.status == "stale":
        return None, f"the service {current.reason or 'has not answered'}"
    if payload is None or current.status == "unknown":
        return None, "the service has not been checked yet"
    counts: Mapping[str, int] = payload["counts"]
    return counts, ""


def is_aged(published: str, checked_at: str, now: datetime, interval: timedelta) -> bool:
    return published not in ("stale", "unknown") and now - parse_utc(checked_at) > interval * STALE_AFTER_INTERVALS


def _health(state: ServiceState | None, now: datetime, interval: timedelta) -> str:
    """The health of the newest check; unknown if that is too old."""
    if state is None or state.last_poll_at is None:
        return "unknown"
    usual = interval * STALE_AFTER_INTERVALS
    lasts = FAILING_AGED_AFTER + usual if state.failing_since else usual
    if now - parse_utc(state.last_poll_at) > lasts:
        return "unknown"
    return "failing" if state.failing_since else state.health or "ok"
