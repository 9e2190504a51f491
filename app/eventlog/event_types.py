"""Pydantic models of all event types that Beacon knows; on the wire the field names are camelCase.

A payload is the whole state of its subject, so that seeing it twice, or only the last of many, is harmless.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import InitErrorDetails, PydanticCustomError

from app.infra.clock import Moment

# Lower-case words of letters, digits and `_`, joined by dots.
EVENT_TYPE_PATTERN = re.compile(r"[a-z0-9_]+(?:\.[a-z0-9_]+)*")
MAX_TYPE_CHARS = 100
MAX_PAYLOAD_BYTES = 64 * 1024
# Maximum nesting of objects and lists, far below the depth at which a client's JSON parser would overflow its stack.
MAX_DEPTH = 64
MAX_BODY_BYTES = 8 * 1024 * 1024

# Types that only Beacon itself may append, so that publishers cannot forge its statements.
RESERVED_PREFIXES = ("reconciliation.", "command.", "flag.", "notification.", "flash.", "control.")

Status = Literal["verified", "stale", "discrepancy"]
Severity = Literal["info", "warning", "critical"]
LogKind = Literal["progress", "request", "outcome"]
FindingKind = Literal[
    "missing", "extra", "unaccounted", "lost", "dangling", "duplicate", "orphaned", "overdue", "no-worker",
    "count-mismatch", "unreadable", "flapping", "rewound",
]  # fmt: skip
# What made a change of a flag: a person in Beacon, a plan, the guardrail, or somebody in Unleash itself.
ChangeCause = Literal["manual", "plan", "guardrail", "unleash"]
# What was done: switch or percentage set, only other rules in Unleash changed, the guardrail holds, no longer holds or
# would hold if it were no dry run, its limits were changed, a plan started, paused, resumed, stopped by a person or
# ended by itself, a person said that it goes on without evidence (`waived`) or approved its next step.
ChangeKind = Literal[
    "set", "conditions", "held", "released", "started", "paused", "resumed", "stopped", "ended", "waived", "approved",
    "limits", "would-hold",
]  # fmt: skip

# Validation stops at the first invalid entry, so that a bad row cannot fill a worker's memory with errors.
StrictNames = Annotated[list[str], Field(fail_fast=True)]
# Maximum number of keys in a payload of a known type; the models have about ten.
MAX_PAYLOAD_FIELDS = 100


class Payload(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    def to_wire(self) -> dict[str, Any]:
        """Return a JSON-ready dict in camelCase without unset fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class FindingPayload(Payload):
    """A problem with certain jobs that a person should know about. `since`: when it was first seen.

    `count`: for `flapping`, how often the state came and went until this event; for other kinds the number of jobs, if
    not all of them are listed. `note`: more details in words, such as which entry is unreadable. `queues`: for
    `no-worker`, the queues that no worker serves, newest first.
    """

    kind: FindingKind
    job_ids: StrictNames
    since: Moment
    count: int | None = Field(None, ge=1)
    note: str | None = None
    queues: StrictNames | None = None


class DiscrepancyDetails(Payload):
    """Both sides of a discrepancy: number of jobs Beacon knows, number the service reports, and the missing ids."""

    expected: int = Field(ge=0)
    actual: int = Field(ge=0)
    missing_job_ids: StrictNames


class LastDiscrepancyPayload(Payload):
    """The newest discrepancy of a service, open or closed."""

    at: Moment
    missing_job_ids: StrictNames
    closed_at: Moment | None = None


class LastFlapping(Payload):
    """When the service last flapped, and how often its state came and went. `calm_at`: when the flapping ended."""

    since: Moment
    count: int = Field(ge=1)
    calm_at: Moment | None = None


class ReconciliationUpdate(Payload):
    """A service's state after a check that changed something.

    If `status` is stale: `counts` is empty, `latency_ms` is the time waited, `findings` are those of the service's last
    response, and `silent_since` is the time of that response, if the service is stale because it does not respond.

    `as_of`: the time of the figures according to the service. `reason`: why a service is stale, in words.
    `previous_status`: the status before this change. `counts_only`: states with more jobs than can be listed, so that
    only their number is known; `counts_only_queues`: the queues this applies to, if other queues are listed.
    `not_told`: states whose number is unknown, with the reason; `counts_as_of`: states whose number is older.
    `change`: "figures" if neither the state nor what is wrong has changed since the event before, only numbers.
    """

    event_id: str
    service: str
    status: Status
    counts: dict[str, int]
    checksum: str
    latency_ms: int = Field(ge=0)
    checked_at: Moment
    as_of: Moment | None = None
    discrepancy_details: DiscrepancyDetails | None = None
    findings: Annotated[list[FindingPayload], Field(fail_fast=True)] | None = None
    last_verified_at: Moment | None = None
    last_discrepancy: LastDiscrepancyPayload | None = None
    last_flapping: LastFlapping | None = None
    counts_only: list[str] | None = None
    counts_only_queues: list[str] | None = None
    not_told: dict[str, str] | None = None
    counts_as_of: dict[str, Moment] | None = None
    previous_status: Status | None = None
    reason: str | None = None
    silent_since: Moment | None = None
    change: Literal["figures"] | None = None


class VerifiedCheck(Payload):
    """A check that changed nothing. `as_of`: the time of its figures according to the service."""

    checked_at: Moment
    latency_ms: int = Field(ge=0)
    as_of: Moment | None = None


class ReconciliationVerified(Payload):
    """The checks of the last second that changed nothing, by service."""

    services: dict[str, VerifiedCheck]


class FailureCause(Payload):
    """Failed jobs of a service with the same cause. `count`: how many are failed now. `first_at` and `last_at`: the
    first and the last failure."""

    group: str
    title: str
    count: int = Field(ge=1)
    first_at: Moment
    last_at: Moment


class FailuresUpdate(Payload):
    """The jobs of a service that are failed now. `not_read_yet`: how many of them Beacon has not read yet.

    `causes`: those of the last hour, the largest first, without muted ones; `more_causes`: how many there are beyond
    these.
    """

    service: str
    failed: int = Field(ge=0)
    causes: Annotated[list[FailureCause], Field(fail_fast=True)]
    more_causes: int | None = Field(None, ge=1)
    not_read_yet: int | None = Field(None, ge=1)


class NewCauses(Payload):
    """Causes from which jobs of a service have begun to fail, the largest first. `more_causes`: how many more."""

    service: str
    causes: Annotated[list[FailureCause], Field(fail_fast=True)]
    more_causes: int | None = Field(None, ge=1)


class CommandProgress(Payload):
    """How many of a command's targets are done, and how many of those failed."""

    total: int = Field(ge=0)
    done: int = Field(ge=0)
    failed: int = Field(ge=0)


class CommandStatus(Payload):
    """A command's state. `log_kinds`: what each line of `logs` is; lines beyond its end are `progress`."""

    command_id: str
    service: str
    phase: Literal["queued", "running", "success", "error", "timeout", "unknown"]
    logs: StrictNames
    log_kinds: Annotated[list[LogKind], Field(fail_fast=True)] | None = None
    verified: bool | None = None
    action_type: str | None = None
    target: str | None = None
    actor: str | None = None
    progress: CommandProgress | None = None


class NotificationCreated(Payload):
    id: str
    severity: Severity
    title: str
    body: str
    link: str | None = None


class NotificationChanged(Payload):
    """Tells clients to fetch the notification panel again."""


class FlashMessage(Payload):
    id: str
    severity: Severity
    text: str
    actor: str
    expires_at: Moment


class FailureMuted(Payload):
    """Whether a cause of failures is muted. `until` is left out if it is not, or no longer; `actor` changed it last."""

    group: str
    service: str
    title: str
    actor: str
    until: Moment | None = None


def drop_trailing_zero(number: float) -> float:
    """Return 50 instead of 50.0, for JSON."""
    return int(number) if number == int(number) else number


class FlagChanged(Payload):
    flag: str
    enabled: bool
    # Left out if no single number describes it, as with several strategies in Unleash.
    percentage: Annotated[float, Field(ge=0, le=100), PlainSerializer(drop_trailing_zero, return_type=Any)] | None = (
        None
    )
    actor: str
    reason: str
    cause: ChangeCause
    kind: ChangeKind
    # Who gets the flag, if switch and percentage alone do not say it.
    outcome: str | None = None
    # True if other rules let nobody in although the flag is on; left out otherwise.
    nobody_in: Literal[True] | None = None


class JobEvent(Payload):
    """An event that a service publishes about one of its jobs."""

    service: str = Field(min_length=1)
    job_id: str = Field(min_length=1)
    queue: str | None = None
    at: Moment | None = None


class SessionEnded(Payload):
    """Control: every stream of this login session ends."""

    session: str


class UserChanged(Payload):
    """Control: every stream of this user ends, so that their access is checked again when they reconnect."""

    user: str


class TokenRevoked(Payload):
    """Control: every stream opened with this API token ends."""

    token: int


PAYLOAD_MODELS: dict[str, type[Payload]] = {
    "reconciliation.update": ReconciliationUpdate,
    "reconciliation.verified": ReconciliationVerified,
    "reconciliation.failures": FailuresUpdate,
    "reconciliation.new_causes": NewCauses,
    "command.status": CommandStatus,
    "notification.created": NotificationCreated,
    "notification.changed": NotificationChanged,
    "flash.message": FlashMessage,
    "reconciliation.cause_muted": FailureMuted,
    "flag.changed": FlagChanged,
    **dict.fromkeys(("job.queued", "job.started", "job.finished", "job.failed"), JobEvent),
    "control.session_ended": SessionEnded,
    "control.user_changed": UserChanged,
    "control.token_revoked": TokenRevoked,
}


def validate_payload(model: type[Payload], data: Mapping[str, Any]) -> Payload:
    """Validate `data`. Raises `ValidationError` with few errors, whatever `data` is."""
    if len(data) > MAX_PAYLOAD_FIELDS:
        fault = PydanticCustomError("too_many_fields", "expected at most {most} fields", {"most": MAX_PAYLOAD_FIELDS})
        raise ValidationError.from_exception_data(model.__name__, [InitErrorDetails(type=fault, loc=(), input=None)])
    return model.model_validate(data)


def is_valid_type(name: str) -> bool:
    return len(name) <= MAX_TYPE_CHARS and EVENT_TYPE_PATTERN.fullmatch(name) is not None


def is_too_deep(data: Any, text: str) -> bool:
    """True if `data` is nested deeper than `MAX_DEPTH`; `text` is its JSON."""
    if text.count("{") + text.count("[") <= MAX_DEPTH:
        return False
    level = [data]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in _children(node)]
    return any(isinstance(node, dict | list) for node in level)


def _children(node: Any) -> Iterable[Any]:
    if isinstance(node, dict):
        return node.values()
    return node if isinstance(node, list) else ()


def is_reserved_type(name: str) -> bool:
    """True for a type that publishers must not use."""
    return name.startswith(RESERVED_PREFIXES)
