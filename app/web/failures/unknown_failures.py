"""Which services do not tell their failed jobs now: of these, "no job is failed" would be made up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from sqlalchemy.orm import Session

from app.infra.clock import utc_now
from app.reconciliation import queries
from app.reconciliation.current_status import current_counts, current_status
from app.reconciliation.queries import ServiceWithState
from app.sources.protocol import FAILED_STATES
from app.web.dashboard.queries import require_service

NOT_COUNTED = "does not count failed jobs"
NOT_LISTED = "has more failed jobs than Beacon lists"


@dataclass(frozen=True, slots=True)
class UnknownFailures:
    """A service whose failed jobs are not known, or not all of them, and why."""

    service_id: str
    name: str
    reason: str

    def to_json(self) -> dict[str, str]:
        return {"service": self.service_id, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class FailureCoverage:
    """Of when the failed jobs are (the oldest of the answers), and which services do not tell theirs."""

    as_of: str | None
    unknown: Sequence[UnknownFailures]

    @classmethod
    def load(cls, session: Session, service_id: str | None, poll_interval_s: float) -> Self:
        """Of one service, or of all. Raises the 404 `Problem` if it is not watched."""
        services = queries.list_services(session) if service_id is None else [require_service(session, service_id)]
        answers = [one.state.last_answer_at for one in services if one.state and one.state.last_answer_at]
        found = ((one.service, _explain(one, poll_interval_s)) for one in services)
        unknown = [UnknownFailures(service.id, service.name, reason) for service, reason in found if reason]
        return cls(min(answers, default=None), unknown)

    @property
    def as_json(self) -> list[dict[str, str]]:
        return [one.to_json() for one in self.unknown]


def _explain(watched: ServiceWithState, poll_interval_s: float) -> str:
    payload = watched.payload  # parsed once: there may be hundreds of services
    interval, registered_at = timedelta(seconds=poll_interval_s), watched.service.registered_at
    current = current_status(watched.state, payload, utc_now(), interval, registered_at)
    counts, why = current_counts(current, payload)
    if counts is None or payload is None:
        return why.removeprefix("the service ")
    not_told: Mapping[str, str] = payload.get("notTold") or {}
    for state, reason in not_told.items():
        if state.lower() in FAILED_STATES:
            return reason
    if not _has_failed(counts):
        return NOT_COUNTED
    return NOT_LISTED if _has_failed(payload.get("countsOnly") or ()) else ""


def _has_failed(states: Sequence[str] | Mapping[str, int]) -> bool:
    return any(state.lower() in FAILED_STATES for state in states)
