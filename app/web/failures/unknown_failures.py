"""Which services do not tell their failed jobs now: of these, "no job is failed" would be made up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.reconciliation.queries import ServiceWithState
from app.sources.protocol import FAILED_STATES

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


def find_unknown(services: Sequence[ServiceWithState], poll_interval_s: float) -> list[UnknownFailures]:
    found = ((one.service, _explain(one, poll_interval_s)) for one in services)
    return [UnknownFailures(service.id, service.name, reason) for service, reason in found if reason]


def oldest_answer(services: Sequence[ServiceWithState]) -> str | None:
    """As of when all is told: the oldest of the last answers. None if nobody has answered yet."""
    return min((one.state.last_answer_at for one in services if one.state and one.state.last_answer_at), default=None)


def _explain(watched: ServiceWithState, poll_interval_s: float) -> str:
    counts, why = watched.counts(poll_interval_s)
    if counts is None:
        return why.removeprefix("the service ")
    for state, reason in watched.not_told.items():
        if state.lower() in FAILED_STATES:
            return reason
    if not _has_failed(counts):
        return NOT_COUNTED
    payload: Mapping[str, Any] = watched.payload or {}
    return NOT_LISTED if _has_failed(payload.get("countsOnly") or ()) else ""


def _has_failed(states: Sequence[str] | Mapping[str, int]) -> bool:
    return any(state.lower() in FAILED_STATES for state in states)
